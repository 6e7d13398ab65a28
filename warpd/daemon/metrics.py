"""Figures -> Prometheus's text format. Pure.

Label values come from the intent only (names of networks and endpoints, reasons of drops), so that
their number is bounded by the YAML; above `ENDPOINTS_MAX` endpoints the series of single endpoints
are left out, and one says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from warpd import __version__
from warpd.daemon.stats import NetworkStats, SocketStats, Stats
from warpd.kernel.state import PeerTraffic

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NO_SOCKET: Final = SocketStats()

Labels = Mapping[str, object]
Sample = tuple[Labels, float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, type and help, and what it is now."""

    name: str
    kind: str  # counter or gauge
    help: str

    def text(self, samples: Iterable[Sample]) -> Iterator[str]:
        """Nothing without a sample."""
        rows = [f"{self.name}{_labels(labels)} {_number(value)}" for labels, value in samples]
        if rows:
            yield f"# HELP {self.name} {self.help}"
            yield f"# TYPE {self.name} {self.kind}"
            yield from rows


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return (
        "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _passes(stats: Stats) -> Iterator[Sample]:
    for result, count in sorted(stats.passes.items()):
        yield {"result": result}, count


def _by_network(counts: Mapping[str, int], stats: Stats) -> Iterator[Sample]:
    vcids = {network.name: network.vcid for network in stats.networks}
    for name, count in sorted(counts.items()):
        yield {"network": name, "vcid": vcids.get(name, "")}, count


def _of(network: NetworkStats) -> dict[str, object]:
    return {"network": network.name, "vcid": network.vcid}


def _of_endpoints(value: Callable[[PeerTraffic], int | None], stats: Stats) -> Iterator[Sample]:
    for network in stats.networks:
        for name, traffic in network.endpoints.items():
            now = value(traffic)
            if now is not None:
                yield {**_of(network), "endpoint": name}, now


def _in_sync(stats: Stats) -> Iterator[Sample]:
    for network in stats.networks:
        yield _of(network), float(network.in_sync)


def _dropped(stats: Stats) -> Iterator[Sample]:
    for network in stats.networks:
        for reason, packets in network.drops.items():
            yield {**_of(network), "reason": reason}, packets
    for reason, packets in stats.drops.items():
        yield {"network": "", "vcid": "", "reason": reason}, packets


def _sourced(what: str, stats: Stats) -> Iterator[Sample]:
    source = stats.source
    if not source.url:
        return
    if what == "revision":
        yield {"revision": source.revision}, 1
    else:
        yield {}, source.asked_s if what == "asked" else float(bool(source.error))


def _refused(stats: SocketStats) -> Iterator[Sample]:
    for missing in ("right", "place"):
        yield {"missing": missing}, stats.refused.get(missing, 0)


def _problems(stats: Stats) -> Iterator[Sample]:
    vcids = {network.name: network.vcid for network in stats.networks}
    for network, code in sorted(set(stats.problems)):
        yield {"network": network, "vcid": vcids.get(network, ""), "code": code}, 1


def _conditions(stats: Stats) -> Iterator[Sample]:
    for item in stats.conditions:
        yield {"code": item.code, "severity": item.severity}, 1


def metrics_text(stats: Stats, socket: SocketStats = _NO_SOCKET) -> str:
    """Every metric that warpd has."""
    lines: list[str] = []
    for family, samples in (*_all(stats), *_of_socket(socket)):
        lines += family.text(samples)
    return "\n".join([*lines, ""])


def _all(stats: Stats) -> Iterator[tuple[Family, Iterable[Sample]]]:
    none: Labels = {}
    yield (
        Family("warpd_build_info", "gauge", "Always 1; which version runs."),
        [({"version": __version__}, 1)],
    )
    yield Family("warpd_passes_total", "counter", "Passes by what came of them."), _passes(stats)
    yield (
        Family("warpd_pass_seconds_total", "counter", "Seconds spent in passes."),
        [(none, stats.pass_seconds)],
    )
    yield (
        Family("warpd_repairs_total", "counter", "Steps that drift made necessary."),
        _by_network(stats.repairs, stats),
    )
    yield (
        Family("warpd_changes_total", "counter", "Steps done, for any reason."),
        _by_network(stats.changes, stats),
    )
    yield (
        Family("warpd_errors_total", "counter", "Steps that failed."),
        _by_network(stats.errors, stats),
    )
    yield (
        Family("warpd_pending_steps", "gauge", "Steps that are needed and not done."),
        _by_network(stats.pending, stats),
    )
    yield (
        Family("warpd_in_sync", "gauge", "1 when the kernel is as the intent says."),
        _in_sync(stats),
    )
    yield (
        Family(
            "warpd_problem",
            "gauge",
            "1 while this machine keeps the network from something; status says what.",
        ),
        _problems(stats),
    )
    yield (
        Family(
            "warpd_endpoint_received_bytes_total", "counter", "Bytes received from the endpoint."
        ),
        _of_endpoints(lambda peer: peer.received, stats),
    )
    yield (
        Family("warpd_endpoint_sent_bytes_total", "counter", "Bytes sent to the endpoint."),
        _of_endpoints(lambda peer: peer.sent, stats),
    )
    yield (
        Family(
            "warpd_endpoint_last_handshake_seconds",
            "gauge",
            "When the last handshake was, in seconds since the epoch.",
        ),
        _of_endpoints(lambda peer: peer.handshake or None, stats),
    )
    yield (
        Family(
            "warpd_endpoints",
            "gauge",
            "Endpoints of the intent; above 10000 the series of single ones are left out.",
        ),
        [(none, sum(network.size for network in stats.networks))],
    )
    yield (
        Family("warpd_dropped_packets_total", "counter", "Packets dropped, by reason."),
        _dropped(stats),
    )
    yield (
        Family("warpd_intent_valid", "gauge", "1 when the YAML as it is now is in force."),
        [(none, stats.intent_valid)],
    )
    yield (
        Family(
            "warpd_intent_applied_timestamp_seconds",
            "gauge",
            "When the intent in force was first applied; 0: none yet.",
        ),
        [(none, stats.intent_at_s)],
    )
    yield (
        Family("warpd_source_info", "gauge", "Always 1; the commit that is laid out."),
        _sourced("revision", stats),
    )
    yield (
        Family(
            "warpd_source_asked_timestamp_seconds",
            "gauge",
            "When the git repository last gave a good answer.",
        ),
        _sourced("asked", stats),
    )
    yield (
        Family("warpd_source_failing", "gauge", "1 when the last pull failed."),
        _sourced("failing", stats),
    )
    yield (
        Family("warpd_condition", "gauge", "1 while it holds; `warpctl status` says more."),
        _conditions(stats),
    )
    yield (
        Family("warpd_confirm_pending", "gauge", "1 when an apply waits to be confirmed."),
        [(none, stats.confirm_pending)],
    )
    yield (
        Family("warpd_fights", "gauge", "Objects that another program undoes again and again."),
        [(none, len(stats.fights))],
    )
    yield (
        Family("warpd_event_overruns_total", "counter", "Times that kernel events were lost."),
        [(none, stats.overruns)],
    )


def _of_socket(socket: SocketStats) -> Iterator[tuple[Family, Iterable[Sample]]]:
    yield (
        Family(
            "warpd_socket_refused_total",
            "counter",
            "Connections to the control socket refused, by what was missing.",
        ),
        _refused(socket),
    )
    closed = Family(
        "warpd_socket_closed",
        "gauge",
        "1 while a flood has users without a right kept out of the control socket.",
    )
    yield closed, [({}, float(socket.closed))]


METRICS: Final = frozenset(
    family.name for family, _ in (*_all(Stats()), *_of_socket(SocketStats()))
)
