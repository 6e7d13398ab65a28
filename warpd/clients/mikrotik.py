"""The format of MikroTik RouterOS (7.8 and newer): a script for `/import`.

RouterOS has VXLAN but no GRETAP, so endpoints of l2-point-to-point have no config in this format.
If all traffic goes into the tunnel, the tunnel's routes are in a routing table of their own. The
main table is used first for every route except a default route, and for the address of the gateway,
so that WireGuard's own packets do not enter the tunnel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from warpd.clients.config import ClientConfig
from warpd.clients.segment import Segment
from warpd.errors import WarpError

Properties = Iterable[tuple[str, object]]


def text(config: ClientConfig) -> str:
    """Write a config.

    Raises:
        WarpError: the network needs GRETAP (code `format-cannot`).
    """
    if config.segment and config.segment.kind == "gretap":
        _refuse(config)
    head = [f"# {config.title}", "# run it by: /import file-name=FILE.rsc"]
    if config.dns:
        head.append(f"# name servers inside: {', '.join(config.dns)}")
    return "\n".join([*head, *_commands(config)]) + "\n"


def _refuse(config: ClientConfig) -> None:
    raise WarpError(
        f"endpoint {config.network}/{config.endpoint} needs GRETAP, which RouterOS does not have",
        code="format-cannot",
        who="operator",
        hint=(
            "put a Linux, OpenWrt or VyOS device there, or make the network one of type l2-mesh,"
            " which uses VXLAN"
        ),
    )


def _commands(config: ClientConfig) -> Iterator[str]:
    device = config.device
    yield _add("/interface wireguard", config, _interface(config))
    yield _add("/interface wireguard peers", config, _peer(config))
    for address in config.addresses:
        six = [("advertise", "no")] if ":" in address else []
        yield _add(
            f"{_family(address)} address",
            config,
            [("address", address), ("interface", device), *six],
        )
    yield from _full(config) if config.takes_everything else _routes(config, config.allowed_ips)
    if config.segment:
        yield from _segment(config, config.segment)
    elif not config.routes:
        yield from _hidden(config)


def _add(menu: str, config: ClientConfig, properties: Properties) -> str:
    words = (f"{key}={_word(value)}" for key, value in properties if value is not None)
    return f"{menu} add {' '.join(words)} comment={_word(config.title)}"


def _word(value: object) -> str:
    """Quote a value. Numbers, addresses and expressions in parentheses need no quotes."""
    text = str(value)
    if text.startswith("(") or all(char.isalnum() or char in "./:,-" for char in text):
        return text
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def _family(prefix: str) -> str:
    return "/ipv6" if ":" in prefix else "/ip"


def _interface(config: ClientConfig) -> Iterator[tuple[str, object]]:
    yield "name", config.device
    yield "mtu", config.mtu_without_fragments()
    yield "listen-port", config.listen_port
    yield "private-key", config.private_text


def _peer(config: ClientConfig) -> Iterator[tuple[str, object]]:
    host, port = config.host_port
    yield "interface", config.device
    yield "public-key", config.gateway_public_key
    yield "preshared-key", config.shared_text
    yield from (("endpoint-address", host), ("endpoint-port", port))
    yield "allowed-address", ",".join(config.allowed_ips)
    yield "persistent-keepalive", f"{config.keepalive_s}s" if config.keepalive_s else None


def _routes(
    config: ClientConfig, prefixes: Iterable[str], table: str | None = None
) -> Iterator[str]:
    for prefix in prefixes:
        route = [("dst-address", prefix), ("gateway", config.device), ("routing-table", table)]
        yield _add(f"{_family(prefix)} route", config, route)


def _full(config: ClientConfig) -> Iterator[str]:
    table = f"warp-{config.vcid}"
    yield f"/routing table add name={table} fib"
    yield from _routes(config, config.allowed_ips, table)
    yield _add(
        "/routing rule", config, [("action", "lookup"), ("table", "main"), ("min-prefix", 0)]
    )
    outside = [
        ("action", "lookup-only-in-table"),
        ("dst-address", _gateway(config.host_port[0])),
        ("table", "main"),
    ]
    yield _add("/routing rule", config, outside)
    yield _add("/routing rule", config, [("action", "lookup-only-in-table"), ("table", table)])


def _gateway(host: str) -> str:
    """Return the gateway's address; a host name is resolved on the router during the import."""
    try:
        address = ip_address(host)
    except ValueError:
        return f'([:resolve "{host}"] . "/32")'
    return f"{address}/{address.max_prefixlen}"


def _hidden(config: ClientConfig) -> Iterator[str]:
    """Masquerade hosts behind a device that has no `routes`.

    The gateway accepts only the device's own source addresses.
    """
    for family in sorted({_family(address) for address in config.addresses}):
        nat = [("chain", "srcnat"), ("out-interface", config.device), ("action", "masquerade")]
        yield _add(f"{family} firewall nat", config, nat)


def _segment(config: ClientConfig, segment: Segment) -> Iterator[str]:
    yield _add("/interface vxlan", config, _vxlan(segment))
    vtep = [("interface", segment.device), ("remote-ip", segment.remote), ("port", segment.port)]
    yield _add("/interface vxlan vteps", config, vtep)
    yield _add(
        "/interface bridge",
        config,
        [("name", segment.bridge), ("protocol-mode", "none"), ("mtu", segment.mtu)],
    )
    for port in (segment.device, segment.lan_port):
        if port:
            yield _add(
                "/interface bridge port", config, [("bridge", segment.bridge), ("interface", port)]
            )
    yield from _admitted(config, segment)


def _vxlan(segment: Segment) -> Iterator[tuple[str, object]]:
    yield "name", segment.device
    yield from (("vni", segment.vni), ("port", segment.port), ("mtu", segment.mtu))
    yield from (("local-address", segment.local), ("dont-fragment", "disabled"))


def _admitted(config: ClientConfig, segment: Segment) -> Iterator[str]:
    """Accept VXLAN from the gateway, by a rule at the start of the input chain.

    The default firewall of RouterOS ends with a drop rule. `place-before=0` fails in an empty
    chain, so in this case the rule is added without it.
    """
    flow = [("protocol", "udp"), ("dst-port", segment.port), ("src-address", segment.remote)]
    rule = [("chain", "input"), ("action", "accept"), ("in-interface", config.device), *flow]
    first = _add("/ip firewall filter", config, [*rule, ("place-before", 0)])
    yield f":do {{ {first} }} on-error={{ {_add('/ip firewall filter', config, rule)} }}"
