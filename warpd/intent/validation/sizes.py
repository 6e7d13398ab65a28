"""How many endpoints a network may have by its type, its subnet and what was expected. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from warpd.errors import Finding
from warpd.intent.capacity import capacity, expected_users, prefix_for
from warpd.intent.model import Network
from warpd.intent.validation.finding import error


def check_sizes(path: str, network: Network) -> Iterator[Finding]:
    """Check that type, `expected_users` and subnet hold the endpoints."""
    found = (
        _more_than_the_type_joins(path, network)
        or _more_than_expected(path, network)
        or _more_than_the_subnet_holds(path, network)
    )
    if found is not None:
        yield found
    users = network.expected_users
    room = _room(network)
    if room is not None and users is not None and users > room > 0:
        text = f"{network.subnet} holds {room}, expected_users is {users}"
        hint = f"a /{prefix_for(users)} holds them"
        yield error("subnet-too-small", f"{path}.subnet", text, hint)


def _room(network: Network) -> int | None:
    """Return how many endpoints the subnet holds; None where the YAML gives no subnet."""
    return None if network.subnet is None else capacity(network.subnet.prefixlen)


def _more_than_the_type_joins(path: str, network: Network) -> Finding | None:
    count, most = len(network.endpoints), network.traits.endpoints_max
    if most is None or count <= most:
        return None
    text = f"has {count} endpoints; {network.type} joins exactly {most}"
    return error("too-many-endpoints", f"{path}.endpoints", text, "take l2-mesh for more")


def _more_than_expected(path: str, network: Network) -> Finding | None:
    """A subnet in the YAML decides alone where `expected_users` is absent."""
    count, users = len(network.endpoints), network.expected_users
    if users is None and network.subnet is not None:
        return None
    most = expected_users(network)
    if count <= most:
        return None
    if users is None:
        field, limit = "endpoints", f"{network.type} without expected_users holds {most}"
    else:
        field, limit = "expected_users", f"expected_users is {users}"
    text = f"{count} endpoints, but {limit}"
    return error("too-many-endpoints", f"{path}.{field}", text, f"write expected_users: {count}")


def _more_than_the_subnet_holds(path: str, network: Network) -> Finding | None:
    count, room = len(network.endpoints), _room(network)
    if room is None or count <= room:
        return None
    text = f"has {count} endpoints, {network.subnet} holds {room}"
    return error("subnet-too-small", f"{path}.subnet", text, f"a /{prefix_for(count)} holds them")
