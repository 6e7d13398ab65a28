"""What our own nftables rules do with one packet: their language, as far as we write it, read the
other way round. Pure.

Lives here: chains, matches, verdicts. Does not: routes and WireGuard (`explain`). The packet opens
a connection: its state is new, nothing is marked or translated yet.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Final

from warpd.kernel.kinds.nft_table import JOINT, NetworkSubtable, NftElements, NftTable
from warpd.kernel.nftables.rules import PROTOCOLS
from warpd.kernel.state import KernelObject

ACCEPT, DROP, CONTINUE, RETURN = "accept", "drop", "continue", "return"
MASQUERADE: Final = "masquerade"
# Expressions that decide nothing: they count, ration a log line, remember an address.
_ENDS: Final = frozenset({ACCEPT, DROP, RETURN, MASQUERADE})
_LEADS: Final = frozenset({"jump", "goto", "vmap"})
_KNOWN: Final = frozenset({"match", "counter", "limit", "log", "meter", "set"})
_DEPTH_MAX: Final = 16  # as the kernel's own limit for jumps


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection; `protocol` is tcp, udp, icmp (either family's), an IANA
    number as text, or "": nft finds none in it (extension headers without an end).
    """

    source: str
    target: str
    protocol: str
    port: int = 0
    iif: str = ""
    oif: str = ""
    mark: int = 0
    icmp_type: str = "echo-request"  # as nft names it
    head: int = 0  # of GRE: its first four bytes, flags and type

    @property
    def version(self) -> int:
        return ip_address(self.target).version

    @property
    def number(self) -> int | None:
        if not self.protocol:
            return None
        if self.protocol.isdigit():
            return int(self.protocol)
        return PROTOCOLS[
            "ipv6-icmp" if self.protocol == "icmp" and self.version == 6 else self.protocol
        ]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a packet.

    - `what`: accept, drop, masquerade, or continue and return for a chain that does not decide.
    - `chain`, `rule`: where that was decided; `rule` is its comment.
    - `packet`: as the rules left it.
    """

    what: str
    chain: str
    rule: str
    packet: Packet


class UnsupportedRule(ValueError):
    """A rule that we did not write."""


class Ruleset:
    """The rules, sets and maps of one namespace."""

    def __init__(self, objects: Iterable[KernelObject]) -> None:
        self.chains: dict[str, tuple[str, ...]] = {}
        self.policies: dict[str, str] = {}
        self.sets: dict[str, set[str]] = {}
        self.maps: dict[str, dict[str, str]] = {}
        for item in objects:
            if isinstance(item, NftTable | NetworkSubtable):
                for chain in item.chains:
                    self.chains[chain.name] = chain.rules
                    self.policies[chain.name] = chain.policy
                for each in item.sets:
                    self.sets.setdefault(each.name, set()).update(each.elements)
            if isinstance(item, NetworkSubtable):
                for name, link, chain_name in item.entries:
                    self.maps.setdefault(name, {})[link] = chain_name
            if isinstance(item, NftElements):
                jumps = (text.split(" : jump ") for text in item.elements if " : jump " in text)
                self.maps.setdefault(item.set, {}).update((key, target) for key, target in jumps)
                self.sets.setdefault(item.set, set()).update(item.elements)

    def evaluate(self, chain: str, packet: Packet) -> Verdict:
        """From a base chain, to its policy when no rule decides.

        Raises:
            UnsupportedRule: a rule uses what ours never do.
        """
        found = self._walk(chain, packet, 0)
        if found.what in (CONTINUE, RETURN):
            return Verdict(self.policies.get(chain, ACCEPT), chain, "policy", found.packet)
        return found

    def _walk(self, chain: str, packet: Packet, depth: int) -> Verdict:
        if depth > _DEPTH_MAX:
            raise UnsupportedRule(f"chain {chain} jumps in circles")
        for text in self.chains.get(chain, ()):
            body = json.loads(text)
            found = self._rule(
                body["expr"], Verdict(CONTINUE, chain, str(body.get("comment", "")), packet), depth
            )
            if found.what not in (CONTINUE, RETURN):
                return found
            packet = found.packet
            if found.what == RETURN:
                break
        return Verdict(CONTINUE, chain, "", packet)

    def _rule(self, expressions: list[Any], at: Verdict, depth: int) -> Verdict:
        """Where one rule leads: to a verdict, or on with the packet as the rule left it."""
        for expression in expressions:
            [(kind, body)] = expression.items()
            if not self._passes(kind, body, at.packet):
                return at
            if kind == "mangle":
                at = dataclasses.replace(at, packet=_mangled(body, at.packet))
            elif kind in _ENDS:
                return dataclasses.replace(at, what=kind)
            elif kind in _LEADS:
                found = self._walk(self._where(kind, body, at.packet), at.packet, depth + 1)
                if found.what != CONTINUE:
                    return found
                if kind == "goto":
                    return dataclasses.replace(found, what=RETURN)
                at = dataclasses.replace(at, packet=found.packet)
            elif kind not in _KNOWN:
                raise UnsupportedRule(f"{kind} in chain {at.chain}")
        return at

    def _passes(self, kind: str, body: Any, packet: Packet) -> bool:
        """Whether the expressions after this one are looked at."""
        if kind == "match":
            return self._matches(body, packet)
        return not _is_limit(kind, body)

    def _where(self, kind: str, body: Any, packet: Packet) -> str:
        if kind != "vmap":
            return str(body["target"])
        return self.maps.get(str(body["data"]).lstrip("@"), {}).get(
            str(_value(body["key"], packet)), ""
        )

    def _matches(self, body: Mapping[str, Any], packet: Packet) -> bool:
        value, right, op = _value(body["left"], packet), body["right"], body["op"]
        if value is None:
            return False
        members = list(self._members(right))
        inside = any(_is(value, one) for one in members)
        if op in ("==", "in"):
            return inside
        if op in ("!=", "!"):
            return not inside
        if op == ">":
            return isinstance(value, int) and all(
                isinstance(one, int) and value > one for one in members
            )
        raise UnsupportedRule(f"operator {op}")

    def _members(self, right: Any) -> Iterator[Any]:
        if isinstance(right, str) and right.startswith("@"):
            yield from self.sets.get(right[1:], ())
        elif isinstance(right, dict) and "set" in right:
            yield from right["set"]
        elif isinstance(right, list):
            yield from right
        else:
            yield right


def _is_limit(kind: str, body: Any) -> bool:
    """Whether it matches only what is beyond a limit: one packet by itself is not."""
    if kind == "meter":
        return any(_is_limit(inner, of) for inner, of in body["stmt"].items())
    return kind in ("limit", "ct count") and bool(body.get("inv"))


def _value(left: Mapping[str, Any], packet: Packet) -> Any:
    """What a packet has there; None where it has no such thing, so that nothing matches."""
    [(kind, body)] = left.items()
    if kind == "concat":
        parts = [_value(part, packet) for part in body]
        return None if None in parts else tuple(parts)
    if kind == "meta":
        return {
            "iifname": packet.iif,
            "oifname": packet.oif,
            "nfproto": f"ipv{packet.version}",
            "l4proto": packet.number,
            "mark": packet.mark,
        }.get(body["key"])
    if kind == "ct":
        return _connection(body["key"], body.get("dir", "original"), packet)
    if kind == "payload":
        return _payload(body, packet)
    if kind == "&":
        return int(_value(body[0], packet)) & int(body[1])
    if kind == "tcp option":
        return None  # only segment sizes ask for one
    raise UnsupportedRule(kind)


def _connection(key: str, direction: str, packet: Packet) -> Any:
    """What conntrack knows of the connection that the packet opens: it is not translated yet."""
    source, target = (
        (packet.source, packet.target)
        if direction == "original"
        else (packet.target, packet.source)
    )
    family = "ip" if packet.version == 4 else "ip6"
    return {
        "state": "new",
        "direction": "original",
        "mark": 0,
        "status": "",
        "protocol": packet.number,
        "proto-dst": packet.port if direction == "original" else None,
        f"{family} saddr": source,
        f"{family} daddr": target,
    }.get(key)


def _payload(body: Mapping[str, Any], packet: Packet) -> Any:
    if "base" in body:  # ours look at the bytes of nothing but GRE
        return packet.head if packet.number == PROTOCOLS["gre"] else None
    return _field(body["protocol"], body["field"], packet)


def _field(protocol: str, name: str, packet: Packet) -> Any:
    """A field of a packet's headers; None for one that it does not have."""
    if protocol in ("ip", "ip6"):
        own = packet.version == (4 if protocol == "ip" else 6)
        return {"saddr": packet.source, "daddr": packet.target}.get(name) if own else None
    if name == "dport" and _has_ports(protocol, packet):
        return packet.port
    if name == "type" and (protocol, packet.number) in (("icmp", 1), ("icmpv6", 58)):
        return packet.icmp_type
    if (protocol, name, packet.protocol) == ("tcp", "flags", "tcp"):
        return "syn"
    return None


