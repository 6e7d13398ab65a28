"""Our nftables table `inet warpd`, one per namespace, and the elements that grant.

Ours by name. The table (sets, counters, chains, rules) is one object: it is the guard, and it changes in one
transaction. The elements of a *grant* set (who may pass) are objects of their own, added last and removed
first; those of a *fence* set (which links are guarded) are added first and removed last; those of a *static*
set (address ranges) belong to the table.

Rules are kept as JSON text in the form in which libnftables lists them, so that what is read can be compared
with what is wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, ClassVar, Literal

from warpd.objects.link import group_of
from warpd.objects.netns import room
from warpd.state import ROOT, Key, Rank

STRANGE = "strange"  # the type we give to what we never put into our table
FAMILY = "inet"
TABLE = "warpd"
Role = Literal["grant", "fence", "static"]
# The sets whose elements are objects of their own; every other set belongs to its table.
ROLES: Mapping[str, Role] = {"links": "grant", "endpoints4": "grant", "endpoints6": "grant", "doors": "fence"}


@dataclass(frozen=True, slots=True)
class NftSet:
    name: str
    type: str
    interval: bool = False
    elements: tuple[str, ...] = ()  # sorted; only those of a static set

    @property
    def role(self) -> Role:
        return ROLES.get(self.name, "static")


@dataclass(frozen=True, slots=True)
class NftChain:
    name: str
    rules: tuple[str, ...]  # canonical JSON of {"expr": [...], "comment": ...}
    hook: str | None = None  # None: a chain that others jump to
    type: str = "filter"
    priority: int = 0
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class NftTable:
    KIND: ClassVar[str] = "nft-table"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"sets", "counters", "chains"})

    netns: str
    sets: tuple[NftSet, ...]  # each tuple sorted by name
    counters: tuple[str, ...]
    chains: tuple[NftChain, ...]
    # Elements of the fence that come with the table's own transaction, so that no door stands unguarded while the
    # table is made or made anew; each is an object of its own as well.
    doors: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key(self) -> Key:
        return table_key(self.netns)

    @property
    def rank(self) -> Rank:
        return Rank.GUARD

    @property
    def needs(self) -> tuple[Key, ...]:
        return room(self.netns)

    @property
    def container(self) -> Key | None:
        return next(iter(room(self.netns)), None)

    @property
    def group(self) -> str:
        return self.netns


@dataclass(frozen=True, slots=True)
class NftElements:
    """Elements of a grant or fence set. In the root, `part` is the one network's link that they speak of."""

    KIND: ClassVar[str] = "nft-elements"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"elements"})

    netns: str
    set: str
    elements: frozenset[str]
    part: str = ""

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, f"{self.set} {self.part}".rstrip())

    @property
    def rank(self) -> Rank:
        return Rank.GUARD if ROLES[self.set] == "fence" else Rank.GRANT

    @property
    def needs(self) -> tuple[Key, ...]:
        return (table_key(self.netns),)

    @property
    def container(self) -> Key | None:
        return table_key(self.netns)

    @property
    def group(self) -> str:
        return group_of(self.netns, self.part)


def table_key(netns: str) -> Key:
    return Key(NftTable.KIND, netns, TABLE)


def fewer(before: NftElements, after: NftElements) -> NftElements:
    """Only what both sides hold: what a revocation leaves."""
    return NftElements(after.netns, after.set, before.elements & after.elements, after.part)


# -- rules, in the form in which libnftables lists them ------------------------------------------------------


