"""What plan, status and doctor say about routes of the host beside a named uplink."""

from __future__ import annotations

from warpd.kernel.state import DivertingRoute, Host
from warpd.service.views.advice import uplink_warnings


def messages(host: Host) -> list[str]:
    return [warning["message"] for warning in uplink_warnings(host)]


def test_a_default_route_elsewhere_is_passed_over() -> None:
    (text,) = messages(Host(uplink="eth0", elsewhere=(4,), steered=(4,)))
    assert "leaves by eth0 nevertheless" in text


def test_a_longer_route_elsewhere_is_named_and_nothing_else_is_claimed() -> None:
    """No warning says that packets leave by the uplink where a longer route keeps them from it."""
    host = Host(
        uplink="eth0",
        elsewhere=(4, 6),
        steered=(4, 6),
        diverted=(DivertingRoute(4, "198.0.0.0/7", "tun0"),),
    )
    longer, six = messages(host)
    assert "198.0.0.0/7 leads over tun0" in longer and "dropped" in longer
    assert "IPv6" in six and "leaves by eth0 nevertheless" in six


def test_an_uplink_without_an_address_is_named() -> None:
    (text,) = messages(Host(uplink="eth0", elsewhere=(6,)))
    assert "no IPv6 address" in text


def test_a_rule_that_leads_replies_away_is_named() -> None:
    (text,) = messages(Host(uplink="eth0", astray=(DivertingRoute(6, "fd77::/127", "tun0"),)))
    assert "replies to clients (as to fd77::/127) over tun0" in text and "IPv6" in text
