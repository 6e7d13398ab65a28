"""Changes to our table as commands of libnftables: lists to be run in one transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from warpd.kernel.kinds.nft_table import (
    FAMILY,
    GATE,
    JOINT,
    TABLE,
    Guard,
    IngressFilter,
    NetworkSubtable,
    NftChain,
    NftElements,
    NftSet,
    NftTable,
    needs_rebuild,
)
from warpd.kernel.nftables.rules import jump
from warpd.kernel.state import Action, Change

_CLASS = re.compile(r"[0-9a-f]+:[0-9a-f]+")  # an IPv6 address has two colons at least


def _at(**fields: Any) -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE, **fields}


def _wire(value: str) -> Any:
    """One element in the form that libnftables reads."""
    key, colon, target = value.partition(" : ")
    if colon:
        return [_wire(key), _wire(target)]
    if value.startswith("jump "):
        return jump(value.removeprefix("jump "))
    if JOINT in value:
        return {"concat": [_field(part) for part in value.split(JOINT)]}
    address, slash, length = value.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}} if slash else value


def _field(part: str) -> Any:
    """One part of an element that is made of several.

    A traffic class is written as a range of one: nftables 1.0.6 brings the bytes of a number that
    the kernel keeps in its own order into the order of the network when an element of an interval
    set is added, and when it is deleted only where some part is a range. Without one, the kernel
    finds no such element (ENOENT).
    """
    return {"range": [part, part]} if _CLASS.fullmatch(part) else _wire(part)


def _add_set(item: NftSet) -> list[dict[str, Any]]:
    fields = _at(name=item.name, type=item.type.split(JOINT) if JOINT in item.type else item.type)
    if item.interval:
        fields["flags"] = ["interval"]
    if item.timeout:
        fields |= {"flags": ["timeout"], "timeout": item.timeout, "size": item.size}
    if item.map:
        return [{"add": {"map": {**fields, "map": item.map}}}]
    return [{"add": {"set": fields}}, *_element("add", item.name, item.elements)]


def _add_entries(entries: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    return [
        {"add": {"element": _at(name=name, elem=[[link, jump(chain)]])}}
        for name, link, chain in entries
    ]


def _delete_entries(entries: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """By their key alone, whatever verdict another program put there."""
    return [{"delete": {"element": _at(name=name, elem=[link])}} for name, link, _chain in entries]


def _element(verb: str, name: str, values: Iterable[str]) -> list[dict[str, Any]]:
    wired = [_wire(value) for value in sorted(values)]
    return [{verb: {"element": _at(name=name, elem=wired)}}] if wired else []


def _chain(verb: str, item: NftChain) -> dict[str, Any]:
    fields = _at(name=item.name)
    if item.hook:
        fields |= {
            "type": item.type,
            "hook": item.hook,
            "prio": item.priority,
            "policy": item.policy,
        }
    return {verb: {"chain": fields}}


def _add_rules(item: NftChain) -> list[dict[str, Any]]:
    return [{"add": {"rule": _at(chain=item.name, **json.loads(text))}} for text in item.rules]


def encode_table(change: Change) -> list[dict[str, Any]]:
    """The commands that make, change or remove the table of a namespace."""
    if change.action is Action.DELETE:
        return delete_table(change.before)
    if change.before is None:
        return create_table(change.after)
    return change_table(change.before, change.after)


def encode_subtable(change: Change) -> list[dict[str, Any]]:
    """The commands that make, change or remove one network's part of the root's table."""
    if change.action is Action.DELETE:
        return _delete_part(change.before)
    if change.before is None:
        return _create_part(change.after)
    return _change_part(change.before, change.after)


def encode_ingress_filter(change: Change) -> list[dict[str, Any]]:
    """The commands that write or remove the chain at the ingress of a link."""
    if change.action is Action.DELETE:
        return _delete_ingress_filter(change.before)
    return _write_ingress_filter(change.after)


def encode_elements(change: Change) -> list[dict[str, Any]]:
    """The commands that remove and add elements of a set or map, element by element."""
    before: NftElements | None = change.before
    after: NftElements | None = change.after
    previous = before.elements if before else frozenset()
    wanted = after.elements if after else frozenset()
    name = after.set if after else change.before.set
    return _element("delete", name, previous - wanted) + _element("add", name, wanted - previous)


def create_table(item: NftTable) -> list[dict[str, Any]]:
    """The commands that make a table with all its content, and the guarded links."""
    out: list[dict[str, Any]] = [{"add": {"table": {"family": FAMILY, "name": TABLE}}}]
    return [*out, *_content(item), *_element("add", "guarded_ifaces", item.guarded_ifaces)]


def _create_part(item: NetworkSubtable) -> list[dict[str, Any]]:
    return [*_content(item), *_add_entries(item.entries)]


def _content(item: Guard) -> list[dict[str, Any]]:
    """The commands that create everything.

    `create` is refused if a chain is there: new rules would be appended to its own.
    """
    out = _counters("add", item.counters)
    for each in item.sets:
        out += _add_set(each)
    out += [_chain("create", chain) for chain in sorted(item.chains, key=_is_last)]
    for chain in item.chains:
        out += _add_rules(chain)
    return out


def _is_last(chain: NftChain) -> bool:
    """Whether a chain is created last: `forward`, which judges what is routed.

    The kernel unregisters a table's chains one by one, in the order in which they were created
    (nft_flush_table() and nf_tables_commit() in net/netfilter/nf_tables_api.c). So packets that
    were marked before the table went still meet this chain.
    """
    return chain.hook == "forward"


def change_table(before: NftTable, after: NftTable) -> list[dict[str, Any]]:
    """From one table to the other in one transaction.

    Sets, counters and permits that stay are not touched.
    """
    if needs_rebuild(before, after):
        return [*delete_table(before), *create_table(after)]
    return _changes(before, after)


def _change_part(before: NetworkSubtable, after: NetworkSubtable) -> list[dict[str, Any]]:
    if needs_rebuild(before, after):
        return [*_delete_part(before), *_create_part(after)]
    gone = [entry for entry in before.entries if entry not in after.entries]
    new = [entry for entry in after.entries if entry not in before.entries]
    return [*_delete_entries(gone), *_changes(before, after), *_add_entries(new)]


def _changes(before: Guard, after: Guard) -> list[dict[str, Any]]:
    """In the order that references allow: what is named is made before and goes after."""
    changed, gone = _chain_changes(before, after)
    present = {chain.name for chain in before.chains}
    emptied = [chain for chain in (*changed, *gone) if chain.name in present]
    sets_out, sets_in = _set_changes(before, after)
    counters_in = [name for name in after.counters if name not in before.counters]
    counters_out = [name for name in before.counters if name not in after.counters]
    out = [{"flush": {"chain": _at(name=chain.name)}} for chain in emptied]
    out += sets_in
    out += _counters("add", counters_in)
    out += [{"delete": {"chain": _at(name=chain.name)}} for chain in gone]
    out += [_chain("add", chain) for chain in changed]
    for chain in changed:
        out += _add_rules(chain)
    out += sets_out
    out += _counters("delete", counters_out)
    return out


def _chain_changes(before: Guard, after: Guard) -> tuple[list[NftChain], list[NftChain]]:
    """Chains to write, new or changed, and chains to delete."""
    previous = {chain.name: chain for chain in before.chains}
    kept = {chain.name for chain in after.chains}
    changed = [chain for chain in after.chains if previous.get(chain.name) != chain]
    gone = [chain for chain in before.chains if chain.name not in kept]
    return changed, gone


def _counters(verb: str, names: Iterable[str]) -> list[dict[str, Any]]:
    return [{verb: {"counter": _at(name=name)}} for name in names]


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
    """The command that removes a table."""
    return [{"delete": {"table": {"family": FAMILY, "name": TABLE}}}]


def _delete_part(item: NetworkSubtable) -> list[dict[str, Any]]:
    out = _delete_entries(item.entries)
    out += [{"flush": {"chain": _at(name=chain.name)}} for chain in item.chains]
    out += [{"delete": {"chain": _at(name=chain.name)}} for chain in item.chains]
    out += [_delete_set(each) for each in item.sets]
    return [*out, *_counters("delete", item.counters)]


def _write_ingress_filter(item: IngressFilter) -> list[dict[str, Any]]:
    """Written anew whatever was there: Linux 6.13 and later keep the chain of a link that is gone,
    hooked to nothing.
    """
    name = f"{GATE}{item.device}"
    chain = _at(name=name, type="filter", hook="ingress", dev=item.device, prio=0, policy="accept")
    return [
        *_delete_ingress_filter(item),
        {"add": {"chain": chain}},
        *_add_rules(NftChain(name, item.rules)),
    ]


def _delete_ingress_filter(item: IngressFilter) -> list[dict[str, Any]]:
    """Added first, so that it is also right where the kernel was quicker."""
    name = _at(name=f"{GATE}{item.device}")
    return [{verb: {"chain": name}} for verb in ("add", "flush", "delete")]
