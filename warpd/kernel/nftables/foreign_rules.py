"""What nftables chains of others do with a packet of ours, as far as their rules can be understood.

Pure.

Lives here: an interpreter of three values. A match is true, false or unknown; an unknown match
leads both ways, so that a packet has a set of possible ends. Only where every way ends in a drop is
the packet dropped for certain, and only that is ever claimed. Does not: our own rules
(`simulator`), which packets matter (`service/views/advice.py`), the reading of the kernel
(`kernel/linux/foreign_chains.py`).

The language is that of libnftables-json(5); `xt` is a match or target of iptables that nft has no
word for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final, Literal

from warpd.kernel.state import ForeignChain, ForeignRules

DEPTH_MAX: Final = 16  # NFT_JUMP_STACK_SIZE of the kernel
Hook = Literal["ingress", "prerouting", "input", "forward", "output", "postrouting", "egress"]
Prefix = IPv4Network | IPv6Network
Certainty = Literal["passes", "dropped", "unknown"]
_LOWEST, _HIGHEST = -(1 << 31), 1 << 31  # bounds of priorities
# By hook: chains of a lower priority see no connection yet, and take every packet for invalid
# (nft_ct_get_eval() in net/netfilter/nft_ct.c).
_CONNTRACK: Final[Mapping[str, int]] = {"ingress": _HIGHEST, "prerouting": -200, "output": -200}
# By hook: chains from this priority on see the source after our source NAT, which is not known.
_NAT_DONE: Final[Mapping[str, int]] = {"postrouting": 90, "egress": _LOWEST}
# By hook: the link that a packet does not have there. Its name is "" for rules.
_WITHOUT_LINK: Final[Mapping[str, str]] = {
    "ingress": "oif",
    "prerouting": "oif",
    "input": "oif",
    "output": "iif",
}
# By hook: the type of the route to the packet's destination.
_TYPES: Final[Mapping[str, str]] = {"input": "local", "forward": "unicast"}
# By IP version: the families of tables that see its packets.
_FAMILIES: Final[Mapping[int, tuple[str, ...]]] = {
    4: ("ip", "inet", "netdev"),
    6: ("ip6", "inet", "netdev"),
}
_LINK_OF: Final[Mapping[str, str]] = {"ingress": "iif", "egress": "oif"}
# Where a rule or a chain may lead: to an end, to the next rule, or to the end of its own chain.
_ACCEPT, _DROP, _NEXT, _END = "accept", "drop", "next", "end"
_IDLE: Final = frozenset(
    {
        "counter",
        "log",
        "mangle",
        "notrack",
        "flow",
        "ct helper",
        "ct timeout",
        "ct expectation",
        "secmark",
    }
)
# A statement that adds to a set or a map ends the rule where that is full, or a limit in it holds.
# `statement` is one for which nft has no JSON.
_SOMETIMES: Final = frozenset({"limit", "quota", "ct count", "last", "set", "map", "statement"})
_NAT: Final = frozenset({"snat", "dnat", "masquerade", "redirect"})
_REFUSING_TARGETS: Final = frozenset({"REJECT", "DROP"})
_ANYTHING: Final = frozenset({_ACCEPT, _DROP, _NEXT})
_VERDICTS: Final[Mapping[str, str]] = {
    "drop": _DROP,
    "reject": _DROP,
    "accept": _ACCEPT,
    "return": _END,
    "continue": _NEXT,
    **dict.fromkeys(_NAT, _ACCEPT),
}
# Targets of iptables that mark, log or change a packet, and let it go on.
_IDLE_TARGETS: Final = frozenset(
    {
        "AUDIT",
        "CLASSIFY",
        "CONNMARK",
        "CONNSECMARK",
        "CT",
        "DSCP",
        "HL",
        "LOG",
        "MARK",
        "NFLOG",
        "NOTRACK",
        "SECMARK",
    }
    | {"TCPMSS", "TOS", "TRACE", "TTL"}
)
_NUMBERS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "ipv6-icmp": 58, "icmpv6": 58}


class _Unknown:
    """A value that the packet has, but that nobody knows here."""


class _Lacking:
    """A field that the packet does not have, so that no rule about it matches."""


UNKNOWN: Final = _Unknown()
LACKING: Final = _Lacking()


@dataclass(frozen=True, slots=True)
class Probe:
    """A packet as far as it is known; empty strings and None stand for what is not.

    - `version`: 4 or 6.
    - `state`: that of conntrack, new or established.
    - `port`: the destination port.
    - `source`: a range of addresses, before source NAT; `target`: a range of addresses. The
      packet may have any address of the range.
    """

    hook: Hook
    version: int
    iif: str = ""
    oif: str = ""
    protocol: str = ""
    port: int | None = None
    state: str = "new"
    source_port: int | None = field(default=None, kw_only=True)
    source: Prefix | None = field(default=None, kw_only=True)
    target: Prefix | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """What one base chain does with a probe.

    - `rule`: which rule drops it, "" for the policy.
    - `by_default`: the end is unknown, and a drop unless a rule that is not understood lets the
      probe pass. A chain in which such a rule only picks out what it drops is not meant.
    """

    chain: ForeignChain
    end: Certainty
    rule: str = ""
    by_default: bool = False


def evaluate(rules: ForeignRules, probe: Probe) -> Iterator[ChainVerdict]:
    """What each base chain at the probe's hook does with it; an accept of one chain does not
    overrule the drop of another.
    """
    for chain in rules.chains:
        if chain.hook == probe.hook and _sees(chain, probe):
            yield _evaluate_chain(rules, chain, _as_seen_by(chain, probe))


def _evaluate_chain(rules: ForeignRules, chain: ForeignChain, probe: Probe) -> ChainVerdict:
    found = _Walk(rules, probe, chain).base(chain)
    if found.end != "unknown":
        return found
    otherwise = _Walk(rules, probe, chain, passes_over_unknown=True).base(chain)
    return dataclasses.replace(found, by_default=otherwise.end == "dropped")


def _sees(chain: ForeignChain, probe: Probe) -> bool:
    """Whether the probe passes this chain at its hook: its family, and its links if it has some."""
    link = _LINK_OF.get(probe.hook)
    has_link = link is None or any(_is(getattr(probe, link), name) for name in chain.devices)
    return chain.family in _FAMILIES[probe.version] and has_link


def _as_seen_by(chain: ForeignChain, probe: Probe) -> Probe:
    """Return the probe as a chain of this priority sees it."""
    if chain.priority < _CONNTRACK.get(probe.hook, _LOWEST):
        return dataclasses.replace(probe, state="invalid")
    if chain.priority >= _NAT_DONE.get(probe.hook, _HIGHEST):
        return dataclasses.replace(probe, source=None)
    return probe


class _Walk:
    """One probe's way through the table of a chain.

    `passes_over_unknown`: what is not understood counts as not there; otherwise it may match or
    not, and end anywhere.
    """

    def __init__(
        self,
        rules: ForeignRules,
        probe: Probe,
        base: ForeignChain,
        passes_over_unknown: bool = False,
    ) -> None:
        table = (base.family, base.table)
        self._probe = probe
        self._unknown_match = False if passes_over_unknown else None
        self._unknown_ends = frozenset({_NEXT}) if passes_over_unknown else _ANYTHING | {_END}
        self._chains = {
            chain.name: chain for chain in rules.chains if (chain.family, chain.table) == table
        }
        self._sets = {
            item.name: item.elements for item in rules.sets if (item.family, item.table) == table
        }
        self._refused_by = ""

    def base(self, chain: ForeignChain) -> ChainVerdict:
        ends = self._chain(chain.name, 0)
        if _NEXT in ends:
            ends = (ends - {_NEXT}) | {_DROP if chain.policy == "drop" else _ACCEPT}
        if ends == {_DROP}:
            return ChainVerdict(chain, "dropped", self._refused_by)
        return ChainVerdict(chain, "passes" if ends == {_ACCEPT} else "unknown", self._refused_by)

    def _chain(self, name: str, depth: int) -> frozenset[str]:
        """Where a chain may lead; `next` stands for the rule after the jump that led here."""
        chain = self._chains.get(name)
        if chain is None or depth > DEPTH_MAX or not chain.complete:
            return self._unknown_ends
        ends: set[str] = set()
        for text in chain.rules:
            found = self._rule(json.loads(text), depth)
            ends |= found & {_ACCEPT, _DROP}
            if _END in found:
                ends.add(_NEXT)
            if _NEXT not in found:
                return frozenset(ends)
        return frozenset(ends | {_NEXT})

    def _rule(self, expressions: Iterable[Mapping[str, Any]], depth: int) -> frozenset[str]:
        """Where one rule may lead; to the next rule as well, where a match is not certain."""
        certain = True
        for expression in expressions:
            [(kind, body)] = expression.items()
            if kind in _IDLE or _is_idle(kind, body):
                continue
            if not _is_condition(kind, body):
                found = self._verdict(kind, body, depth)
                if not certain:
                    return found | {_NEXT}
                self._note_refusal(found, kind, body)
                return found
            matches = self._assumed(self._match(body) if kind == "match" else None)
            if matches is False:
                return frozenset({_NEXT})
            certain = certain and matches is True
        return frozenset({_NEXT})

    def _assumed(self, matches: bool | None) -> bool | None:
        return self._unknown_match if matches is None else matches

    def _note_refusal(self, ends: frozenset[str], kind: str, body: Any) -> None:
        """Keep which rule was the first to drop the packet for certain."""
        if ends == {_DROP} and not self._refused_by:
            self._refused_by = kind if kind != "xt" else str(body["name"]).lower()

    def _verdict(self, kind: str, body: Any, depth: int) -> frozenset[str]:
        if kind == "xt" and _name(body) in _REFUSING_TARGETS:
            return frozenset({_DROP})
        if kind in _VERDICTS:
            return frozenset({_VERDICTS[kind]})
        if kind == "jump":
            return self._chain(str(body["target"]), depth + 1)
        if kind == "goto":
            ends = self._chain(str(body["target"]), depth + 1)
            return ends if _NEXT not in ends else (ends - {_NEXT}) | {_END}
        if kind == "vmap":
            return self._mapped(body, depth)
        return self._unknown_ends

    def _mapped(self, body: Mapping[str, Any], depth: int) -> frozenset[str]:
        """Where the verdict of a map may lead; all of them where it cannot be looked up."""
        elements = self._elements(body["data"])
        if elements is None:
            return self._unknown_ends
        value = _value(body["key"], self._probe)
        if value is LACKING:
            return frozenset({_NEXT})
        ends: set[str] = set()
        for element in elements:
            if not isinstance(element, list) or len(element) != 2:
                return self._unknown_ends
            inside = self._assumed(None if value is UNKNOWN else _is(value, element[0]))
            if inside is False:
                continue
            [(kind, target)] = element[1].items()
            ends |= self._verdict(kind, target, depth)
            if inside is True:
                return frozenset(ends)
        return frozenset(ends | {_NEXT})

    # -- matches

    def _match(self, body: Mapping[str, Any]) -> bool | None:
        """Whether it matches; None where nobody can say."""
        value, operator, right = _value(body["left"], self._probe), body["op"], body["right"]
        if value is LACKING:
            return False
        if value is UNKNOWN:
            return None
        if operator in ("==", "in", "!="):
            inside = self._inside(value, right)
            return inside if operator != "!=" or inside is None else not inside
        if not isinstance(value, int) or not isinstance(right, int):
            return None
        return {
            "<": value < right,
            ">": value > right,
            "<=": value <= right,
            ">=": value >= right,
        }.get(operator)

    def _inside(self, value: Any, right: Any) -> bool | None:
        members = self._elements(right)
        if members is None:
            return None
        answers = [_is(value, member) for member in members]
        if True in answers:
            return True
        return None if None in answers else False

    def _elements(self, right: Any) -> list[Any] | None:
        """What a set, map or single value holds; None where it is not known."""
        if isinstance(right, str) and right.startswith("@"):
            text = self._sets.get(right[1:])
            return None if text is None else list(json.loads(text))
        if isinstance(right, dict) and "set" in right:
            inner = right["set"]
            return list(inner) if isinstance(inner, list) else [inner]
        return list(right) if isinstance(right, list) else [right]


def _is_idle(kind: str, body: Any) -> bool:
    """Whether it decides nothing: a comment of iptables, or a target that lets the packet go on."""
    if kind != "xt":
        return False
    return _name(body) == "comment" or (not _is_match(body) and _name(body) in _IDLE_TARGETS)


def _is_condition(kind: str, body: Any) -> bool:
    """Whether what follows in the rule depends on it."""
    return kind == "match" or kind in _SOMETIMES or (kind == "xt" and _is_match(body))


def _is_match(body: Any) -> bool:
    return isinstance(body, dict) and body.get("type") == "match"


def _name(body: Any) -> str:
    return str(body.get("name", "")) if isinstance(body, dict) else ""


# -- what a packet has


def _value(left: Any, probe: Probe) -> Any:
    if not isinstance(left, dict) or len(left) != 1:
        return UNKNOWN
    [(kind, body)] = left.items()
    reader = _READERS.get(kind)
    return reader(body, probe) if reader is not None and isinstance(body, dict) else UNKNOWN


def _ct(body: Mapping[str, Any], probe: Probe) -> Any:
    """What is known of a connection; a new one has no status yet, such as that of a DNAT."""
    known = {"state": probe.state, "status": "" if probe.state == "new" else UNKNOWN}
    return known.get(str(body.get("key")), UNKNOWN)


def _fib(body: Mapping[str, Any], probe: Probe) -> Any:
    """The type of the route to the packet's destination."""
    of_target = body.get("result") == "type" and "daddr" in body.get("flags", ())
    return _TYPES.get(probe.hook, UNKNOWN) if of_target else UNKNOWN


