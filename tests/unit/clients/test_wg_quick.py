"""wg-quick's format for the other network types: no hooks for L3, hooks of iproute2 alone for L2.

Real devices run the hooks in the live tests."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from tests import clients
from warpd.clients import qr, wg_quick
from warpd.clients.config import ClientConfig
from warpd.errors import WarpError


def hooks(config: ClientConfig, key: str) -> list[str]:
    lines = wg_quick.text(config).splitlines()
    return [line.partition(" = ")[2] for line in lines if line.startswith(f"{key} =")]


@pytest.mark.parametrize("kind", ["secure-internet", "remote-resource-gateway", "l3vpn-gateway"])
def test_l3_has_no_hooks_and_fits_a_qr_code(kind: str) -> None:
    config = clients.made(kind)
    text = wg_quick.text(config)
    assert not any(word in text for word in ("PreUp", "PostUp", "PreDown", "PostDown"))
    assert qr.terminal(config, text)


@pytest.mark.parametrize("kind", ["l2-point-to-point", "l2-mesh"])
def test_l2_hooks_are_iproute2_and_a_qr_code_is_refused(kind: str) -> None:
    config = clients.made(kind).with_port("eth1")
    for command in (*hooks(config, "PostUp"), *hooks(config, "PreDown")):
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=10)
        assert {part.split()[0] for part in command.split("||")} <= {"ip", "true"}
    with pytest.raises(WarpError) as caught:
        qr.terminal(config, wg_quick.text(config))
    assert caught.value.code == "qr-hooks"


def test_a_gretap_lets_the_outer_packets_fragment() -> None:
    (made,) = [
        command
        for command in hooks(clients.made("l2-point-to-point"), "PostUp")
        if "gretap" in command
    ]
    assert {"nopmtudisc", "ignore-df"} <= set(shlex.split(made)) and "ttl" not in made


def test_a_vxlan_says_its_peer_and_its_port() -> None:
    config = clients.made("l2-mesh", "b", mtu=1560)
    (made,) = [command for command in hooks(config, "PostUp") if "vxlan" in command]
    local, remote = config.addresses[0].removesuffix("/32"), clients.gateway_addresses("l2-mesh")[0]
    wanted = (
        f"vxlan id {clients.VNI + 1} local {local} remote {remote} dstport 4789 nolearning df unset"
    )
    assert made.endswith(wanted) and "MTU = 1560\n" in wg_quick.text(config)


def test_without_a_port_the_config_tells_how_to_add_one() -> None:
    config = clients.made("l2-mesh")
    assert config.segment is not None
    assert (
        f"# a port comes into the segment by: ip link set PORT master {config.segment.bridge}"
        in wg_quick.text(config)
    )
    chosen = wg_quick.text(config.with_port("eth1"))
    assert "PORT" not in chosen
    assert f"ip link set eth1 master {config.segment.bridge} up" in chosen
    assert "ip link set eth1 nomaster 2>/dev/null || true" in hooks(
        config.with_port("eth1"), "PreDown"
    )
