"""What holds for every format and every network type: it names itself, holds each key once, and is
deterministic.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest

from tests import clients
from warpd.clients import FORMATS, ROWS, ClientFormat
from warpd.clients.config import PLACEHOLDER
from warpd.clients.files import joined, split
from warpd.errors import WarpError

CANNOT = [("mikrotik", "l2-point-to-point")]
PAIRS = [pair for pair in product(FORMATS, clients.NETWORKS) if pair not in CANNOT]
OWN_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def with_endpoint(kind: str, **fields: Any) -> dict[str, Any]:
    """The network's endpoints, the first one with these fields."""
    endpoints = dict(clients.NETWORKS[kind]["endpoints"])
    endpoints[clients.FIRST[kind]] = endpoints[clients.FIRST[kind]] | fields
    return endpoints


def for_programs(style: str) -> bool:
    """JSON has no comments: it names values by key instead."""
    return FORMATS[style].suffix == "json"


def test_the_formats_of_the_contract_are_there() -> None:
    contract = {"wg-quick", "networkd", "networkmanager", "openwrt", "mikrotik", "vyos", "json"}
    assert contract <= FORMATS.keys() and len(FORMATS) == len(ROWS)


@pytest.mark.parametrize(("style", "kind"), PAIRS)
def test_it_names_the_network_the_circuit_the_endpoint_and_the_version(
    style: str, kind: str
) -> None:
    config = clients.made(kind).numbered(73)
    text = FORMATS[style].text(config)
    if for_programs(style):
        data = json.loads(text)
        named = (data["network"], data["vcid"], data["endpoint"], data["config_version"])
        assert named == (config.network, config.vcid, config.endpoint, 73)
    else:
        head = " ".join(line for line in text.splitlines()[:3] if line.startswith("#"))
        for words in (
            "network net",
            f"VCID {config.vcid}",
            f"endpoint {config.endpoint}",
            "config version 73",
        ):
            assert words in head


@pytest.mark.parametrize(("style", "kind"), PAIRS)
def test_each_key_stands_in_it_once(style: str, kind: str) -> None:
    config = clients.made(kind)
    text = FORMATS[style].text(config)
    assert config.shared_text is not None
    for key in (config.private_text, config.shared_text, config.gateway_public_key):
        assert text.count(key) == 1
    assert "None" not in text and text.endswith("\n")
    assert FORMATS[style].text(clients.made(kind)) == text


@pytest.mark.parametrize(("style", "kind"), PAIRS)
def test_a_key_of_its_own_leaves_a_placeholder(style: str, kind: str) -> None:
    endpoints = with_endpoint(kind, public_key=OWN_KEY, preshared_key=False)
    text = FORMATS[style].text(clients.made(kind, endpoints=endpoints))
    # A shell and VyOS' quotes leave the apostrophe out or write it in another way.
    assert text.count("own private key here>") == (0 if for_programs(style) else 1)
    assert OWN_KEY not in text and "None" not in text
    if for_programs(style):
        assert json.loads(text)["private_key"] is None
    assert PLACEHOLDER.count("'") == 1


@pytest.mark.parametrize(("style", "kind"), CANNOT)
def test_what_a_format_cannot_say_it_says(style: str, kind: str) -> None:
    with pytest.raises(WarpError) as caught:
        FORMATS[style].text(clients.made(kind))
    assert (caught.value.code, caught.value.who) == (
        "format-cannot",
        "operator",
    ) and caught.value.hint


@pytest.mark.parametrize(("style", "kind"), PAIRS)
def test_addresses_routes_and_the_gateway_are_all_in_it(style: str, kind: str) -> None:
    config = clients.made(kind, host="2001:db8::1")
    text = FORMATS[style].text(config)
    for each in (*config.addresses, *config.allowed_ips, "2001:db8::1", str(config.host_port[1])):
        assert each in text
    if config.segment:
        for each in (config.segment.local, config.segment.remote, str(config.segment.vni or "")):
            assert each in text


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
@pytest.mark.parametrize("style", FORMATS)
def test_the_chosen_port_is_in_it(style: str, kind: str) -> None:
    if (style, kind) not in CANNOT:
        config = clients.made(kind)
        assert "lanport7" not in FORMATS[style].text(config)
        assert "lanport7" in FORMATS[style].text(config.with_port("lanport7"))


@pytest.mark.parametrize("row", [row for row in ROWS if row.in_files], ids=lambda row: row.name)
def test_a_text_of_several_files_comes_apart_again(row: ClientFormat) -> None:
    text = row.text(clients.made("l2-mesh").with_port("eth1"))
    files = split(text)
    assert len(files) >= 4 and all(
        "/" not in name and body.startswith("# network net") for name, body in files.items()
    )


def test_cutting_is_the_reverse_of_joining() -> None:
    files = {"a.netdev": "[A]\nx=1\n", "b.network": "# a comment\n\n[B]\n"}
    assert split(joined(files, "a note")) == files
