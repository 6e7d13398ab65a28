"""Our nftables table `inet warpd`, one per namespace, and the elements that grant.

Ours by name. The table (sets, counters, chains, rules) is one object: it is the guard, and it changes in one
transaction. In the root, where networks share it, each has a *part* of its own: names that end in its VCID, and
entries in the table's dispatch maps. A *gate* is a chain on the ingress of one link, which stands and falls with it.

The elements of a *grant* set (who may pass) are objects of their own, added last and removed first; those of a
*fence* set (which links are guarded) are added first and removed last; those of a *static* set (address ranges)
belong to the table or part.

Rules are kept as JSON text in the form in which libnftables lists them, so that what is read can be compared
with what is wanted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, ClassVar, Literal

from warpd.objects.link import group_of, link_key
from warpd.objects.netns import netns_name, room
from warpd.state import ROOT, Key, Rank

STRANGE = "strange"  # the type we give to what we never put into our table
FAMILY = "inet"
TABLE = "warpd"
Role = Literal["grant", "fence", "static"]
# The sets whose elements are objects of their own; every other set belongs to its table or part.
ROLES: Mapping[str, Role] = {
    "links": "grant",
    "bridges": "grant",
    "endpoints4": "grant",
    "endpoints6": "grant",
    "doors": "fence",
}
_PART = re.compile(r"(.+)-([1-9][0-9]*)")
_GATE = "gate-"


def part_of(name: str) -> int:
    """The VCID at the end of a name in the root's table; 0 for what belongs to the gateway itself."""
    match = _PART.fullmatch(name)
    return int(match[2]) if match else 0


def base_of(name: str) -> str:
    match = _PART.fullmatch(name)
    return match[1] if match else name


def role_of(name: str) -> Role:
    return ROLES.get(base_of(name), "static")


@dataclass(frozen=True, slots=True)
class NftSet:
    name: str
    type: str
    interval: bool = False
    elements: tuple[str, ...] = ()  # sorted; only those of a static set
    map: str = ""  # "verdict" for a dispatch map, whose entries belong to the parts

    @property
    def role(self) -> Role:
        return role_of(self.name)


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
class NftPart:
    """One network's part of the root's table."""

    KIND: ClassVar[str] = "nft-part"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"sets", "counters", "chains", "entries"})

    vcid: int
    sets: tuple[NftSet, ...]
    counters: tuple[str, ...]
    chains: tuple[NftChain, ...]
    entries: tuple[tuple[str, str, str], ...]  # (map, link, chain), sorted
    netns: str = ROOT

    @property
    def key(self) -> Key:
        return part_key(self.vcid)

    @property
    def rank(self) -> Rank:
        return Rank.GUARD

    @property
    def needs(self) -> tuple[Key, ...]:
        return (table_key(self.netns),)

    @property
    def container(self) -> Key | None:
        return table_key(self.netns)

    @property
    def group(self) -> str:
        return netns_name(self.vcid)


@dataclass(frozen=True, slots=True)
class NftGate:
    """What may come in by one link, judged frame by frame before anything else sees it (ingress hook)."""

    KIND: ClassVar[str] = "nft-gate"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"rules"})

    netns: str
    device: str
    rules: tuple[str, ...]

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, self.device)

    @property
    def rank(self) -> Rank:
        return Rank.SETTING

    @property
    def needs(self) -> tuple[Key, ...]:
        """The counters it names are the part's or the table's."""
        return (_home(self.netns, self.device.rpartition("-")[0]), link_key(self.netns, self.device))

    @property
    def container(self) -> Key | None:
        return link_key(self.netns, self.device)

    @property
    def group(self) -> str:
        return group_of(self.netns, self.device)


Guard = NftTable | NftPart


def part_key(vcid: int) -> Key:
    return Key(NftPart.KIND, ROOT, str(vcid))


