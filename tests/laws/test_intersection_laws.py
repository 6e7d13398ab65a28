"""P19: what two intents both permit is never more than either, in what the kernel would hold; and
it compiles.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import world
from warpd.intent.intersection import restrict
from warpd.intent.model import Intent
from warpd.intent.types import IPNetwork
from warpd.kernel.kinds.nft_table import NftElements
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import State
from warpd.reconcile.engine import Target, compile_target
from warpd.testing.fake_kernel import PLAIN

ROUTES = [[], ["192.168.0.0/16"], ["192.168.1.0/24"], ["192.168.1.0/24", "fd00:9::/64"]]
RESOURCES = [
    {"subnet": "10.0.0.0/8"},
    {"subnet": "10.1.0.0/16", "protocol": "tcp", "ports": [443]},
    {"subnet": "10.1.0.0/16", "protocol": "tcp", "ports": ["400-500"]},
]


@st.composite
def endpoints(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(st.sampled_from(["x", "y", "z"]))
    return {
        name: {
            "type": "cpe",
            "enabled": draw(st.booleans()),
            "rotation": draw(st.integers(0, 1)),
            "routes": draw(st.sampled_from(ROUTES)),
            **draw(st.sampled_from([{}, {"expires": "2020-01-01"}, {"expires": "2030-01-01"}])),
        },
        draw(st.sampled_from(["v", "w"])): {"type": "mobile"},
    }


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["secure-internet", "remote-resource-gateway", "l3vpn-gateway"]))
    body: dict[str, Any] = {
        "type": kind,
        "enabled": draw(st.booleans()),
        "ipv6": draw(st.booleans()),
        "expected_users": 6,
    }
    body["endpoints"] = draw(endpoints())
    if kind == "secure-internet":
        body["peer_communication"] = draw(st.booleans())
        body["allow_private"] = draw(
            st.lists(st.sampled_from(["10.9.0.0/16", "10.9.1.0/24"]), max_size=1)
        )
    if kind == "remote-resource-gateway":
        body["resources"] = draw(st.lists(st.sampled_from(RESOURCES), max_size=1))
    return body


INTENTS = st.dictionaries(st.sampled_from(["a", "b"]), networks(), max_size=2).map(
    lambda found: Intent.model_validate({"version": 1, "networks": found})
)


def state(target: Target) -> State:
    built = compile_target(target, PLAIN)
    assert not built.problems
    return built.state


def peers(found: State) -> dict[tuple[str, str], set[str]]:
    return {
        (item.group, item.public_key): set(item.allowed_ips)
        for item in found
        if isinstance(item, WireguardPeer)
    }


# Sets that only tell endpoints apart, by numbers that each state gives anew.
NUMBERING = ("endpoint_ids", "endpoint_addrs")


def permits(found: State) -> dict[tuple[str, str], set[str]]:
    """What stands in each set that lets something pass; several networks may add to one."""
    out: dict[tuple[str, str], set[str]] = {}
    for item in found:
        if isinstance(item, NftElements) and not item.set.startswith(NUMBERING):
            out.setdefault((item.key.netns, item.set), set()).update(item.elements)
    return out


def inside(narrow: set[str], wide: set[str]) -> bool:
    """Whether each element, a range or a name, stands or lies among the others."""
    ranges = [item for item in (_range(text) for text in wide) if item is not None]
    return all(
        text in wide or any(_holds(item, _range(text)) for item in ranges) for text in narrow
    )


def _range(text: str) -> IPNetwork | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


def _holds(wide: IPNetwork, narrow: IPNetwork | None) -> bool:
    return narrow is not None and narrow.version == wide.version and narrow.subnet_of(wide)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(INTENTS, INTENTS)
def test_never_more_than_either(previous: Intent, wanted: Intent) -> None:
    had = world.target(previous)
    gets = world.target(wanted, had.allocations)
    narrow = state(Target(restrict(previous, wanted), had.allocations, had.master, had.today))
    for wide in (state(had), state(gets)):
        for name, elements in permits(narrow).items():
            assert inside(elements, permits(wide).get(name, set())), name
        for key, ranges in peers(narrow).items():
            assert inside(ranges, peers(wide).get(key, set())), key


@settings(max_examples=60, deadline=None)
@given(INTENTS, INTENTS)
def test_once_is_enough(previous: Intent, wanted: Intent) -> None:
    once = restrict(previous, wanted)
    assert restrict(once, wanted) == once
    assert restrict(previous, previous) == previous
