"""Client configs: what they say, that wg reads them, and that a QR code gives them back byte for
byte.
"""

from __future__ import annotations

import json
import struct
import subprocess
import zlib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.clients import config_of, given
from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.allocation.suspensions import Suspension
from warpd.clients import FORMATS, qr, wg_quick
from warpd.clients.config import PLACEHOLDER, ClientConfig, client_config
from warpd.errors import WarpError
from warpd.intent.model import Intent
from warpd.kernel.state import Host
from warpd.keys import derivation
from warpd.keys.derivation import Secret
from warpd.networks.resolved import resolve_named

MASTER = Secret(bytes(range(32)))
OWN_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def made(
    host: str = "vpn.example.com",
    network: dict[str, Any] | None = None,
    today: date = date.min,
    **endpoint: Any,
) -> ClientConfig:
    body = {
        "type": "secure-internet",
        "endpoints": {"phone-1": {"type": "mobile", **endpoint}},
        **(network or {}),
    }
    intent = Intent.model_validate({"version": 1, "networks": {"privacy": body}})
    allocations, findings = allocate(intent, Allocations())
    assert findings == ()
    return config_of(
        intent, allocations, MASTER, "privacy", "phone-1", public_host=host, mtu=1420, today=today
    )


def test_the_whole_text() -> None:
    config = made().numbered(3)
    private, shared = config.private_key, config.preshared_key
    assert private is not None and shared is not None
    assert (
        wg_quick.text(config)
        == f"""\
# network privacy, VCID {config.vcid}, endpoint phone-1
# config version 3

[Interface]
PrivateKey = {derivation.encode(private.reveal())}
Address = 10.100.0.1/32, {config.addresses[1]}
DNS = 9.9.9.9, 2620:fe::fe
MTU = 1420

[Peer]
PublicKey = {config.gateway_public_key}
PresharedKey = {derivation.encode(shared.reveal())}
Endpoint = vpn.example.com:51820
AllowedIPs = 0.0.0.0/0, ::/0
PersistentKeepalive = 25
"""
    )


def test_wg_quick_strips_it_without_complaint(tmp_path: Path) -> None:
    path = tmp_path / "wg0.conf"
    path.touch(mode=0o600)
    path.write_text(wg_quick.text(made()))
    done = subprocess.run(
        ["wg-quick", "strip", str(path)], capture_output=True, text=True, timeout=10, check=True
    )
    assert "PrivateKey" in done.stdout and "Address" not in done.stdout and "DNS" not in done.stdout


def test_without_ipv6_it_is_captured_all_the_same() -> None:
    config = made(network={"ipv6": False})
    assert config.addresses == ("10.100.0.1/32",)
    assert config.allowed_ips == ("0.0.0.0/0", "::/0")
    assert config.dns == ("9.9.9.9",)


@pytest.mark.parametrize("host", ["2001:db8::1", "[2001:db8::1]"])
def test_an_ipv6_gateway_is_in_brackets(host: str) -> None:
    assert made(host).dial == "[2001:db8::1]:51820"


def test_a_key_of_its_own_leaves_a_placeholder_and_no_qr_code() -> None:
    config = made(public_key=OWN_KEY)
    text = wg_quick.text(config)
    assert f"PrivateKey = {PLACEHOLDER}\n" in text
    for draw in (lambda: qr.terminal(config, text), lambda: qr.image(config, text, ".png")):
        with pytest.raises(WarpError) as caught:
            draw()
        assert caught.value.code == "qr-no-key" and caught.value.who == "operator"


def test_options_of_an_endpoint() -> None:
    assert made(preshared_key=False).preshared_key is None
    assert made(keepalive=0).keepalive_s == 0 and "Keepalive" not in wg_quick.text(
        made(keepalive=0)
    )
    assert made(keepalive=7).keepalive_s == 7
    dialled = made(type="gateway", endpoint="198.51.100.7:51000")
    assert dialled.keepalive_s == 0 and "ListenPort = 51000\n" in wg_quick.text(dialled)


