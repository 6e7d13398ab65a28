"""Two intents -> the most that both of them permit. Pure.

It is what the kernel may be brought to while the state folder takes no writes: everything that the
new intent takes away is gone, and nothing that it adds is there. Every value that names an
allocation stays as the previous intent has it, so that the previous allocations hold for the
result.

Lives here: one rule for each field of the YAML. Does not: why nothing can be written
(`commitment`).
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

# Names of endpoints that only the kernel knows begin so; no YAML can say them, and so none takes
# them away.
UNNAMED: Final = "?"

# A field with this rule names an allocation, or permits nothing by itself: it stays as it was.
KEPT: Final[Rule] = lambda previous, _wanted: previous  # noqa: E731  # one rule among others


def restrict(previous: Intent, wanted: Intent) -> Intent:
    """The networks and endpoints of `previous`, by their names there, as far as `wanted` permits
    them too.

    What `wanted` has renamed keeps its previous name. A network or endpoint whose identity differs
    (its type, its keys) is left out or disabled: its old self is taken away, its new self is not
    given.
    """
    networks: dict[str, Network] = {}
    for name, former in _paired(previous.networks, wanted.networks).items():
        has, gets = previous.networks[former], wanted.networks[name]
        networks[former] = _network(has, gets, _dns(previous, has), _dns(wanted, gets))
    return previous.model_copy(update={"networks": networks})


def _paired(previous: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Name in `wanted` -> name in `previous`, for everything that is in both."""
    pairs = {name: name for name in sorted(wanted) if name in previous}
    for name in sorted(wanted.keys() - previous.keys()):
        former = wanted[name].renamed_from
        if former in previous and former not in wanted:
            pairs[name] = former
    return pairs


def _dns(intent: Intent, network: Network) -> tuple[Any, ...]:
    return network.dns if network.dns is not None else intent.gateway.dns


def _network(
    previous: Network, wanted: Network, had: tuple[Any, ...], gets: tuple[Any, ...]
) -> Network:
    changed = _restricted(NETWORK, previous, wanted)
    if had != gets:
        changed["dns"] = tuple(server for server in had if server in gets)
    if previous.type != wanted.type or _without_vlans(previous, wanted):
        changed["enabled"] = False
    endpoints = changed.get("endpoints", previous.endpoints)
    changed["resources"] = _reachable(changed.get("resources", previous.resources), endpoints)
    return _copied(previous, changed)


def _endpoint(previous: Endpoint, wanted: Endpoint) -> Endpoint | None:
    """None when the device must show other keys from now on."""
    if any(getattr(previous, name) != getattr(wanted, name) for name in IDENTITY):
        return None
    return _copied(previous, _restricted(ENDPOINT, previous, wanted))


def _restricted(rules: Mapping[str, Rule], previous: Any, wanted: Any) -> dict[str, Any]:
    """What becomes of the fields that differ."""
    pairs = {name: (getattr(previous, name), getattr(wanted, name)) for name in rules}
    return {name: rules[name](had, gets) for name, (had, gets) in pairs.items() if had != gets}


def _copied(previous: Model, changed: Mapping[str, Any]) -> Model:
    """The very same object where nothing changes.

    `model_copy` would take along what was computed of the previous fields.
    """
    real = {name: value for name, value in changed.items() if value != getattr(previous, name)}
    if not real:
        return previous
    fields = {name: getattr(previous, name) for name in type(previous).model_fields}
    return type(previous).model_construct(**{**fields, **real})


def _both(previous: bool, wanted: bool) -> bool:
    return previous and wanted


def _mesh(previous: bool | None, wanted: bool | None) -> bool | None:
    """None where the field does not belong to the type, or says nothing."""
    return previous if wanted else None if previous is None else False


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
    """The narrower one wherever one holds the other."""
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
    return all(
        any(one.first >= other.first and one.last <= other.last for other in wide) for one in narrow
    )


def _reachable(
    resources: Iterable[Resource], endpoints: Mapping[str, Endpoint]
) -> tuple[Resource, ...]:
    """Without those behind an endpoint that has no such route any more."""
    return tuple(
        item for item in resources if item.via is None or _behind(item, endpoints.get(item.via))
    )


def _behind(resource: Resource, endpoint: Endpoint | None) -> bool:
    return endpoint is not None and any(_holds(route, resource.subnet) for route in endpoint.routes)


def _vlans(previous: Range | None, wanted: Range | None) -> Range | None:
    """None is every VLAN. Where nothing is in both, the previous ones: then the network is off."""
    if previous is None or wanted is None:
        return previous or wanted
    first, last = max(previous.first, wanted.first), min(previous.last, wanted.last)
    return Range(first, last) if first <= last else previous


def _without_vlans(previous: Network, wanted: Network) -> bool:
    """Whether no tagged VLAN is let through by both."""
    if previous.vlan_range is None or wanted.vlan_range is None:
        return False
    return not previous.vlan_range.overlaps(wanted.vlan_range)


# What a device proves itself by: another one is another device.
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
