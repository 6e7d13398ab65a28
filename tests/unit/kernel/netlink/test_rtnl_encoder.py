"""Every message that warpd sends is, byte for byte, what pyroute2 makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pyroute2.netlink.rtnl
import pytest
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from tests import world
from warpd.kernel.channels import LinkRequests, Requests
from warpd.kernel.netlink.rtnl_encoder import ATTRIBUTES, FAMILIES, attributes, encode
from warpd.kernel.registry import kind_of
from warpd.kernel.request import Handle, Index, Message
from warpd.kernel.state import Action, Change, KernelObject
from warpd.reconcile.incremental import planned_run
from warpd.testing.fake_kernel import FakeKernel

CLASSES = {"link": ifinfmsg, "addr": ifaddrmsg, "route": rtmsg, "rule": fibmsg}
NUMBER = 0x01020304  # stands for each index and descriptor
# Numbers and texts that an update may change, and what to.
CHANGES = {
    "mtu": 1280,
    "alias": "warpd:1:x",
    "master": "",
    "learning": True,
    "vlan_filtering": False,
}


def resolve(_value: Index | Handle) -> int:
    return NUMBER


def resolved(value: Any) -> Any:
    if isinstance(value, Index | Handle):
        return NUMBER
    if isinstance(value, dict):
        return {"attrs": [(name, resolved(inner)) for name, inner in value["attrs"]]}
    return value


def type_by_pyroute2(message: Message) -> int:
    verb = "DEL" if message.verb == "del" else "NEW"
    return int(getattr(pyroute2.netlink.rtnl, f"RTM_{verb}{message.family.upper()}"))


def by_pyroute2(message: Message) -> bytes:
    built = CLASSES[message.family]()
    for name, value in message.header:
        built[name] = resolved(value)
    built["attrs"] = [(name, resolved(value)) for name, value in message.attrs]
    built["header"]["type"] = type_by_pyroute2(message)
    built.encode()
    return bytes(built.data[16:])


def wanted(mode: str) -> list[KernelObject]:
    intent = world.intent({"pools": {"ports": "51820-51899"}}, **world.every_type(mode))
    return list(planned_run(FakeKernel(), world.target(intent)).compiled.state)


def updates(item: KernelObject) -> Iterator[KernelObject]:
    names = {field.name for field in dataclasses.fields(item)}  # type: ignore[arg-type]
    for name in names & CHANGES.keys():
        yield dataclasses.replace(item, **{name: CHANGES[name]})  # type: ignore[type-var]


def changes(item: KernelObject) -> Iterator[Change]:
    yield Change(Action.CREATE, None, item)
    yield Change(Action.DELETE, item, None)
    for other in updates(item):
        yield Change(Action.UPDATE, other, item)


def requests_of(change: Change) -> list[Message]:
    channel = kind_of(change.subject).channel
    if isinstance(channel, Requests | LinkRequests):
        return [message for message in channel.encode(change) if not message.body]
    return []


def names_in(attrs: Any) -> set[str]:
    found = set()
    for name, value in attrs:
        found.add(name)
        if isinstance(value, dict):
            found |= names_in(value["attrs"])
    return found


def messages() -> Iterator[Message]:
    for mode in ("namespace", "vrf"):
        for item in wanted(mode):
            for change in changes(item):
                yield from requests_of(change)


def test_every_message_is_as_pyroute2_makes_it() -> None:
    used: set[str] = set()
    count = 0
    for message in messages():
        kind, flags, body = encode(message, resolve)
        assert body == by_pyroute2(message) and kind == type_by_pyroute2(message), message
        assert (flags != 0) == (message.verb == "new"), message
        used |= names_in(message.attrs)
        count += 1
    assert count > 500 and used == set(ATTRIBUTES), set(ATTRIBUTES) - used


def test_what_is_unknown_is_refused() -> None:
    with pytest.raises(KeyError):
        attributes([("IFLA_NONSENSE", 1)], resolve)
    with pytest.raises(KeyError):
        FAMILIES["addr"].header([("ifi_type", 1)], resolve)
    with pytest.raises(KeyError):
        encode(Message("", "nonsense", "del", (), ()), resolve)
