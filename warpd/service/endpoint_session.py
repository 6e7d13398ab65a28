"""Describe the connection between an endpoint and the gateway. Pure.

It consists of why an endpoint is not in the kernel, of its session, and of what cannot be observed
at the gateway. `explain` follows its packets from there through routes and rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from warpd.kernel.state import SESSION_S, PeerTraffic, session_age_s
from warpd.networks.resolved import permitted_on
from warpd.reconcile.engine import Target
from warpd.service.views.suspension import suspension_text

Presence = Literal["online", "stale", "never"]

IP_AND_ICMP_BYTES: Final = 28  # the headers of a ping


@dataclass(frozen=True, slots=True)
class EndpointSession:
    """The session of one endpoint as the kernel has it.

    - `presence`: online while the session is valid, stale after that, never without a handshake.
    - `handshake_age_s`: seconds since the last handshake; None for never, and where that is stale
      because the clock was set back and the handshake lies in the future.
    - `remote_address`: address and port of its latest packet; "" where none is known.
    """

    presence: Presence
    handshake_age_s: int | None
    remote_address: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def session_of(traffic: PeerTraffic | None, now_s: int) -> EndpointSession:
    """Return the session of a peer.

    Args:
        traffic: what the kernel has counted; None where there is no such peer.
        now_s: seconds since the epoch.
    """
    if traffic is None or not traffic.handshake:
        return EndpointSession("never", None, traffic.endpoint if traffic is not None else "")
    age_s = session_age_s(traffic.handshake, now_s)
    is_online = age_s is not None and age_s < SESSION_S
    return EndpointSession("online" if is_online else "stale", age_s, traffic.endpoint)


def absence(wanted: Target, network: str, name: str) -> str:
    """Return why the YAML, or a suspension, keeps an endpoint out of the kernel; "" where neither
    does.
    """
    body = wanted.intent.networks[network]
    endpoint = body.endpoints[name]
    if not body.enabled:
        return f"network {network} is disabled: `warpctl network set {network} --enable`"
    if not endpoint.enabled:
        return f"the endpoint is disabled: `warpctl endpoint enable {network}/{name}`"
    if not permitted_on(endpoint, wanted.today):
        return f"the endpoint has expired on {endpoint.expires}: give `expires` a later day"
    suspension = wanted.suspended.get((network, name))
    if suspension is not None:
        return f"{suspension_text(suspension)}: `warpctl endpoint resume {network}/{name}`"
    return ""


def session_text(session: EndpointSession, name: str, dialled: str) -> str:
    """Return the state of a session as a sentence.

    Args:
        session: the session.
        name: the endpoint, as NETWORK/NAME.
        dialled: the gateway's address and port in the client config.
    """
    if session.presence == "online":
        return f"handshake {session.handshake_age_s} s ago, from {session.remote_address}"
    what = "no handshake since the tunnel was made"
    if session.presence == "stale" and session.handshake_age_s is None:
        what = "the last handshake lies in the future, since the clock was set back"
    elif session.presence == "stale":
        what = f"the last handshake was {session.handshake_age_s} s ago: its session has ended"
    return (
        f"{what}. Not seen from here: whether the device is on, has the config as it is now"
        f" (`warpctl endpoint config {name}`; another key gets no answer), and reaches UDP"
        f" {dialled} (firewalls of a cloud or on the way)"
    )


def not_observable(target: str, protocol: str, port: int, mtu: int) -> Iterator[str]:
    """Yield what may still stop a packet that passes the gateway.

    Args:
        target: the address that is asked for.
        protocol: the protocol.
        port: the port; 0 for icmp.
        mtu: the MTU of the tunnel, in bytes.
    """
    yield (
        "the device itself: its firewall, and networks around it that use the same addresses as"
        f" the tunnel, which it then sends past the tunnel (`ip route get {target}` there)"
    )
    what = f"{target} answers"
    if protocol == "udp" and port == 53:
        what = "the name server answers queries"
    yield f"the other side: whether {what}, and knows a way back"
    yield (
        "routers on the way that drop large packets and tell nobody"
        f" (`ping -M do -s {mtu - IP_AND_ICMP_BYTES} {target}` from the device)"
    )
