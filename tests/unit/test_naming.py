"""Names of ours in the kernel: what is built is parsed again, and nothing else is taken for
ours.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpd import naming

VCIDS = st.integers(1, 99_999_999)
LEGS = st.integers(1, 999)
OF_A_NETWORK = (
    naming.tunnel,
    naming.transit_inner,
    naming.transit_outer,
    naming.vrf,
    naming.bridge,
)
OF_A_LEG = (naming.gretap, naming.vxlan)
IFNAMSIZ = 16  # with the zero at its end, linux/if.h


@pytest.mark.parametrize("build", OF_A_NETWORK)
@given(vcid=VCIDS)
def test_the_name_of_a_link_gives_its_vcid(build: Callable[[int], str], vcid: int) -> None:
    assert naming.vcid_of_link(build(vcid)) == vcid
    assert naming.is_link(build(vcid)) and len(build(vcid)) < IFNAMSIZ


@pytest.mark.parametrize("build", OF_A_LEG)
@given(vcid=VCIDS, leg=LEGS)
def test_the_name_of_a_leg_gives_its_vcid(
    build: Callable[[int, int], str], vcid: int, leg: int
) -> None:
    assert naming.vcid_of_link(build(vcid, leg)) == vcid
    assert len(build(vcid, leg)) < IFNAMSIZ


@given(vcid=VCIDS, network=st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True))
def test_namespaces_and_aliases_give_their_vcid(vcid: int, network: str) -> None:
    assert naming.vcid_of_namespace(naming.namespace(vcid)) == vcid
    assert naming.vcid_of_alias(naming.alias(vcid, network)) == vcid
    assert naming.network_of_alias(naming.alias(vcid, network)) == network


@pytest.mark.parametrize(
    "name",
    [
        "",
        "wg-",
        "wg-0",
        "wg-01",
        "wg-7x",
        "xwg-7",
        "gt-7",
        "gt-7-0",
        "vx-7-",
        "warp-7",
        "br-lan",
        "wg-7-1",
    ],
)
def test_other_links_are_not_ours(name: str) -> None:
    assert naming.vcid_of_link(name) is None


@pytest.mark.parametrize("name", ["", "warp-", "warp-0", "warp-07", "warp-7a", "wg-7"])
def test_other_namespaces_are_not_ours(name: str) -> None:
    assert naming.vcid_of_namespace(name) is None


@pytest.mark.parametrize("text", ["", "warpd", "warpd:", "warpd:x:y", "somebody's", "warpd-7"])
def test_other_aliases_are_not_ours(text: str) -> None:
    assert naming.vcid_of_alias(text) is None and naming.network_of_alias(text) == ""