def _meta(body: Mapping[str, Any], probe: Probe) -> Any:
    ip = "ip" if probe.version == 4 else "ip6"
    links: dict[str, Any] = {"iif": probe.iif or UNKNOWN, "oif": probe.oif or UNKNOWN}
    links |= dict.fromkeys([_WITHOUT_LINK.get(probe.hook, "")], "")
    iif, oif = links["iif"], links["oif"]
    known = {
        "iif": iif,
        "iifname": iif,
        "oif": oif,
        "oifname": oif,
        "nfproto": f"ipv{probe.version}",
        "protocol": ip,
        "l4proto": _NUMBERS[probe.protocol] if probe.protocol else UNKNOWN,
    }
    return known.get(str(body.get("key")), UNKNOWN)


def _payload(body: Mapping[str, Any], probe: Probe) -> Any:
    """A field of a header; LACKING where the packet has no such header."""
    protocol, field = str(body.get("protocol")), str(body.get("field"))
    if (protocol, field) == ("ether", "type"):
        return _meta({"key": "protocol"}, probe)
    if protocol in ("ip", "ip6"):
        return _ip_field(protocol, field, probe)
    known = {"dport": probe.port, "sport": probe.source_port}.get(field)
    port = UNKNOWN if known is None else known
    if protocol == "th":
        return port
    if (protocol not in _NUMBERS and protocol != "sctp") or not probe.protocol:
        return UNKNOWN
    return port if protocol == probe.protocol else LACKING


