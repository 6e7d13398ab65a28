"""What a metric is, and its lines in Prometheus's text format. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from warpd.daemon.process import ProcessStats
from warpd.daemon.stats import SocketStats, Stats

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Counted:
    """Everything that metrics are made from.

    Attributes:
        stats: what the loop counts, and what its last look found.
        socket: what the control socket counts.
        process: what the kernel says of this process; None where it was not asked.
        stale_configs: network -> devices that need their config again; {} while nobody knows.
    """

    stats: Stats
    socket: SocketStats = field(default_factory=SocketStats)
    process: ProcessStats | None = None
    stale_configs: Mapping[str, int] = field(default_factory=dict)


Labels = Mapping[str, object]
# What a name ends with beside that of its metric ("" but in a histogram), labels, and the value.
Sample = tuple[str, Labels, float]
Samples = Callable[[Counted], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        kind: counter, gauge or histogram.
        help: what an operator reads beside it.
        samples: its values, from what is counted.
    """

    name: str
    kind: str
    help: str
    samples: Samples

    def text(self, counted: Counted) -> Iterator[str]:
        """Its lines; none without a sample."""
        rows = [
            f"{self.name}{ending}{_labels(labels)} {_number(value)}"
            for ending, labels, value in self.samples(counted)
        ]
        if rows:
            yield f"# HELP {self.name} {self.help}"
            yield f"# TYPE {self.name} {self.kind}"
            yield from rows


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())
    return "{" + pairs + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
