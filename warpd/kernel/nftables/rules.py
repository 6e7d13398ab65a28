"""nftables rules as JSON text, in the form in which libnftables lists them.

Lives here: expressions and verdicts, one function each, and their canonical order. Does not: what a
rule is for (`isolation/`, `networks/`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "ipv6-icmp": 58}  # assigned by IANA


def rule(comment: str, *expressions: Any) -> str:
    """One rule in canonical form: keys sorted, members of anonymous sets sorted."""
    body = {"comment": comment, "expr": list(expressions)}
    text = _written(body)
    return text if _ANONYMOUS_SET not in text else _written(_ordered(body))


_ANONYMOUS_SET: Final = '"set":['


def _written(body: Any) -> str:
    # A rule never holds itself. Without the check for that, writing takes a quarter less time.
    return json.dumps(body, sort_keys=True, separators=(",", ":"), check_circular=False)


def _ordered(value: Any) -> Any:
    """The kernel keeps anonymous sets in its own order; neither spelling means anything else."""
    if isinstance(value, dict):
        return {
            k: sorted(v, key=str) if k == "set" and isinstance(v, list) else _ordered(v)
            for k, v in value.items()
        }
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def transport(*names: str) -> dict[str, Any]:
    """Packets of these protocols, by their numbers: libnftables knows names only where there is an
    /etc/protocols.
    """
    numbers = [PROTOCOLS[name] for name in names]
    return match(meta("l4proto"), numbers[0] if len(numbers) == 1 else members(*numbers))


def plain_gre(ethertype: int) -> tuple[dict[str, Any], ...]:
    """GRE that carries packets of this type, without key, checksum and sequence number.

    The kernel looks for a tunnel by the type and the key too (ip_tunnel_lookup() in
    net/ipv4/ip_tunnel.c), and then for one of any address, key and link.
    """
    head = {"payload": {"base": "th", "offset": 0, "len": 32}}
    return transport("gre"), match(head, ethertype)


def connection(key: str, direction: str = "") -> dict[str, Any]:
    """A field that conntrack has of the packet's connection.

    With `direction`, of that direction's tuple.
    """
    return {"ct": {"key": key, "dir": direction} if direction else {"key": key}}


def payload(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


def together(*keys: Any) -> dict[str, Any]:
    """Several keys as one, for sets of elements that are made of several parts."""
    return {"concat": list(keys)}


def count(name: str) -> dict[str, Any]:
    return {"counter": name}


def jump(chain: str) -> dict[str, Any]:
    return {"jump": {"target": chain}}


def log_limited(prefix: str) -> tuple[dict[str, Any], ...]:
    """At most six lines a minute and reason, so that a flood of drops does not flood the log."""
    return {"limit": {"rate": 6, "burst": 5, "per": "minute"}}, {"log": {"prefix": prefix}}


def rate_over(rate: int, burst: int, per: str = "second") -> dict[str, Any]:
    """A match of packets beyond `rate` in each `per` (a unit of time), after a burst of `burst`."""
    return {"limit": {"rate": rate, "burst": burst, "per": per, "inv": True}}


def connections_over(number: int) -> dict[str, Any]:
    """Matches the first packet of a connection when `number` others are open."""
    return {"ct count": {"val": number, "inv": True}}


def random_of(number: int) -> dict[str, Any]:
    """A random number below `number`, another for each packet."""
    return {"numgen": {"mode": "random", "mod": number, "offset": 0}}


def meter(name: str, size: int, key: Any, statement: Mapping[str, Any]) -> dict[str, Any]:
    """A statement with a state of its own for each value of `key`, for at most `size` values; it
    belongs to its rule.
    """
    return {"meter": {"key": key, "name": name, "size": size, "stmt": statement}}


def update(name: str, key: Any) -> dict[str, Any]:
    """Remembers a value of the packet in a set with a timeout."""
    return {"set": {"op": "update", "elem": key, "set": f"@{name}"}}


def mapped(key: Any, into: str) -> dict[str, Any]:
    """What the map says of a value of the packet; the rule ends where it says nothing."""
    return {"map": {"key": key, "data": f"@{into}"}}


def members(*values: Any) -> dict[str, Any]:
    return {"set": list(values)}


def goto(chain: str) -> dict[str, Any]:
    return {"goto": {"target": chain}}


def dispatch(key: str, into: str) -> dict[str, Any]:
    """On to the chain that the map names for this link."""
    return {"vmap": {"key": meta(key), "data": f"@{into}"}}


def mangle(key: Any, value: Any) -> dict[str, Any]:
    return {"mangle": {"key": key, "value": value}}


def with_bits(key: Any, bits: int) -> dict[str, Any]:
    """A value of the packet with these bits set."""
    return {"|": [key, bits]}


def only_bits(key: Any, bits: int) -> dict[str, Any]:
    """A value of the packet without all other bits."""
    return {"&": [key, bits]}


def between(first: int, last: int) -> Any:
    """A range as nft lists it."""
    return first if first == last else {"range": [first, last]}


def _names_one(value: Any, under: str, names: frozenset[str]) -> bool:
    """Whether a value under a key of a rule is one of these names: of a chain, counter, meter, or
    with "@" of a set.
    """
    if not isinstance(value, str):
        return False
    plain = under in ("target", "counter", "name") and value in names
    return plain or (value.startswith("@") and value[1:] in names)


def renamed(text: str, names: frozenset[str], suffix: str) -> str:
    """A rule with `suffix` after each of `names`: its chains, sets, meters and counters."""

    def walk(value: Any, under: str = "") -> Any:
        if isinstance(value, dict):
            return {key: walk(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        return value + suffix if _names_one(value, under, names) else value

    body = json.loads(text)
    return rule(body["comment"], *walk(body["expr"]))


def with_accept_as(text: str, *expressions: Any) -> str:
    """Replace the `accept` at the end of a rule by `expressions`, none with an anonymous set.

    A rule that does not end in `accept` is returned as it is. The text is cut and not parsed, since
    this is done for every rule of every network: the expressions end a rule in canonical form.
    """
    if not text.endswith(_ACCEPT_AT_END):
        return text
    instead = ",".join(_written(item) for item in expressions)
    return f"{text.removesuffix(_ACCEPT_AT_END)}{instead}{_END}"


ACCEPT: dict[str, Any] = {"accept": None}
_END: Final = "]}"
_ACCEPT_AT_END: Final = _written(ACCEPT) + _END
DROP: dict[str, Any] = {"drop": None}
RETURN: dict[str, Any] = {"return": None}
NOTRACK: dict[str, Any] = {"notrack": None}  # conntrack makes no entry for the packet
# listed in the order of the kernel's bits, which is how libnftables prints flags
ANSWERS = match(connection("state"), ["established", "related"], op="in")
RELATED = match(connection("state"), "related", op="in")
REPLY = match(connection("direction"), "reply")
ORIGINAL = match(connection("direction"), "original")
# The source of the connection's packets is translated: nf_nat_setup_info sets the bit when the new
# tuple differs.
TRANSLATED = match(connection("status"), "snat", op="in")
UNTRANSLATED = match(connection("status"), "snat", op="!")
