"""List the nftables chains of other programs that our packets pass, with libnftables.

This module decides what is listed and where to stop. `foreign_rules` interprets the rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from warpd.kernel.kinds.nft_table import FAMILY, TABLE
from warpd.kernel.state import ForeignChain, ForeignRules, ForeignSet

CHAINS_MAX: Final = 200  # in all tables together; a host with Kubernetes has thousands
RULES_MAX: Final = 2000  # in one chain
ELEMENTS_MAX: Final = 2000  # in one set; a list of blocked addresses may have a million
HOOKS: Final = (
    "ingress",
    "prerouting",
    "input",
    "forward",
    "output",
    "postrouting",
    "egress",
)
HOOKS_OF_LINKS: Final = ("ingress", "egress")
FAMILIES: Final = ("ip", "ip6", "inet", "netdev")
TYPES: Final = ("filter", "route")  # not nat: its chains translate, and are many with Kubernetes
# Not where the same match looks at more of the connection, such as its direction.
_STATE = re.compile(r"^(?!.*\bct (?!state)).*\bct state (!= )?([a-z,]+)")
_DEVICES = re.compile(r"\bdevices? (?:= \{)?([^};]*?)\}? priority ")
_HANDLE = re.compile(r"# handle (\d+)$")
# Not where the same match looks at the source too.
_TYPE = re.compile(r"^(?!.*\bfib saddr\b).*\bfib daddr type (!= )?([a-z]+)")
_PORTS = re.compile(r"^(?!.*\bsport\b).*\bdport (!= )?\{? ?([0-9, -]*[0-9])")
_CONNECTION: Final = (_STATE, {"ct": {"key": "state"}})
_DESTINATION: Final = (_TYPE, {"fib": {"result": "type", "flags": ["daddr"]}})
# By name: what an xt match looks for in the text output, and the left side that it stands for.
_READ_AS: Final[Mapping[str, tuple[re.Pattern[str], dict[str, Any]]]] = {
    "conntrack": _CONNECTION,
    "state": _CONNECTION,
    "addrtype": _DESTINATION,
    "multiport": (_PORTS, {"payload": {"protocol": "th", "field": "dport"}}),
}
Name = tuple[str, str, str]  # family, table, name


def read(context: Any) -> ForeignRules:
    """Return the foreign chains at our hooks, and all chains and sets that they use.

    `context` is a libnftables context with JSON output.
    """
    found = [(_name(item), item) for item in _base_chains(context)]
    chains = _followed(context, found, {})
    named = sorted({name for chain in chains.values() for name in _sets_of(chain)})
    sets = [item for item in (_set(context, name) for name in named) if item is not None]
    more = sorted({target for item in sets for target in _set_targets(item)} - chains.keys())
    chains |= _followed(context, [(name, {}) for name in more], chains)
    return ForeignRules(tuple(chains[name] for name in sorted(chains)), tuple(sets))


def _followed(
    context: Any,
    found: Sequence[tuple[Name, Mapping[str, Any]]],
    known: Mapping[Name, ForeignChain],
) -> dict[Name, ForeignChain]:
    """Return the chains in `found` and all chains to which they jump, except those in `known`.

    At most CHAINS_MAX chains are read; the others are incomplete.
    """
    chains: dict[Name, ForeignChain] = {}
    waiting = list(found)
    while waiting:
        name, item = waiting.pop(0)
        if name in chains or name in known:
            continue
        if len(chains) + len(known) >= CHAINS_MAX:
            chains[name] = ForeignChain(*name, complete=False)
            continue
        chains[name] = _chain(context, name, item)
        waiting += [((*name[:2], target), {}) for target in _targets(chains[name])]
    return chains


def _ask(context: Any, command: str) -> list[dict[str, Any]]:
    """Run a list command. The result is empty if it fails, as the table may be deleted by now."""
    code, output, _error = context.cmd(command)
    listed: list[dict[str, Any]] = json.loads(output)["nftables"] if code == 0 and output else []
    return listed


def _base_chains(context: Any) -> Iterator[dict[str, Any]]:
    for entry in _ask(context, "list chains"):
        item = entry.get("chain", {})
        ours = (item.get("family"), item.get("table")) == (FAMILY, TABLE)
        if (
            item.get("hook") in HOOKS
            and item["family"] in FAMILIES
            and item.get("type") in TYPES
            and not ours
        ):
            yield item


def _name(item: Mapping[str, Any]) -> Name:
    return str(item["family"]), str(item["table"]), str(item["name"])


def _chain(context: Any, name: Name, item: Mapping[str, Any]) -> ForeignChain:
    hook, policy = str(item.get("hook", "")), str(item.get("policy", "accept"))
    priority = int(item.get("prio", 0))
    devices = tuple(_devices(context, name)) if hook in HOOKS_OF_LINKS else ()
    listed = _ask(context, "list chain " + " ".join(name))
    rules = [_in_objects(entry["rule"]) for entry in listed if "rule" in entry]
    if not listed or len(rules) > RULES_MAX:
        return ForeignChain(*name, hook, policy, complete=False)
    if any(_untold(rule) for rule in rules):
        rules = list(_translated(context, name, rules))
    texts = tuple(json.dumps(_without_counts(rule["expr"])) for rule in rules)
    return ForeignChain(*name, hook, policy, texts, priority=priority, devices=devices)


def _in_objects(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule in which each expression is a JSON object.

    nft prints a statement for which it has no JSON (1.0: one that adds to a map) as a string.
    """
    return {**rule, "expr": list(map(_in_object, rule["expr"]))}