def _home(netns: str, name: str) -> Key:
    """What owns a set or counter of this name: the table, or in the root the part whose VCID ends the name."""
    vcid = part_of(name) if netns == ROOT else 0
    return part_key(vcid) if vcid else table_key(netns)


@dataclass(frozen=True, slots=True)
class NftElements:
    """Elements of a grant or fence set. In a set that networks share, `part` is the one link that they speak of."""

    KIND: ClassVar[str] = "nft-elements"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"elements"})

    netns: str
    set: str
    elements: frozenset[str]
    part: str = ""
    owner: str = field(default="", compare=False)  # the network, where no name tells

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, f"{self.set} {self.part}".rstrip())

    @property
    def rank(self) -> Rank:
        return Rank.GUARD if role_of(self.set) == "fence" else Rank.GRANT

    @property
    def needs(self) -> tuple[Key, ...]:
        return (_home(self.netns, self.set),)

    @property
    def container(self) -> Key | None:
        return _home(self.netns, self.set)

    @property
    def group(self) -> str:
        return self.owner or group_of(self.netns, self.part or self.set)


def table_key(netns: str) -> Key:
    return Key(NftTable.KIND, netns, TABLE)


def fewer(before: NftElements, after: NftElements) -> NftElements:
    """Only what both sides hold: what a revocation leaves."""
    return NftElements(after.netns, after.set, before.elements & after.elements, after.part, after.owner)


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


def goto(chain: str) -> dict[str, Any]:
    return {"goto": {"target": chain}}


def dispatch(key: str, into: str) -> dict[str, Any]:
    """On to the chain that the map names for this link."""
    return {"vmap": {"key": meta(key), "data": f"@{into}"}}


def mangle(key: Any, value: Any) -> dict[str, Any]:
    return {"mangle": {"key": key, "value": value}}


def between(first: int, last: int) -> Any:
    """A range as nft lists it."""
    return first if first == last else {"range": [first, last]}


