"""Figures -> Prometheus's text format. Pure.

Label values come from the intent only (names of networks and endpoints, reasons of drops), so that
their number is bounded by the YAML; above `ENDPOINTS_MAX` endpoints the series of single endpoints
are left out, and one says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from warpd import __version__
from warpd.daemon.stats import DURATION_BOUNDS_S, NetworkStats, SocketStats, Stats
from warpd.kernel.state import PeerTraffic

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NO_SOCKET: Final = SocketStats()

Labels = Mapping[str, object]
# What a name ends with beside that of its metric ("" but in a histogram), labels, and the value.
Sample = tuple[str, Labels, float]
Samples = Callable[[Stats, SocketStats], Iterable[Sample]]


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

    def text(self, stats: Stats, socket: SocketStats) -> Iterator[str]:
        """Its lines; none without a sample."""
        rows = [
            f"{self.name}{ending}{_labels(labels)} {_number(value)}"
            for ending, labels, value in self.samples(stats, socket)
        ]
        if rows:
            yield f"# HELP {self.name} {self.help}"
            yield f"# TYPE {self.name} {self.kind}"
            yield from rows

    @property
    def series(self) -> frozenset[str]:
        """The names that its samples may have."""
        endings = ("_bucket", "_sum", "_count") if self.kind == "histogram" else ("",)
        return frozenset(self.name + ending for ending in endings)


def metrics_text(stats: Stats, socket: SocketStats = _NO_SOCKET) -> str:
    """Every metric of warpd, in Prometheus's text format."""
    lines: list[str] = []
    for family in FAMILIES:
        lines += family.text(stats, socket)
    return "\n".join([*lines, ""])


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items())
    return "{" + pairs + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


# -- samples


