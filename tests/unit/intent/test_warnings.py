"""Warnings of the YAML: what is valid and still not what anybody means. Each at its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests import world
from warpd.intent.validation import check
from warpd.intent.validation.network import check_day
from warpd.service.workspace import Workspace

CPE = {"type": "cpe"}
SIX = "fd00:10::/64"


def warned(**body: Any) -> list[tuple[str, str]]:
    found = check(world.intent(a=body))
    assert not [item for item in found if item.is_error], found
    return [(item.code, item.path.removeprefix("networks.a.")) for item in found]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (
            {"type": "l3vpn-gateway", "endpoints": {"p": {**CPE, "routes": ["10.9.0.0/16", SIX]}}},
            "endpoints.p.routes[1]",
        ),
        (
            {"type": "remote-resource-gateway", "resources": [{"subnet": SIX}]},
            "resources[0].subnet",
        ),
        ({"type": "secure-internet", "dns": ["9.9.9.9", "2620:fe::fe"]}, "dns[1]"),
        ({"type": "secure-internet", "allow_private": [SIX]}, "allow_private[0]"),
    ],
)
def test_ipv6_that_ipv6_false_drops(body: dict[str, Any], path: str) -> None:
    assert warned(**body, ipv6=False) == [("field-idle", path)]
    assert ("field-idle", path) not in warned(**body)


def test_name_servers_that_no_client_reaches() -> None:
    def corp(*resources: dict[str, Any]) -> list[tuple[str, str]]:
        return warned(type="remote-resource-gateway", dns=["10.1.0.53"], resources=list(resources))

    unreached = [("dns-unreachable", "dns[0]")]
    assert corp({"subnet": "10.2.0.0/16"}) == unreached
    assert corp({"subnet": "10.1.0.0/16", "protocol": "tcp", "ports": [443]}) == unreached
    assert corp({"subnet": "10.1.0.0/16", "protocol": "icmp"}) == unreached
    assert corp({"subnet": "10.1.0.0/16"}) == []
    assert corp({"subnet": "10.1.0.0/16", "protocol": "udp", "ports": [53]}) == []
    site = {**CPE, "routes": ["10.1.0.0/16"]}
    assert warned(type="l3vpn-gateway", dns=["10.1.0.53"], endpoints={"b": site}) == []
    assert warned(type="l3vpn-gateway", dns=["10.2.0.53"], endpoints={"b": site}) == unreached
    assert (
        warned(type="l3vpn-gateway", subnet="10.2.0.0/24", dns=["10.2.0.53"], endpoints={"b": site})
        == []
    )
    assert warned(type="secure-internet", dns=["10.2.0.53"]) == []  # let through on port 53


def test_a_wire_with_one_end() -> None:
    assert warned(type="l2-point-to-point", endpoints={"a": CPE, "b": CPE}) == []
    for ends in ({"a": CPE}, {"a": CPE, "b": {**CPE, "enabled": False}}):
        assert warned(type="l2-point-to-point", endpoints=ends) == [("wire-open", "endpoints")]


def test_past_its_day() -> None:
    intent = world.intent(
        a={"type": "l3vpn-gateway", "endpoints": {"x": {**CPE, "expires": "2030-06-01"}, "y": CPE}}
    )
    assert check_day(intent, date(2030, 5, 31)) == ()
    (found,) = check_day(intent, date(2030, 6, 1))
    assert (found.code, found.path, found.is_error) == (
        "expired",
        "networks.a.endpoints.x.expires",
        False,
    )


def test_a_warning_stands_at_its_line(tmp_path: Path) -> None:
    yaml = tmp_path / "warp.yaml"
    yaml.write_text(
        "version: 1\nnetworks:\n  a:\n    type: l3vpn-gateway\n    ipv6: false\n    endpoints:\n   "
        '   p: {type: cpe, routes: ["fd00:10::/64"]}\n      old: {type: cpe, expires: 2020-01-01}\n'
    )
    found = {
        item.code: item.where.line
        for item in Workspace(yaml, tmp_path / "state").read().warnings
        if item.where is not None
    }
    assert found == {"field-idle": 7, "expired": 8}
