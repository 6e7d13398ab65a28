"""Figures -> Prometheus's text format. Pure.

Label values come from the intent only (names of networks and endpoints, reasons of drops), so that
their number is bounded by the YAML; above `ENDPOINTS_MAX` endpoints the series of single endpoints
are left out, and one says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final

from warpd import __version__
from warpd.daemon import wireguard_metrics
from warpd.daemon.metric import Counted, Family, Sample, Samples
from warpd.daemon.process import ProcessStats
from warpd.daemon.stats import DURATION_BOUNDS_S, RESULTS, NetworkStats, Stats
from warpd.kernel.state import PeerTraffic
from warpd.service.conditions import NO_PLAN


def metrics_text(counted: Counted) -> str:
    """Every metric of warpd, in Prometheus's text format."""
    lines: list[str] = []
    for family in FAMILIES:
        lines += family.text(counted)
    return "\n".join([*lines, ""])


# -- samples


def _one(value: Callable[[Stats], float]) -> Samples:
    """A metric without labels."""

    def samples(counted: Counted) -> Iterator[Sample]:
        yield "", {}, value(counted.stats)

    return samples


def _by_network(field: str) -> Samples:
    """A field of `Stats` with a count for each network."""

    def samples(counted: Counted) -> Iterator[Sample]:
        vcids = _vcids(counted.stats)
        for name, count in sorted(getattr(counted.stats, field).items()):
            yield "", {"network": name, "vcid": vcids.get(name, "")}, count

    return samples


def _of_endpoints(value: Callable[[PeerTraffic], int | None]) -> Samples:
    """A value of each endpoint; None where it has none."""

    def samples(counted: Counted) -> Iterator[Sample]:
        for network in counted.stats.networks:
            for name, traffic in network.endpoints.items():
                number = value(traffic)
                if number is not None:
                    yield "", {**_of(network), "endpoint": name}, number

    return samples


def _build(_counted: Counted) -> Iterator[Sample]:
    yield "", {"version": __version__}, 1


def _passes(counted: Counted) -> Iterator[Sample]:
    passes = counted.stats.passes
    for result in sorted({*RESULTS, *passes}):  # all from the start: a first one is an increase
        yield "", {"result": result}, passes.get(result, 0)


def _durations(counted: Counted) -> Iterator[Sample]:
    durations = counted.stats.durations
    counts = list(accumulate(durations.counts))
    for bound, count in zip(DURATION_BOUNDS_S, counts, strict=False):
        yield "_bucket", {"le": f"{bound:g}"}, count
    yield "_bucket", {"le": "+Inf"}, counts[-1]
    yield "_sum", {}, durations.total_s
    yield "_count", {}, counts[-1]


def _in_sync(counted: Counted) -> Iterator[Sample]:
    waiting = counted.stats.waiting
    is_planned = NO_PLAN.isdisjoint(item.code for item in counted.stats.conditions)
    for network in counted.stats.networks:
        is_whole = network.in_sync and network.name not in waiting
        yield "", _of(network), float(is_whole and is_planned)


def _endpoints(counted: Counted) -> Iterator[Sample]:
    yield "", {}, sum(network.size for network in counted.stats.networks)


def _dropped(counted: Counted) -> Iterator[Sample]:
    for network in counted.stats.networks:
        for reason, packets in network.drops.items():
            yield "", {**_of(network), "reason": reason}, packets
    for reason, packets in counted.stats.drops.items():
        yield "", {"network": "", "vcid": "", "reason": reason}, packets


def _source_revision(counted: Counted) -> Iterator[Sample]:
    if counted.stats.source.kind:
        yield "", {"revision": counted.stats.source.revision}, 1


def _source_success(counted: Counted) -> Iterator[Sample]:
    if counted.stats.source.kind:
        yield "", {}, counted.stats.source.last_success_s


def _source_failing(counted: Counted) -> Iterator[Sample]:
    if counted.stats.source.kind:
        yield "", {}, float(bool(counted.stats.source.error))


def _problems(counted: Counted) -> Iterator[Sample]:
    vcids = _vcids(counted.stats)
    for network, code in sorted(set(counted.stats.problems)):
        yield "", {"network": network, "vcid": vcids.get(network, ""), "code": code}, 1