def _one(value: Callable[[Stats], float]) -> Samples:
    """A metric without labels."""

    def samples(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
        yield "", {}, value(stats)

    return samples


def _by_network(counted: str) -> Samples:
    """A field of `Stats` with a count for each network."""

    def samples(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
        vcids = _vcids(stats)
        for name, count in sorted(getattr(stats, counted).items()):
            yield "", {"network": name, "vcid": vcids.get(name, "")}, count

    return samples


def _of_endpoints(value: Callable[[PeerTraffic], int | None]) -> Samples:
    """A value of each endpoint; None where it has none."""

    def samples(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
        for network in stats.networks:
            for name, traffic in network.endpoints.items():
                number = value(traffic)
                if number is not None:
                    yield "", {**_of(network), "endpoint": name}, number

    return samples


def _build(_stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    yield "", {"version": __version__}, 1


def _passes(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    for result, count in sorted(stats.passes.items()):
        yield "", {"result": result}, count


def _durations(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    durations = stats.durations
    counts = list(accumulate(durations.counts))
    for bound, count in zip(DURATION_BOUNDS_S, counts, strict=False):
        yield "_bucket", {"le": f"{bound:g}"}, count
    yield "_bucket", {"le": "+Inf"}, counts[-1]
    yield "_sum", {}, durations.total_s
    yield "_count", {}, counts[-1]


def _in_sync(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    for network in stats.networks:
        yield "", _of(network), float(network.in_sync)


def _endpoints(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    yield "", {}, sum(network.size for network in stats.networks)


def _dropped(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    for network in stats.networks:
        for reason, packets in network.drops.items():
            yield "", {**_of(network), "reason": reason}, packets
    for reason, packets in stats.drops.items():
        yield "", {"network": "", "vcid": "", "reason": reason}, packets


def _source_revision(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    if stats.source.kind:
        yield "", {"revision": stats.source.revision}, 1


def _source_success(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    if stats.source.kind:
        yield "", {}, stats.source.asked_s


def _source_failing(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    if stats.source.kind:
        yield "", {}, float(bool(stats.source.error))


def _problems(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    vcids = _vcids(stats)
    for network, code in sorted(set(stats.problems)):
        yield "", {"network": network, "vcid": vcids.get(network, ""), "code": code}, 1


def _conditions(stats: Stats, _socket: SocketStats) -> Iterator[Sample]:
    for item in stats.conditions:
        yield "", {"code": item.code, "severity": item.severity}, 1


def _refused(_stats: Stats, socket: SocketStats) -> Iterator[Sample]:
    for missing in ("right", "place"):
        yield "", {"missing": missing}, socket.refused.get(missing, 0)


def _socket_closed(_stats: Stats, socket: SocketStats) -> Iterator[Sample]:
    yield "", {}, float(socket.closed)


def _of(network: NetworkStats) -> dict[str, object]:
    return {"network": network.name, "vcid": network.vcid}


def _vcids(stats: Stats) -> dict[str, int]:
    return {network.name: network.vcid for network in stats.networks}


FAMILIES: Final = (
    Family(
        "warpd_build_info",
        "gauge",
        "Always 1; which version runs.",
        _build,
    ),
    Family(
        "warpd_reconciles_total",
        "counter",
        "Passes by what came of them.",
        _passes,
    ),
    Family(
        "warpd_reconcile_duration_seconds",
        "histogram",
        "How long passes took.",
        _durations,
    ),
    Family(
        "warpd_repairs_total",
        "counter",
        "Steps that drift made necessary.",
        _by_network("repairs"),
    ),
    Family(
        "warpd_changes_total",
        "counter",
        "Steps done, for any reason.",
        _by_network("changes"),
    ),
    Family(
        "warpd_errors_total",
        "counter",
        "Steps that failed.",
        _by_network("errors"),
    ),
    Family(
        "warpd_pending_steps",
        "gauge",
        "Steps that are needed and not done.",
        _by_network("pending"),
    ),
    Family(
        "warpd_in_sync",
        "gauge",
        "1 when the kernel is as the intent says.",
        _in_sync,
    ),
    Family(
        "warpd_problem",
        "gauge",
        "1 while this machine lacks something for the network; status says what.",
        _problems,
    ),
    Family(
        "warpd_endpoint_received_bytes_total",
        "counter",
        "Bytes received from the endpoint.",
        _of_endpoints(lambda peer: peer.received),
    ),
    Family(
        "warpd_endpoint_sent_bytes_total",
        "counter",
        "Bytes sent to the endpoint.",
        _of_endpoints(lambda peer: peer.sent),
    ),
    Family(
        "warpd_endpoint_last_handshake_timestamp_seconds",
        "gauge",
        "When the last handshake was, in seconds since the epoch.",
        _of_endpoints(lambda peer: peer.handshake or None),
    ),
    Family(
        "warpd_endpoints",
        "gauge",
        "Endpoints of the intent; above 10000 the series of single ones are left out.",
        _endpoints,
    ),
    Family(
        "warpd_dropped_packets_total",
        "counter",
        "Packets dropped, by reason.",
        _dropped,
    ),
    Family(
        "warpd_intent_valid",
        "gauge",
        "1 when the YAML as it is now is in force.",
        _one(lambda stats: stats.intent_valid),
    ),
    Family(
        "warpd_intent_applied_timestamp_seconds",
        "gauge",
        "When the intent in force was first applied; 0: none yet.",
        _one(lambda stats: stats.intent_at_s),
    ),
    Family(
        "warpd_source_info",
        "gauge",
        "Always 1; the revision that is laid out.",
        _source_revision,
    ),
    Family(
        "warpd_source_last_success_timestamp_seconds",
        "gauge",
        "When the source of the YAML last gave a good answer.",
        _source_success,
    ),
    Family(
        "warpd_source_failing",
        "gauge",
        "1 when the last pull failed.",
        _source_failing,
    ),
    Family(
        "warpd_condition",
        "gauge",
        "1 while it holds; `warpctl status` says more.",
        _conditions,
    ),
    Family(
        "warpd_confirm_pending",
        "gauge",
        "1 when an apply waits to be confirmed.",
        _one(lambda stats: stats.confirm_pending),
    ),
    Family(
        "warpd_contested_objects",
        "gauge",
        "Objects that another program changes again and again.",
        _one(lambda stats: len(stats.contested)),
    ),
    Family(
        "warpd_event_overruns_total",
        "counter",
        "Times that kernel events were lost.",
        _one(lambda stats: stats.overruns),
    ),
    Family(
        "warpd_socket_refused_total",
        "counter",
        "Connections to the control socket refused, by what was missing.",
        _refused,
    ),
    Family(
        "warpd_socket_closed",
        "gauge",
        "1 while a flood has users without a right kept out of the control socket.",
        _socket_closed,
    ),
)
SERIES: Final = frozenset().union(*(family.series for family in FAMILIES))