def _in_object(expression: Any) -> dict[str, Any]:
    return expression if isinstance(expression, dict) else {"statement": expression}


def _without_counts(expressions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a rule's expressions without counters, which change with each packet."""
    return [each for each in expressions if "counter" not in each]


def _untold(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the xt matches of a rule of which the JSON output has the name alone."""
    matches = [each["xt"] for each in rule["expr"] if isinstance(each.get("xt"), dict)]
    return [each for each in matches if each.get("type") == "match" and each["name"] in _READ_AS]


def _translated(context: Any, name: Name, rules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the rules with the states, address types and ports of iptables' xt matches.

    The JSON output does not contain these; they are taken from the text output.
    """
    texts = _texts(context, name)
    for rule in rules:
        by_name = dict[str, dict[str, Any]]()
        for match in _untold(rule):
            pattern, left = _READ_AS[match["name"]]
            found = pattern.search(texts.get(rule.get("handle", 0), ""))
            if found is not None:
                by_name[match["name"]] = _match(left, found)
        yield {**rule, "expr": [by_name.get(_xt_name(each), each) for each in rule["expr"]]}


def _match(left: dict[str, Any], found: re.Match[str]) -> dict[str, Any]:
    members = [_member(text.strip()) for text in found[2].split(",")]
    return {"match": {"op": "!=" if found[1] else "in", "left": left, "right": members}}


def _member(text: str) -> Any:
    """Return a word, a port or a range of ports as in the JSON output."""
    low, _, high = text.partition("-")
    if not low.isdecimal():
        return text
    return {"range": [int(low), int(high)]} if high else int(low)


def _xt_name(expression: Mapping[str, Any]) -> str:
    xt = expression.get("xt")
    return str(xt["name"]) if isinstance(xt, dict) and xt.get("type") == "match" else ""


def _devices(context: Any, name: Name) -> list[str]:
    """Return the links of a chain at the hook ingress or egress.

    The JSON output of nft 1.0 does not contain them; they are taken from the text output.
    """
    found = _DEVICES.search(_text(context, name))
    return re.findall(r'[^\s,"]+', found[1]) if found is not None else []


def _texts(context: Any, name: Name) -> dict[int, str]:
    """Return the rules of a chain as text, by handle."""
    lines = ((line, _HANDLE.search(line)) for line in _text(context, name).splitlines())
    return {int(found[1]): line for line, found in lines if found is not None}


def _text(context: Any, name: Name) -> str:
    """Return a chain as text with handles."""
    context.set_json_output(False)
    context.set_handle_output(True)
    try:
        _code, output, _error = context.cmd("list chain " + " ".join(name))
    finally:
        context.set_handle_output(False)
        context.set_json_output(True)
    return str(output or "")


def _targets(chain: ForeignChain) -> Iterator[str]:
    """Yield the chains to which the rules of a chain jump."""
    for text in chain.rules:
        yield from _jumps(json.loads(text))


def _jumps(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _jumps(each)
    if isinstance(value, dict):
        for kind, body in value.items():
            if kind in ("jump", "goto") and isinstance(body, dict):
                yield str(body["target"])
            else:
                yield from _jumps(body)


def _sets_of(chain: ForeignChain) -> Iterator[Name]:
    """Yield the named sets and maps that the rules of a chain use."""
    for text in chain.rules:
        for name in re.findall(r'"@([^"]+)"', text):
            yield chain.family, chain.table, name


def _set(context: Any, name: Name) -> ForeignSet | None:
    """Return a set or map, or None if it does not exist or has more than ELEMENTS_MAX elements."""
    for what in ("set", "map"):
        for entry in _ask(context, f"list {what} " + " ".join(name)):
            elements = entry.get(what, {}).get("elem", [])
            if what in entry and len(elements) <= ELEMENTS_MAX:
                return ForeignSet(*name, json.dumps(elements))
    return None


def _set_targets(found: ForeignSet) -> Iterator[Name]:
    for target in _jumps(json.loads(found.elements)):
        yield found.family, found.table, target
