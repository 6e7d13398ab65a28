"""The metrics of prometheus_wireguard_exporter under its own names, for dashboards that know those.

`warpd --wireguard-metrics` switches them on. Names, types and labels are those of that exporter
without options (its README); `friendly_name` is NETWORK/NAME.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from warpd.daemon.metric import Counted, Family, Sample, Samples
from warpd.kernel.state import PeerTraffic


def _of_peers(value: Callable[[PeerTraffic], float]) -> Samples:
    def samples(counted: Counted) -> Iterator[Sample]:
        for network in counted.stats.networks:
            for name, traffic in network.endpoints.items():
                peer = network.peers.get(name)
                if peer is None:
                    continue
                labels = {
                    "interface": peer.device,
                    "public_key": peer.public_key,
                    "allowed_ips": ",".join(peer.allowed_ips),
                    "friendly_name": f"{network.name}/{name}",
                }
                yield "", labels, value(traffic)

    return samples


FAMILIES: Final = (
    Family(
        "wireguard_sent_bytes_total",
        "counter",
        "Bytes sent to the peer",
        _of_peers(lambda peer: peer.sent),
    ),
    Family(
        "wireguard_received_bytes_total",
        "counter",
        "Bytes received from the peer",
        _of_peers(lambda peer: peer.received),
    ),
    Family(
        "wireguard_latest_handshake_seconds",
        "gauge",
        "UNIX timestamp seconds of the last handshake",
        _of_peers(lambda peer: peer.handshake),
    ),
)