def test_rotation_makes_new_keys_and_a_new_digest() -> None:
    old, new = made(), made(rotation=1)
    assert old.private_key != new.private_key and old.preshared_key != new.preshared_key
    assert old.gateway_public_key == new.gateway_public_key
    assert (
        old.digest() != new.digest() and old.digest() == old.numbered(9).digest() == made().digest()
    )


def test_an_expired_endpoint_gets_none() -> None:
    day = date(2026, 1, 1)
    assert made(today=date(2025, 12, 31), expires=day)
    with pytest.raises(WarpError) as caught:
        made(today=day, expires=day)
    assert caught.value.code == "expired"


@pytest.mark.parametrize(
    ("expires", "code"),
    [(None, "suspended"), (date(2026, 1, 2), "suspended"), (date(2026, 1, 1), "expired")],
)
def test_a_suspended_endpoint_is_called_expired_only_after_its_day(
    expires: date | None, code: str
) -> None:
    intent, allocations = given(
        "secure-internet", endpoints={"phone": {"type": "mobile", "expires": expires}}
    )
    suspension = Suspension("net", "phone", since_s=0, until_s=None, by="anna", reason="")
    today = date(2026, 1, 1)
    network = resolve_named("net", intent, allocations, Host(), today, [suspension])
    with pytest.raises(WarpError) as caught:
        client_config(network, intent.gateway, MASTER, "phone", public_host="h")
    assert caught.value.code == code


def test_json_says_the_same() -> None:
    config = made().numbered(2)
    data = json.loads(FORMATS["json"].text(config))
    assert (data["network"], data["vcid"], data["endpoint"], data["config_version"]) == (
        "privacy",
        config.vcid,
        "phone-1",
        2,
    )
    assert derivation.public_key(Secret(derivation.decode(data["private_key"]))) not in (
        None,
        data["gateway"]["public_key"],
    )
    assert data["gateway"]["endpoint"] == "vpn.example.com:51820"
    assert json.loads(FORMATS["json"].text(made(public_key=OWN_KEY)))["private_key"] is None


def test_a_config_never_shows_its_keys_by_accident() -> None:
    config = made()
    assert config.private_key is not None
    assert derivation.encode(config.private_key.reveal()) not in repr(config) and "***" in repr(
        config
    )


def read_back(path: Path) -> bytes:
    command = ["zbarimg", "--quiet", "--raw", "--oneshot", "-Sbinary", str(path)]
    return subprocess.run(command, capture_output=True, timeout=30, check=True).stdout


def test_the_png_reads_back_byte_for_byte(tmp_path: Path) -> None:
    config = made().numbered(1)
    text = wg_quick.text(config)
    (tmp_path / "a.png").write_bytes(qr.image(config, text, ".png"))
    assert read_back(tmp_path / "a.png") == text.encode()


def test_the_terminal_reads_back_byte_for_byte(tmp_path: Path) -> None:
    config = made().numbered(1)
    text = wg_quick.text(config)
    drawn = qr.terminal(config, text)
    print(f"{len(drawn.splitlines()[0])} columns, {len(drawn.splitlines())} lines")
    (tmp_path / "b.png").write_bytes(photographed(drawn))
    assert read_back(tmp_path / "b.png") == text.encode()


def photographed(drawn: str, scale: int = 4) -> bytes:
    """A dark terminal as a PNG: drawn halves are white."""
    rows: list[bytes] = []
    for line in drawn.splitlines():
        for lit in ("█▀", "█▄"):
            row = b"".join((b"\xff" if cell in lit else b"\x00") * scale for cell in line)
            rows += [b"\x00" + row] * scale

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", len(rows[0]) - 1, len(rows), 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"".join(rows)))
        + chunk(b"IEND", b"")
    )


def test_svg_other_suffixes_and_what_does_not_fit() -> None:
    config = made()
    assert b"<svg" in qr.image(config, wg_quick.text(config), ".SVG")
    with pytest.raises(WarpError, match="no QR code"):
        qr.image(config, "x", ".gif")
    with pytest.raises(WarpError) as caught:
        qr.image(config, "x" * 3000, ".png")
    assert caught.value.code == "qr-too-long"