def _ip_field(protocol: str, field: str, probe: Probe) -> Any:
    if (protocol == "ip6") != (probe.version == 6):
        return LACKING
    protocol_number = _NUMBERS.get(probe.protocol)
    known: dict[str, Any] = {
        "saddr": probe.source,
        "daddr": probe.target,
        "protocol": protocol_number,
        "nexthdr": protocol_number,
    }
    found = known.get(field)
    return UNKNOWN if found is None else found


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any], Probe], Any]]] = {
    "meta": _meta,
    "ct": _ct,
    "fib": _fib,
    "payload": _payload,
}


def _is(value: Any, member: Any) -> bool | None:
    """Whether a known value is the member that a rule names; None where that is not understood."""
    if member == "*":
        return True
    if isinstance(member, dict) and "elem" in member:
        return _is(value, member["elem"]["val"])
    if isinstance(value, IPv4Network | IPv6Network):
        return _is_within(value, member)
    return _in_range(value, member) if isinstance(member, dict) else _is_word(value, member)


def _is_word(value: Any, member: Any) -> bool | None:
    """As `_is`, of a word or a number; a word may end in `*`."""
    if isinstance(value, str) and isinstance(member, int):
        return None  # a number where this knows only the word
    if isinstance(value, int) and isinstance(member, str):
        return None if member not in _NUMBERS else value == _NUMBERS[member]
    if isinstance(member, str) and member.endswith("*"):
        return str(value).startswith(member[:-1])
    return bool(value == member)


def _in_range(value: Any, member: Mapping[str, Any]) -> bool | None:
    """Whether a number is in the range that a rule names; None where it names something else."""
    low, high = member.get("range", (None, None))
    if not (isinstance(value, int) and isinstance(low, int) and isinstance(high, int)):
        return None
    return low <= value <= high


# -- addresses


def _is_within(block: Prefix, member: Any) -> bool | None:
    """Whether an address of a block is one that a rule names; None where only some are."""
    try:
        low, high = _addresses_of(member)
    except ValueError:
        return None
    first, last = int(block.network_address), int(block.broadcast_address)
    if last < low or high < first:
        return False
    return True if low <= first and last <= high else None


def _addresses_of(member: Any) -> tuple[int, int]:
    """Return the first and the last address that a rule names.

    Raises:
        ValueError: it names something else.
    """
    ends = [member, member]
    if isinstance(member, dict):
        prefix = "{addr}/{len}".format_map(member.get("prefix", {"addr": "", "len": ""}))
        ends = member.get("range", [prefix, prefix])
    low, high = (ip_network(str(end)) for end in ends)
    return int(low.network_address), int(high.broadcast_address)
