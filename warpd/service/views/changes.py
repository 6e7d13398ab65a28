"""Say in an operator's words what an edit of the intent changes. Pure.

Two networks, two gateways or two allocations are compared field by field. `overview` does the same
for the steps of a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from warpd.allocation.model import NetworkAllocation
from warpd.intent.model import Gateway, Network, Resource

# Fields that are compared elsewhere (endpoints, allocations), or have no effect on traffic.
_NOT_COMPARED: Final = frozenset(
    {
        "endpoints",
        "description",
        "renamed_from",
        "vcid",
        "port",
        "subnet",
        "subnet6",
        "routing_table",
    }
)
_LISTS: Final = frozenset({"resources", "allow_private", "dns"})
_ALLOCATED: Final = (
    "vcid",
    "port",
    "routing_table",
    "subnet",
    "subnet6",
    "gateway_address",
    "gateway_address6",
    "vlan",
)
_GATEWAY_FIELDS: Final = (
    "uplink",
    "isolation",
    "wireguard",
    "rotation",
    "vlan_scope",
    "master_key_file",
)
_SECRET_SOURCES: Final = frozenset({"private_key_file", "master_key_file"})


def network_changes(before: Network, after: Network) -> tuple[str, ...]:
    """Return one text for each field in which two versions of a network differ.

    An example is `resources +172.21.0.0/16 tcp/443`.
    """
    names = (name for name in Network.model_fields if name not in _NOT_COMPARED)
    return tuple(_field_changes(before, after, names))


def gateway_changes(before: Gateway, after: Gateway) -> tuple[str, ...]:
    """Return the same for those fields of `gateway:` that have an effect of their own."""
    return tuple(_field_changes(before, after, _GATEWAY_FIELDS))


def allocation_changes(before: NetworkAllocation, after: NetworkAllocation) -> tuple[str, ...]:
    """Return one text for each allocated value of a network that has changed."""
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in _ALLOCATED)
    return tuple(f"{name} {was} -> {now}" for name, was, now in pairs if was != now)


def list_changes(before: Iterable[str], after: Iterable[str]) -> str:
    """Return what a list gains and loses, such as `+a -b`; "" for nothing."""
    was, now = list(before), list(after)
    gained = [f"+{item}" for item in now if item not in set(was)]
    lost = [f"-{item}" for item in was if item not in set(now)]
    return " ".join([*gained, *lost])


def resource_text(resource: Resource) -> str:
    """Return a resource as text, such as `172.21.0.0/16 tcp/443,8000-8100 via hq`."""
    text = str(resource.subnet)
    if resource.protocol is not None:
        text += f" {resource.protocol}"
    if resource.ports is not None:
        text += "/" + ",".join(str(ports) for ports in resource.ports)
    return text if resource.via is None else f"{text} via {resource.via}"


def _field_changes(before: Any, after: Any, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        was, now = getattr(before, name), getattr(after, name)
        if was == now:
            continue
        if name in _LISTS:
            yield f"{name} {list_changes(_texts(was), _texts(now)) or 'in another order'}"
        elif name in _SECRET_SOURCES:
            yield f"{name} is another"
        else:
            yield f"{name} {_value(was)} -> {_value(now)}"


def _texts(items: Iterable[Any] | None) -> list[str]:
    return [
        resource_text(item) if isinstance(item, Resource) else str(item) for item in items or ()
    ]


def _value(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
