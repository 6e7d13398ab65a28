"""A listing of our table by libnftables -> objects.

What warpd never puts there becomes an object of the type `STRANGE`, so that it differs from
everything that is wanted and is repaired.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from warpd.kernel.kinds.nft_table import (
    GATE,
    JOINT,
    STRANGE,
    Guard,
    IngressFilter,
    NetworkSubtable,
    NftChain,
    NftElements,
    NftSet,
    NftTable,
    key_of,
    part_of,
    role_of,
)
from warpd.kernel.nftables.rules import match, payload, plain_gre, rule
from warpd.kernel.state import ROOT

# The flag of a set that rules add to. nft 1.1.3 of Debian 13 lists it for those with a time-out;
# 1.0.6 of Debian 12 does not.
DYNAMIC: Final = "dynamic"
# How nft 1.1.3 lists `plain_gre`: the first five bits, and the 27 after them.
_NO_GRE_FLAGS: Final = match(payload("gre", "flags"), 0)
_REST_OF_GRE: Final = {"payload": {"base": "th", "offset": 5, "len": 27}}


def element(value: Any) -> str:
    """A listed set element as text: an address, a prefix, a range, a name, or an entry of a map.

    What is none of these stays JSON.
    """
    if isinstance(value, list):
        return " : ".join(element(part) for part in value)
    if not isinstance(value, dict):
        return str(value)
    kind, inner = next(iter(value.items()), ("", None))
    if len(value) != 1 or kind not in _ELEMENTS:
        return json.dumps(value, sort_keys=True)
    return _ELEMENTS[kind](inner)


def _prefix(inner: Mapping[str, Any]) -> str:
    address = inner["addr"]
    if "." in address and ":" in address:  # an IPv4 address in IPv6 spelling: ::ffff:0.0.0.0
        address = str(ip_address(address))
    return f"{address}/{inner['len']}"


def _range(inner: Iterable[Any]) -> str:
    return "-".join(element(end) for end in inner)


def _concatenation(inner: Iterable[Any]) -> str:
    return JOINT.join(element(part) for part in inner)


_ELEMENTS: Mapping[str, Callable[[Any], str]] = {
    "jump": lambda inner: f"jump {inner['target']}",
    "prefix": _prefix,
    "range": _range,
    "concat": _concatenation,
    "elem": lambda inner: element(inner["val"]),
}


def _set(item: Mapping[str, Any]) -> tuple[NftSet, frozenset[str]]:
    target = str(item.get("map", ""))
    dispatch = target and role_of(item["name"]) == "static"
    elements = (
        frozenset() if dispatch else frozenset(element(value) for value in item.get("elem", ()))
    )
    kind = item["type"] if isinstance(item["type"], str) else JOINT.join(item["type"])
    odd = [k for k in ("gc-interval",) if k in item]
    odd += sorted(set(item.get("flags", ())) - {"interval", "timeout", DYNAMIC})
    timeout = int(item.get("timeout", 0))
    shape = NftSet(
        item["name"],
        " ".join([STRANGE, kind, *odd] if odd else [kind]),
        "interval" in item.get("flags", ()),
        tuple(sorted(elements)) if role_of(item["name"]) == "static" else (),
        target,
        timeout,
        int(item.get("size", 0)) if timeout else 0,
    )
    return shape, elements


def _chain(item: Mapping[str, Any], rules: Iterable[str]) -> NftChain:
    if "hook" not in item:
        return NftChain(item["name"], tuple(rules))
    return NftChain(
        item["name"], tuple(rules), item["hook"], item["type"], int(item["prio"]), item["policy"]
    )


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
    meters: dict[str, int] = field(
        default_factory=dict
    )  # nftables 1.1.2 and later list a rule's meter as a set, with a size

    def take(self, kind: str, item: Mapping[str, Any]) -> None:
        """Sort in one entry of the listing; what is of no kind of ours is strange."""
        match kind:
            case "table":
                self.seen = True
                # a dormant table filters nothing
                self.sets += [NftSet(f"flag {flag}", STRANGE) for flag in item.get("flags", ())]
            case "set" | "map":
                self._take_set(item)
            case "counter":
                self.counts[item["name"]] = (item["packets"], item["bytes"])
            case "chain":
                self.chains[item["name"]] = item
            case "rule":
                expressions = (self._metered(each) for each in _as_before(item["expr"]))
                text = rule(item.get("comment", ""), *expressions)
                self.rules.setdefault(item["chain"], []).append(text)
            case "metainfo":
                pass
            case _:
                self.sets.append(NftSet(f"{kind} {item.get('name', '')}", STRANGE))

    def _take_set(self, item: Mapping[str, Any]) -> None:
        """A set or map; one that packets fill without a time-out is a rule's meter."""
        flags = item.get("flags", ())
        if DYNAMIC in flags and "timeout" not in flags:
            self.meters[item["name"]] = int(item.get("size", 0))
            return
        shape, values = _set(item)
        self.sets.append(shape)
        self.elements[shape.name] = values
        if shape.map and shape.role == "static":
            found = ((link, _target(verdict)) for link, verdict in item.get("elem", ()))
            self.entries += [(shape.name, str(link), target) for link, target in found]

    def _metered(self, expression: Mapping[str, Any]) -> Mapping[str, Any]:
        """A meter, however this nftables lists it. Sets are listed before rules."""
        body = expression.get("set")
        if (
            body is None
            or len(body.get("stmt", ())) != 1
            or body["set"].removeprefix("@") not in self.meters
        ):
            return expression
        name = body["set"].removeprefix("@")
        return {
            "meter": {
                "key": body["elem"],
                "name": name,
                "size": self.meters[name],
                "stmt": body["stmt"][0],
            }
        }

    def chain(self, name: str) -> NftChain:
        return _chain(self.chains[name], self.rules.get(name, ()))