def _has_ports(protocol: str, packet: Packet) -> bool:
    """Whether a packet has the ports that a rule speaks of; "th" stands for any of these."""
    return protocol == packet.protocol or (protocol == "th" and packet.protocol in ("tcp", "udp"))


def _is(value: Any, one: Any) -> bool:
    if isinstance(value, tuple):
        parts = str(one).split(JOINT)
        return len(parts) == len(value) and all(
            _is(*pair) for pair in zip(value, parts, strict=True)
        )
    if isinstance(one, dict):
        if "prefix" in one:
            return _within(value, f"{one['prefix']['addr']}/{one['prefix']['len']}")
        low, high = one["range"]
        return isinstance(value, int) and int(low) <= value <= int(high)
    if isinstance(one, str) and isinstance(value, str) and "/" in one:
        return _within(value, one)
    return bool(value == one)


def _within(address: str, prefix: str) -> bool:
    block, own = ip_network(prefix), ip_address(address)
    return own.version == block.version and own in block


def _mangled(body: Mapping[str, Any], packet: Packet) -> Packet:
    value = body["value"]
    if body["key"] == {"meta": {"key": "mark"}} and isinstance(value, int):
        return dataclasses.replace(packet, mark=value)
    if isinstance(value, dict) and "|" in value:  # ours sets bits of nothing but the packet's mark
        return dataclasses.replace(packet, mark=packet.mark | int(value["|"][1]))
    return (
        packet  # marks of connections, zones, segment sizes: of no consequence for the first packet
    )