def rule(comment: str, *expressions: Any) -> str:
    """One rule in canonical form: keys sorted, members of anonymous sets sorted."""
    body = {"comment": comment, "expr": _ordered(list(expressions))}
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _ordered(value: Any) -> Any:
    """The kernel keeps anonymous sets in its own order; neither spelling means anything else."""
    if isinstance(value, dict):
        return {k: sorted(v, key=str) if k == "set" and isinstance(v, list) else _ordered(v) for k, v in value.items()}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def payload(protocol: str, name: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": name}}


def count(name: str) -> dict[str, Any]:
    return {"counter": name}


def jump(chain: str) -> dict[str, Any]:
    return {"jump": {"target": chain}}


def log_limited(prefix: str) -> tuple[dict[str, Any], ...]:
    """At most six lines a minute and reason, so that a flood of drops does not flood the log."""
    return {"limit": {"rate": 6, "burst": 5, "per": "minute"}}, {"log": {"prefix": prefix}}


def members(*values: Any) -> dict[str, Any]:
    return {"set": list(values)}


ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
# listed in the order of the kernel's bits, which is how libnftables prints flags
ANSWERS = match({"ct": {"key": "state"}}, ["established", "related"], op="in")


# -- what the kernel lists, back to objects --------------------------------------------------------------------


def element(value: Any) -> str:
    """A listed set element as text: an address, a prefix, a range, a name."""
    if not isinstance(value, dict):
        return str(value)
    if "prefix" in value:
        address = value["prefix"]["addr"]
        if "." in address and ":" in address:  # an IPv4 address in IPv6 spelling: ::ffff:0.0.0.0
            address = str(ip_address(address))
        return f"{address}/{value['prefix']['len']}"
    if "range" in value:
        return "-".join(element(end) for end in value["range"])
    if "elem" in value:
        return element(value["elem"]["val"])
    return json.dumps(value, sort_keys=True)


def _set(item: Mapping[str, Any]) -> tuple[NftSet, frozenset[str]]:
    elements = frozenset(element(value) for value in item.get("elem", ()))
    kind = item["type"] if isinstance(item["type"], str) else " . ".join(item["type"])
    odd = [k for k in ("timeout", "gc-interval", "map") if k in item]
    odd += sorted(set(item.get("flags", ())) - {"interval"})
    own = ROLES.get(item["name"], "static") == "static"
    shape = NftSet(
        item["name"],
        " ".join([STRANGE, kind, *odd] if odd else [kind]),
        "interval" in item.get("flags", ()),
        tuple(sorted(elements)) if own else (),
    )
    return shape, elements


def _chain(item: Mapping[str, Any], rules: Iterable[str]) -> NftChain:
    if "hook" not in item:
        return NftChain(item["name"], tuple(rules))
    return NftChain(item["name"], tuple(rules), item["hook"], item["type"], int(item["prio"]), item["policy"])


def decode_table(
    netns: str, listing: Iterable[Mapping[str, Any]]
) -> tuple[list[NftTable | NftElements], dict[str, tuple[int, int]]]:
    """A listing of our table -> (objects, drop counts by reason as (packets, bytes))."""
    sets: list[NftSet] = []
    elements: list[NftTable | NftElements] = []
    counts: dict[str, tuple[int, int]] = {}
    chains: dict[str, Mapping[str, Any]] = {}
    rules: dict[str, list[str]] = {}
    seen = False
    for entry in listing:
        ((kind, item),) = entry.items()
        if kind == "table":
            seen = True
            sets += [NftSet(f"flag {flag}", STRANGE) for flag in item.get("flags", ())]  # dormant: a guard asleep
        if kind in ("set", "map"):
            shape, values = _set(item)
            sets.append(shape)
            elements += _elements(netns, shape, values)
        elif kind == "counter":
            counts[item["name"]] = (item["packets"], item["bytes"])
        elif kind == "chain":
            chains[item["name"]] = item
        elif kind == "rule":
            rules.setdefault(item["chain"], []).append(rule(item.get("comment", ""), *item["expr"]))
        elif kind not in ("table", "metainfo"):
            sets.append(NftSet(f"{kind} {item.get('name', '')}", STRANGE))
    if not seen:
        return [], {}
    table = NftTable(
        netns,
        tuple(sorted(sets, key=lambda s: s.name)),
        tuple(sorted(counts)),
        tuple(_chain(chains[name], rules.get(name, ())) for name in sorted(chains)),
    )
    return [table, *elements], counts


def _elements(netns: str, shape: NftSet, values: frozenset[str]) -> list[NftElements]:
    if shape.role == "static":
        return []
    if netns == ROOT:  # one object per link, so that one network's grant is not another's
        return [NftElements(netns, shape.name, frozenset({value}), value) for value in sorted(values)]
    return [NftElements(netns, shape.name, values)] if values else []


# -- changes, as libnftables commands ----------------------------------------------------------------------------


def _at(**fields: Any) -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE, **fields}


def _wire(value: str) -> Any:
    """One element in the form that libnftables reads."""
    address, slash, length = value.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}} if slash else value


def _add_set(item: NftSet) -> list[dict[str, Any]]:
    fields = _at(name=item.name, type=item.type)
    if item.interval:
        fields["flags"] = ["interval"]
    return [{"add": {"set": fields}}, *_element("add", item.name, item.elements)]