def _as_before(expressions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What nft lists for a rule, as nft 1.0.6 of Debian 12 does.

    nft 1.1.3 of Debian 13 knows fields of GRE, and lists `plain_gre` by them.
    """
    out = list(expressions)
    for place, flags in enumerate(out[:-1]):
        if flags == _NO_GRE_FLAGS and _is_rest_of_gre(out[place + 1]):
            out[place : place + 2] = plain_gre(out[place + 1]["match"]["right"])
    return out


def _is_rest_of_gre(expression: Mapping[str, Any]) -> bool:
    body = expression.get("match", {})
    return bool(body.get("left") == _REST_OF_GRE and body.get("op") == "==")


def _target(verdict: Any) -> str:
    return (
        str(verdict["jump"]["target"])
        if isinstance(verdict, dict) and "jump" in verdict
        else json.dumps(verdict)
    )


NftObject = NftTable | NetworkSubtable | IngressFilter | NftElements


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
    out += [
        IngressFilter(netns, name.removeprefix(GATE), found.chain(name).rules) for name in gates
    ]
    for shape in found.sets:
        out += _elements(netns, shape, found.elements.get(shape.name, frozenset()))
    return out, found.counts


def _vcids(netns: str, names: Iterable[str]) -> set[int]:
    return {part_of(name) for name in names} if netns == ROOT else set()


def _guard(netns: str, vcid: int, found: _Listing, chains: Iterable[str]) -> Guard:
    def own(name: str) -> bool:
        return netns != ROOT or part_of(name) == vcid

    sets = tuple(
        sorted((item for item in found.sets if own(item.name)), key=lambda item: item.name)
    )
    counters = tuple(sorted(name for name in found.counts if own(name)))
    built = tuple(found.chain(name) for name in sorted(chains) if own(name))
    entries = tuple(sorted(entry for entry in found.entries if part_of(entry[1]) == vcid))
    if not vcid:  # an entry for a link that is no network's was never put there by us
        odd = tuple(NftSet(f"entry {' '.join(entry)}", STRANGE) for entry in entries)
        return NftTable(netns, (*sets, *odd), counters, built)
    return NetworkSubtable(vcid, sets, counters, built, entries)


def _elements(netns: str, shape: NftSet, values: frozenset[str]) -> list[NftElements]:
    if shape.role in ("static", "learned"):
        return []
    if netns == ROOT and not part_of(
        shape.name
    ):  # one object per link, so that one network's permit is not another's
        return [
            NftElements(netns, shape.name, frozenset({value}), key_of(value))
            for value in sorted(values)
        ]
    return [NftElements(netns, shape.name, values)] if values else []