def _conditions(counted: Counted) -> Iterator[Sample]:
    for item in counted.stats.conditions:
        yield "", {"code": item.code, "severity": item.severity}, 1


def _refused(counted: Counted) -> Iterator[Sample]:
    for missing in ("right", "place"):
        yield "", {"missing": missing}, counted.socket.refused.get(missing, 0)


def _socket_closed(counted: Counted) -> Iterator[Sample]:
    yield "", {}, float(counted.socket.closed)


def _failed_passes(counted: Counted) -> Iterator[Sample]:
    stats = counted.stats
    vcids = _vcids(stats)
    for name in sorted({"", *vcids, *stats.failing}):
        where = {"network": name, "vcid": vcids.get(name, "")}
        yield "", where, stats.failing.get(name, 0)


def _uplink(counted: Counted) -> Iterator[Sample]:
    stats = counted.stats
    if stats.uplink is not None:
        yield "", {"uplink": stats.uplink}, float(not stats.uplink_state)


def _expires(counted: Counted) -> Iterator[Sample]:
    for network in counted.stats.networks:
        for name, expires_s in network.expires_s.items():
            yield "", {**_of(network), "endpoint": name}, expires_s


def _suspended(counted: Counted) -> Iterator[Sample]:
    for network in counted.stats.networks:
        yield "", _of(network), network.suspended


def _stale_configs(counted: Counted) -> Iterator[Sample]:
    vcids = _vcids(counted.stats)
    for name, count in sorted(counted.stale_configs.items()):
        yield "", {"network": name, "vcid": vcids.get(name, "")}, count


def _process(value: Callable[[ProcessStats], float]) -> Samples:
    """A metric of the process itself."""

    def samples(counted: Counted) -> Iterator[Sample]:
        if counted.process is not None:
            yield "", {}, value(counted.process)

    return samples


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
        "Reconcile passes by result.",
        _passes,
    ),
    Family(
        "warpd_reconcile_duration_seconds",
        "histogram",
        "How long passes took.",
        _durations,
    ),
    Family(
        "warpd_last_reconcile_timestamp_seconds",
        "gauge",
        "When the last pass ended; 0: none yet. One is due at each periodic resync.",
        _one(lambda stats: stats.last_pass_s),
    ),
    Family(
        "warpd_failed_passes",
        "gauge",
        "Passes in a row that have failed for a network; it is tried again more and more slowly.",
        _failed_passes,
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
        "Steps done by passes and requests, for any reason.",
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
        "1 if the kernel was as the intent says after the last full observation and its repair.",
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
        "warpd_endpoint_expires_timestamp_seconds",
        "gauge",
        "Expiry of the endpoint; may be in the past.",
        _expires,
    ),
    Family(
        "warpd_suspended_endpoints",
        "gauge",
        "Suspended endpoints.",
        _suspended,
    ),
    Family(
        "warpd_stale_configs",
        "gauge",
        "Devices that were given a config and now need another one; plan names them.",
        _stale_configs,
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
        "warpd_uplink_up",
        "gauge",
        "1 when the uplink is on and a default route leads through it.",
        _uplink,
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
        "When this process put the intent in force, at its start or later; 0: none yet.",
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
        "1 while the condition holds; `warpctl status` says more.",
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
    Family(
        "process_cpu_seconds_total",
        "counter",
        "Seconds of CPU that warpd has used.",
        _process(lambda process: process.cpu_s),
    ),
    Family(
        "process_resident_memory_bytes",
        "gauge",
        "Memory of warpd that is in RAM.",
        _process(lambda process: process.resident_bytes),
    ),
    Family(
        "process_virtual_memory_bytes",
        "gauge",
        "Address space of warpd.",
        _process(lambda process: process.virtual_bytes),
    ),
    Family(
        "process_open_fds",
        "gauge",
        "Open file descriptors.",
        _process(lambda process: process.open_fds),
    ),
    Family(
        "process_max_fds",
        "gauge",
        "How many file descriptors may be open.",
        _process(lambda process: process.max_fds),
    ),
    Family(
        "process_start_time_seconds",
        "gauge",
        "When warpd was started.",
        _process(lambda process: process.start_s),
    ),
    *wireguard_metrics.FAMILIES,
)