def renamed(text: str, names: frozenset[str], suffix: str) -> str:
    """A rule with `suffix` after each of `names`: its chains, sets and counters."""

    def walk(value: Any, under: str = "") -> Any:
        if isinstance(value, dict):
            return {key: walk(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        if isinstance(value, str) and under in ("target", "counter") and value in names:
            return value + suffix
        if isinstance(value, str) and value.startswith("@") and value[1:] in names:
            return value + suffix
        return value

    body = json.loads(text)
    return rule(body["comment"], *walk(body["expr"]))


ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
RETURN: dict[str, Any] = {"return": None}
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
    target = str(item.get("map", ""))
    elements = frozenset() if target else frozenset(element(value) for value in item.get("elem", ()))
    kind = item["type"] if isinstance(item["type"], str) else " . ".join(item["type"])
    odd = [k for k in ("timeout", "gc-interval") if k in item]
    odd += sorted(set(item.get("flags", ())) - {"interval"})
    shape = NftSet(
        item["name"],
        " ".join([STRANGE, kind, *odd] if odd else [kind]),
        "interval" in item.get("flags", ()),
        tuple(sorted(elements)) if role_of(item["name"]) == "static" else (),
        target,
    )
    return shape, elements


def _chain(item: Mapping[str, Any], rules: Iterable[str]) -> NftChain:
    if "hook" not in item:
        return NftChain(item["name"], tuple(rules))
    return NftChain(item["name"], tuple(rules), item["hook"], item["type"], int(item["prio"]), item["policy"])


@dataclass(slots=True)
class _Listing:
    """A listing of our table, sorted by what each entry is."""

    seen: bool = False
    sets: list[NftSet] = field(default_factory=list)
    elements: dict[str, frozenset[str]] = field(default_factory=dict)
    entries: list[tuple[str, str, str]] = field(default_factory=list)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)
    chains: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    rules: dict[str, list[str]] = field(default_factory=dict)

    def take(self, kind: str, item: Mapping[str, Any]) -> None:
        if kind == "table":
            self.seen = True
            self.sets += [NftSet(f"flag {flag}", STRANGE) for flag in item.get("flags", ())]  # dormant: a guard asleep
        elif kind in ("set", "map"):
            shape, values = _set(item)
            self.sets.append(shape)
            self.elements[shape.name] = values
            if shape.map:
                self.entries += [(shape.name, str(link), _target(verdict)) for link, verdict in item.get("elem", ())]
        elif kind == "counter":
            self.counts[item["name"]] = (item["packets"], item["bytes"])
        elif kind == "chain":
            self.chains[item["name"]] = item
        elif kind == "rule":
            self.rules.setdefault(item["chain"], []).append(rule(item.get("comment", ""), *item["expr"]))
        elif kind != "metainfo":
            self.sets.append(NftSet(f"{kind} {item.get('name', '')}", STRANGE))

    def chain(self, name: str) -> NftChain:
        return _chain(self.chains[name], self.rules.get(name, ()))


def _target(verdict: Any) -> str:
    return str(verdict["jump"]["target"]) if isinstance(verdict, dict) and "jump" in verdict else json.dumps(verdict)


NftObject = NftTable | NftPart | NftGate | NftElements


def decode_table(
    netns: str, listing: Iterable[Mapping[str, Any]]
) -> tuple[list[NftObject], dict[str, tuple[int, int]]]:
    """A listing of our table -> (objects, drop counts by counter as (packets, bytes))."""
    found = _Listing()
    for entry in listing:
        ((kind, item),) = entry.items()
        found.take(kind, item)
    if not found.seen:
        return [], {}
    gates = sorted(name for name, item in found.chains.items() if item.get("hook") == "ingress")
    rest = [name for name in found.chains if name not in gates]
    vcids = {0, *(_vcids(netns, [*rest, *(item.name for item in found.sets), *found.counts]))}
    vcids |= {part_of(link) for _map, link, _chain in found.entries}
    out: list[NftObject] = [_guard(netns, vcid, found, rest) for vcid in sorted(vcids)]
    out += [NftGate(netns, name.removeprefix(_GATE), found.chain(name).rules) for name in gates]
    for shape in found.sets:
        out += _elements(netns, shape, found.elements.get(shape.name, frozenset()))
    return out, found.counts


def _vcids(netns: str, names: Iterable[str]) -> set[int]:
    return {part_of(name) for name in names} if netns == ROOT else set()


def _guard(netns: str, vcid: int, found: _Listing, chains: Iterable[str]) -> Guard:
    def own(name: str) -> bool:
        return netns != ROOT or part_of(name) == vcid

    sets = tuple(sorted((item for item in found.sets if own(item.name)), key=lambda item: item.name))
    counters = tuple(sorted(name for name in found.counts if own(name)))
    built = tuple(found.chain(name) for name in sorted(chains) if own(name))
    entries = tuple(sorted(entry for entry in found.entries if part_of(entry[1]) == vcid))
    if not vcid:  # an entry for a link that is no network's was never put there by us
        odd = tuple(NftSet(f"entry {' '.join(entry)}", STRANGE) for entry in entries)
        return NftTable(netns, (*sets, *odd), counters, built)
    return NftPart(vcid, sets, counters, built, entries)


def _elements(netns: str, shape: NftSet, values: frozenset[str]) -> list[NftElements]:
    if shape.role == "static":
        return []
    if netns == ROOT and not part_of(shape.name):  # one object per link, so that one network's grant is not another's
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
    if item.map:
        return [{"add": {"map": {**fields, "map": item.map}}}]
    return [{"add": {"set": fields}}, *_element("add", item.name, item.elements)]


def _add_entries(entries: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    return [{"add": {"element": _at(name=name, elem=[[link, jump(chain)]])}} for name, link, chain in entries]


def _delete_entries(entries: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """By their key alone: whatever verdict somebody put there."""
    return [{"delete": {"element": _at(name=name, elem=[link])}} for name, link, _chain in entries]


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
    return [*out, *_content(item), *_element("add", "doors", item.doors)]


def create_part(item: NftPart) -> list[dict[str, Any]]:
    return [*_content(item), *_add_entries(item.entries)]


def _content(item: Guard) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{"add": {"counter": _at(name=name)}} for name in item.counters]
    for each in item.sets:
        out += _add_set(each)
    out += [_add_chain(chain) for chain in item.chains]
    for chain in item.chains:
        out += _add_rules(chain)
    return out


def change_table(before: NftTable, after: NftTable) -> list[dict[str, Any]]:
    """From one table to the other within one transaction; sets, counts and grants that stay are not touched."""
    if needs_rebuild(before, after):
        return [*delete_table(before), *create_table(after)]
    return _changes(before, after)


def change_part(before: NftPart, after: NftPart) -> list[dict[str, Any]]:
    if needs_rebuild(before, after):
        return [*delete_part(before), *create_part(after)]
    gone = [entry for entry in before.entries if entry not in after.entries]
    new = [entry for entry in after.entries if entry not in before.entries]
    return [*_delete_entries(gone), *_changes(before, after), *_add_entries(new)]


def _changes(before: Guard, after: Guard) -> list[dict[str, Any]]:
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


def needs_rebuild(before: Guard, after: Guard) -> bool:
    """Whether only deleting and adding it all (in one transaction, its grants lost) makes the change.

    So it is when a set changed its type, a chain its hook, or it holds something that we never put there.
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
    return (one.type, one.interval, one.map) == (other.type, other.interval, other.map)


def _set_changes(before: Guard, after: Guard) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    old = {item.name: item for item in before.sets}
    new = {item.name: item for item in after.sets}
    removals = [_delete_set(item) for name, item in old.items() if name not in new]
    additions: list[dict[str, Any]] = []
    for name, item in new.items():
        if name not in old:
            additions += _add_set(item)
        else:
            additions += _element("delete", name, set(old[name].elements) - set(item.elements))
            additions += _element("add", name, set(item.elements) - set(old[name].elements))
    return removals, additions


def _delete_set(item: NftSet) -> dict[str, Any]:
    return {"delete": {"map" if item.map else "set": _at(name=item.name)}}


def delete_table(_item: NftTable) -> list[dict[str, Any]]:
    return [{"delete": {"table": {"family": FAMILY, "name": TABLE}}}]


def delete_part(item: NftPart) -> list[dict[str, Any]]:
    out = _delete_entries(item.entries)
    out += [{"flush": {"chain": _at(name=chain.name)}} for chain in item.chains]
    out += [{"delete": {"chain": _at(name=chain.name)}} for chain in item.chains]
    out += [_delete_set(each) for each in item.sets]
    return [*out, *({"delete": {"counter": _at(name=name)}} for name in item.counters)]


def write_gate(item: NftGate) -> list[dict[str, Any]]:
    """Made anew whatever was there: a chain whose link went away may still stand, and hold nothing (Linux 6.13 on)."""
    name = f"{_GATE}{item.device}"
    chain = _at(name=name, type="filter", hook="ingress", dev=item.device, prio=0, policy="accept")
    return [*delete_gate(item), {"add": {"chain": chain}}, *_add_rules(NftChain(name, item.rules))]


def delete_gate(item: NftGate) -> list[dict[str, Any]]:
    """Added first, so that it is also right where the kernel was quicker."""
    name = _at(name=f"{_GATE}{item.device}")
    return [{verb: {"chain": name}} for verb in ("add", "flush", "delete")]


def change_elements(before: NftElements | None, after: NftElements | None) -> list[dict[str, Any]]:
    old = before.elements if before else frozenset()
    new = after.elements if after else frozenset()
    name = after.set if after else before.set if before else ""
    return _element("delete", name, old - new) + _element("add", name, new - old)
