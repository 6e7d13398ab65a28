"""Make of two intents the widest one that permits nothing but what both of them permit. Pure.

While the state folder cannot be written to, the kernel may be brought to this intent: what the new
intent removes is gone, and what it adds is not there. A value that names an allocation stays as in
the previous intent, so that the previous allocations are valid for the result.

This module contains one rule for each field of the YAML. `service.commitment` decides when it is
used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Final, TypeVar

from warpd.intent.model import Endpoint, Intent, Network, Resource
from warpd.intent.types import IPNetwork, Range

Rule = Callable[[Any, Any], Any]
Model = TypeVar("Model", Network, Endpoint)
T = TypeVar("T")

# Endpoints that are known from the kernel only have names that begin with this character. No name
# in a YAML can, so that no YAML removes them.
UNNAMED: Final = "?"

# The rule of a field that names an allocation, or permits nothing by itself: it stays as it was.
KEPT: Final[Rule] = lambda previous, _wanted: previous  # noqa: E731  # one rule among others


def restrict(previous: Intent, wanted: Intent) -> Intent:
    """Return the networks and endpoints of `previous` as far as `wanted` permits them too.

    They have their names in `previous`, also where `wanted` renames them. A network of another type
    is disabled, and an endpoint with other keys is left out: the previous one is no longer wanted,
    and the new one cannot be added.
    """
    networks: dict[str, Network] = {}
    for name, former in _paired(previous.networks, wanted.networks).items():
        before, after = previous.networks[former], wanted.networks[name]
        networks[former] = _network(before, after, _dns(previous, before), _dns(wanted, after))
    return previous.model_copy(update={"networks": networks})


def different(wanted: Intent, permitted: Intent) -> frozenset[str]:
    """Return the networks of `wanted` that are not the same in `permitted`."""
    has = permitted.networks
    return frozenset(name for name, network in wanted.networks.items() if has.get(name) != network)


def _paired(previous: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return name in `wanted` -> name in `previous`, for everything that is in both."""
    pairs = {name: name for name in sorted(wanted) if name in previous}
    for name in sorted(wanted.keys() - previous.keys()):
        former = wanted[name].renamed_from
        if former in previous and former not in wanted:
            pairs[name] = former
    return pairs


def _dns(intent: Intent, network: Network) -> tuple[Any, ...]:
    return network.dns if network.dns is not None else intent.gateway.dns


def _network(
    previous: Network,
    wanted: Network,
    previous_dns: tuple[Any, ...],
    wanted_dns: tuple[Any, ...],
) -> Network:
    """Restrict one network; its name servers are given apart, since the gateway may set them."""
    changed = _restricted(NETWORK, previous, wanted)
    if previous_dns != wanted_dns:
        changed["dns"] = tuple(server for server in previous_dns if server in wanted_dns)
    if previous.type != wanted.type or _without_vlans(previous, wanted):
        changed["enabled"] = False
    endpoints = changed.get("endpoints", previous.endpoints)
    changed["resources"] = _reachable(changed.get("resources", previous.resources), endpoints)
    return _copied(previous, changed)


def _endpoint(previous: Endpoint, wanted: Endpoint) -> Endpoint | None:
    """Restrict one endpoint; None where its device has to have other keys from now on."""
    if any(getattr(previous, name) != getattr(wanted, name) for name in IDENTITY):
        return None
    return _copied(previous, _restricted(ENDPOINT, previous, wanted))


def _restricted(rules: Mapping[str, Rule], previous: Any, wanted: Any) -> dict[str, Any]:
    """Return the new values of the fields that differ."""
    changed = {}
    for name, rule in rules.items():
        before, after = getattr(previous, name), getattr(wanted, name)
        if before != after:
            changed[name] = rule(before, after)
    return changed


def _copied(previous: Model, changed: Mapping[str, Any]) -> Model:
    """Return a copy with other values, or the object itself where nothing changes.

    `model_copy` is not used: it also copies the cached properties of the previous values.
    """
    real = {name: value for name, value in changed.items() if value != getattr(previous, name)}
    if not real:
        return previous
    fields = {name: getattr(previous, name) for name in type(previous).model_fields}
    return type(previous).model_construct(**{**fields, **real})


def _both(previous: bool, wanted: bool) -> bool:
    return previous and wanted


def _mesh(previous: bool | None, wanted: bool | None) -> bool | None:
    """Restrict `peer_communication`, which is None where the YAML does not give it."""
    if wanted or previous is None:
        return previous
    return False


def _earlier(previous: date | None, wanted: date | None) -> date | None:
    days = [day for day in (previous, wanted) if day is not None]
    return min(days) if days else None


