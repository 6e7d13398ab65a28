"""`public_endpoint: auto` on a machine of a cloud."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests import world
from warpd.clients.current import public_host
from warpd.errors import WarpError
from warpd.kernel.linux.cloud import cloud_address
from warpd.kernel.state import Host

AZURE = {
    "imds": {
        "network": {
            "interface": [
                {
                    "ipv4": {
                        "ipAddress": [
                            {"privateIpAddress": "10.0.0.4", "publicIpAddress": "198.51.100.9"}
                        ]
                    }
                }
            ]
        }
    }
}


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (
            {"ds": {"meta_data": {"public-ipv4": "198.51.100.7", "local-ipv4": "10.0.0.4"}}},
            "198.51.100.7",
        ),
        (
            {"ds": {"ec2_metadata": {"public-ipv4": "198.51.100.8"}, "meta_data": {"name": "gw"}}},
            "198.51.100.8",
        ),
        ({"ds": {"meta_data": AZURE}}, "198.51.100.9"),
        ({"ds": {"meta_data": {"public-ipv4": ""}}}, ""),
        ({"ds": {"meta_data": {"public-ipv4": "gw.example.com; rm"}}}, ""),
        ({"ds": {"meta_data": {"public-ipv4": ["198.51.100.7"]}}}, ""),
        ({"ds": {"meta_data": {"imds": {"network": {"interface": []}}}}}, ""),
        ({"ds": None}, ""),
        ([1], ""),
    ],
)
def test_what_cloud_init_has_written(tmp_path: Path, data: Any, address: str) -> None:
    file = tmp_path / "instance-data.json"
    file.write_text(json.dumps(data))
    assert cloud_address(file) == address


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_names_nothing(tmp_path: Path, raw: bytes) -> None:
    file = tmp_path / "instance-data.json"
    file.write_bytes(raw)
    assert cloud_address(file) == cloud_address(tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("uplink", "cloud", "dialled"),
    [
        (("10.0.0.4",), "198.51.100.7", "198.51.100.7"),
        (("100.64.3.4", "2001:db8::4"), "198.51.100.7", "198.51.100.7"),
        (("203.0.113.4",), "198.51.100.7", "203.0.113.4"),
        (("10.0.0.4", "203.0.113.4"), "198.51.100.7", "203.0.113.4"),
        (("10.0.0.4",), "", "10.0.0.4"),
        (("2001:db8::4",), "", "2001:db8::4"),
    ],
)
def test_what_clients_dial(uplink: tuple[str, ...], cloud: str, dialled: str) -> None:
    intent = world.intent({"public_endpoint": "auto"}, net={"type": "secure-internet"})
    assert (
        public_host(
            intent, dataclasses.replace(Host(), uplink_addresses=uplink, cloud_address=cloud)
        )
        == dialled
    )


@pytest.mark.parametrize(
    ("uplink", "passing", "sources", "dialled"),
    [
        (("fd00::4", "2001:db8::1", "2001:db8::2"), ("2001:db8::1",), (), "2001:db8::2"),
        (("fd00::4", "2001:db8::2"), (), (), "2001:db8::2"),
        (("10.0.0.4", "2001:db8::2"), (), ("10.0.0.4",), "2001:db8::2"),
        (("203.0.113.4", "203.0.113.5"), (), ("203.0.113.5",), "203.0.113.5"),
        (("203.0.113.4", "203.0.113.5"), ("203.0.113.4",), ("203.0.113.4",), "203.0.113.5"),
    ],
)
def test_auto_takes_an_address_that_stays(
    uplink: tuple[str, ...], passing: tuple[str, ...], sources: tuple[str, ...], dialled: str
) -> None:
    host = Host(uplink_addresses=uplink, passing_addresses=passing, source_addresses=sources)
    assert public_host(world.intent({"public_endpoint": "auto"}), host) == dialled


def test_auto_says_so_where_no_address_stays() -> None:
    host = Host(uplink_addresses=("2001:db8::1",), passing_addresses=("2001:db8::1",))
    with pytest.raises(WarpError, match="no permanent address"):
        public_host(world.intent({"public_endpoint": "auto"}), host)