def _element(verb: str, name: str, values: Iterable[str]) -> list[dict[str, Any]]:
    wired = [_wire(value) for value in sorted(values)]
    return [{verb: {"element": _at(name=name, elem=wired)}}] if wired else []


def _add_chain(item: NftChain) -> dict[str, Any]:
    fields = _at(name=item.name)
    if item.hook:
        fields |= {"type": item.type, "hook": item.hook, "prio": item.priority, "policy": item.policy}
    return {"add": {"chain": fields}}


def _add_rules(item: NftChain) -> list[dict[str, Any]]:
    return [{"add": {"rule": _at(chain=item.name, **json.loads(text))}} for text in item.rules]


def create_table(item: NftTable) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{"add": {"table": {"family": FAMILY, "name": TABLE}}}]
    out += [{"add": {"counter": _at(name=name)}} for name in item.counters]
    for each in item.sets:
        out += _add_set(each)
    out += [_add_chain(chain) for chain in item.chains]
    for chain in item.chains:
        out += _add_rules(chain)
    return [*out, *_element("add", "doors", item.doors)]


def change_table(before: NftTable, after: NftTable) -> list[dict[str, Any]]:
    """From one table to the other within one transaction; sets, counts and grants that stay are not touched."""
    if needs_rebuild(before, after):
        return [*delete_table(before), *create_table(after)]
    chains_before = {chain.name: chain for chain in before.chains}
    chains_after = {chain.name: chain for chain in after.chains}
    changed = [c for c in after.chains if chains_before.get(c.name) != c]
    gone = [c for c in before.chains if c.name not in chains_after]
    out: list[dict[str, Any]] = []
    for chain in [*changed, *gone]:
        if chain.name in chains_before:
            out.append({"flush": {"chain": _at(name=chain.name)}})
    sets_out, sets_in = _set_changes(before, after)
    out += sets_in
    out += [{"add": {"counter": _at(name=name)}} for name in after.counters if name not in before.counters]
    out += [{"delete": {"chain": _at(name=chain.name)}} for chain in gone]
    out += [_add_chain(chain) for chain in changed]
    for chain in changed:
        out += _add_rules(chain)
    out += sets_out
    out += [{"delete": {"counter": _at(name=name)}} for name in before.counters if name not in after.counters]
    return out


def needs_rebuild(before: NftTable, after: NftTable) -> bool:
    """Whether only deleting and adding the table (in one transaction, its grants lost) makes the change.

    So it is when a set changed its type, a chain its hook, or the table holds something that we never put there.
    """
    sets_before = {item.name: item for item in before.sets}
    if any(item.type.startswith(STRANGE) for item in before.sets):
        return True
    if any(s.name in sets_before and not _same_type(sets_before[s.name], s) for s in after.sets):
        return True
    chains_before = {chain.name: chain for chain in before.chains}
    return any(c.name in chains_before and not _same_hook(chains_before[c.name], c) for c in after.chains)


def _same_hook(one: NftChain, other: NftChain) -> bool:
    return (one.hook, one.type, one.priority, one.policy) == (other.hook, other.type, other.priority, other.policy)


def _same_type(one: NftSet, other: NftSet) -> bool:
    return (one.type, one.interval) == (other.type, other.interval)


def _set_changes(before: NftTable, after: NftTable) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    old = {item.name: item for item in before.sets}
    new = {item.name: item for item in after.sets}
    removals: list[dict[str, Any]] = [{"delete": {"set": _at(name=n)}} for n in old if n not in new]
    additions: list[dict[str, Any]] = []
    for name, item in new.items():
        if name not in old:
            additions += _add_set(item)
        else:
            additions += _element("delete", name, set(old[name].elements) - set(item.elements))
            additions += _element("add", name, set(item.elements) - set(old[name].elements))
    return removals, additions


def delete_table(_item: NftTable) -> list[dict[str, Any]]:
    return [{"delete": {"table": {"family": FAMILY, "name": TABLE}}}]


def change_elements(before: NftElements | None, after: NftElements | None) -> list[dict[str, Any]]:
    old = before.elements if before else frozenset()
    new = after.elements if after else frozenset()
    name = after.set if after else before.set if before else ""
    return _element("delete", name, old - new) + _element("add", name, new - old)