def _endpoints(
    previous: Mapping[str, Endpoint], wanted: Mapping[str, Endpoint]
) -> dict[str, Endpoint]:
    out = {name: endpoint for name, endpoint in previous.items() if name.startswith(UNNAMED)}
    for name, former in _paired(previous, wanted).items():
        both = _endpoint(previous[former], wanted[name])
        if both is not None:
            out[former] = both
    return dict(sorted(out.items()))


def _ranges(previous: Iterable[IPNetwork], wanted: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """Return the narrower one of two ranges wherever one contains the other."""
    return tuple(_narrower(tuple(previous), tuple(wanted), _holds))


def _listed(previous: Iterable[int], wanted: Iterable[int]) -> tuple[int, ...]:
    permitted = frozenset(wanted)
    return tuple(number for number in previous if number in permitted)


def _resources(previous: Iterable[Resource], wanted: Iterable[Resource]) -> tuple[Resource, ...]:
    return tuple(_narrower(tuple(previous), tuple(wanted), _covers))


def _narrower(
    previous: tuple[T, ...], wanted: tuple[T, ...], holds: Callable[[T, T], bool]
) -> list[T]:
    kept = [item for item in previous if any(holds(other, item) for other in wanted)]
    more = [
        item
        for item in wanted
        if item not in kept and any(holds(other, item) for other in previous)
    ]
    return kept + [item for item in more if not any(holds(other, item) for other in kept)]


def _holds(wide: IPNetwork, narrow: IPNetwork) -> bool:
    return wide.version == narrow.version and narrow.subnet_of(wide)  # type: ignore[arg-type]  # of one version


def _covers(wide: Resource, narrow: Resource) -> bool:
    if wide.via != narrow.via or not _holds(wide.subnet, narrow.subnet):
        return False
    if wide.protocol is None:
        return True
    return wide.protocol == narrow.protocol and _in_ports(wide.ports, narrow.ports)


def _in_ports(wide: tuple[Range, ...] | None, narrow: tuple[Range, ...] | None) -> bool:
    if wide is None or narrow is None:
        return wide is None
    return all(_lies_in_one(ports, wide) for ports in narrow)


def _lies_in_one(ports: Range, wide: Iterable[Range]) -> bool:
    return any(other.first <= ports.first and ports.last <= other.last for other in wide)


def _reachable(
    resources: Iterable[Resource], endpoints: Mapping[str, Endpoint]
) -> tuple[Resource, ...]:
    """Leave out resources behind an endpoint that has no such route any more."""
    return tuple(
        item for item in resources if item.via is None or _behind(item, endpoints.get(item.via))
    )


def _behind(resource: Resource, endpoint: Endpoint | None) -> bool:
    return endpoint is not None and any(_holds(route, resource.subnet) for route in endpoint.routes)


def _vlans(previous: Range | None, wanted: Range | None) -> Range | None:
    """Restrict `vlan_range`, in which None permits every VLAN.

    Where the ranges have nothing in common the previous one stays; `_network` disables the network.
    """
    if previous is None or wanted is None:
        return previous or wanted
    first, last = max(previous.first, wanted.first), min(previous.last, wanted.last)
    return Range(first, last) if first <= last else previous


def _without_vlans(previous: Network, wanted: Network) -> bool:
    """Whether no tagged VLAN is permitted by both."""
    if previous.vlan_range is None or wanted.vlan_range is None:
        return False
    return not previous.vlan_range.overlaps(wanted.vlan_range)


# Fields of a device's identity: where one differs, it is another device.
IDENTITY: Final = ("public_key", "preshared_key", "preshared_key_file", "rotation")

ENDPOINT: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(
        (
            "type",
            "description",
            "address",
            "address6",
            "endpoint",
            "keepalive",
            "limits",
            "renamed_from",
        ),
        KEPT,
    ),
    **dict.fromkeys(IDENTITY, KEPT),  # equal here
    "enabled": _both,
    "routes": _ranges,
    "expires": _earlier,
}

NETWORK: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(
        (
            "description",
            "isolation",
            "expected_users",
            "vcid",
            "subnet",
            "subnet6",
            "gateway_address",
        ),
        KEPT,
    ),
    **dict.fromkeys(
        (
            "nat",
            "nat6",
            "port",
            "private_key_file",
            "rotation",
            "renamed_from",
            "routing_table",
            "mtu",
        ),
        KEPT,
    ),
    **dict.fromkeys(("limits", "vlan_id", "bridge_name", "vni_pool"), KEPT),
    "type": KEPT,  # where it differs, the network is off
    "dns": KEPT,  # with what the gateway says, as one
    "enabled": _both,
    "ipv6": _both,
    "allow_private": _ranges,
    "protocols": _listed,
    "peer_communication": _mesh,
    "resources": _resources,
    "vlan_range": _vlans,
    "endpoints": _endpoints,
}
