"""What no two networks or endpoints may have in common: numbers, keys, former names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

from warpd.errors import Finding
from warpd.intent.model import Endpoint, Intent, Network
from warpd.intent.types import Range
from warpd.intent.validation.finding import error


def check_uniqueness(intent: Intent) -> Iterator[Finding]:
    yield from _twice("port", "UDP port", _values(intent, lambda network: network.port))
    yield from _twice("vcid", "VCID", _values(intent, lambda network: network.vcid))
    yield from _twice(
        "routing_table", "routing table", _values(intent, lambda network: network.routing_table)
    )
    yield from _twice(
        "private_key_file",
        "private key file",
        _values(intent, lambda network: network.private_key_file),
    )
    yield from _twice("bridge_name", "bridge", _values(intent, lambda network: network.bridge_name))
    if intent.gateway.vlan_scope == "gateway":
        hint = "give another id, or set gateway.vlan_scope: network"
        yield from _twice(
            "vlan_id",
            "VLAN id",
            _values(intent, lambda network: network.vlan_id),
            hint,
            "vlan-twice",
        )
    yield from _keys(intent)
    yield from _vni_pools(intent)
    yield from _renamed("networks", "network", intent.networks, sorted(intent.networks))
    for name, network in sorted(intent.networks.items()):
        yield from _renamed(
            f"networks.{name}.endpoints",
            f"endpoint of {name}",
            network.endpoints,
            network.explicit_endpoints,
        )


def _values(intent: Intent, field: Callable[[Network], Any]) -> list[tuple[str, Any]]:
    return [
        (f"networks.{name}", field(network)) for name, network in sorted(intent.networks.items())
    ]


def _twice(
    field: str, what: str, values: Iterable[tuple[str, Hashable]], hint: str = "", code: str = ""
) -> Iterator[Finding]:
    first: dict[Hashable, str] = {}
    for path, value in values:
        if value is None:
            continue
        if value in first:
            text = f"{what} {value} is used twice: {first[value]}.{field} has it too"
            yield error(
                code or f"{field.replace('_', '-')}-twice",
                f"{path}.{field}",
                text,
                hint or "give another one",
            )
        first.setdefault(value, path)


def _keys(intent: Intent) -> Iterator[Finding]:
    """Check that no two endpoints have the same key.

    The kernel identifies a peer by its public key, so that they would replace each other.
    """
    first: dict[str, str] = {}
    for path, endpoint in _explicit_endpoints(intent):
        if endpoint.preshared_key_file is not None and not endpoint.preshared_key:
            text = "names a preshared key, but preshared_key is false"
            yield error(
                "preshared-key", f"{path}.preshared_key_file", text, "leave one of them out"
            )
        if endpoint.public_key is None:
            continue
        if endpoint.public_key in first:
            text = f"the public key of {first[endpoint.public_key]} is used a second time"
            yield error(
                "key-twice",
                f"{path}.public_key",
                text,
                "every endpoint needs a key pair of its own",
            )
        first.setdefault(endpoint.public_key, path)


def _renamed(
    path: str, what: str, named: Mapping[str, Network | Endpoint], some: Iterable[str]
) -> Iterator[Finding]:
    """Check `renamed_from`: the former name must not be in use, and have one successor only.

    Args:
        path: the path of the mapping.
        what: what its values are, for messages.
        named: the mapping.
        some: names of `named`, in order; all others have no `renamed_from`.
    """
    first: dict[str, str] = {}
    for name in some:
        before = named[name].renamed_from
        if before is None:
            continue
        where = f"{path}.{name}.renamed_from"
        if before == name:
            yield error(
                "renamed-from",
                where,
                f"{name} is its own name",
                "write the name that it had before",
            )
        elif before in named:
            again = named[before].renamed_from
            chain = f", itself renamed from {again}" if again is not None else ""
            article = "an" if what.startswith("e") else "a"
            text = f"there still is {article} {what} named {before}{chain}"
            hint = f"rename one at a time and apply in between, or remove {before} or this line"
            yield error("renamed-from", where, text, hint)
        elif before in first:
            text = f"{before} cannot become both {first[before]} and {name}"
            yield error("renamed-from", where, text, "leave one of them out")
        first.setdefault(before, name)


def _explicit_endpoints(intent: Intent) -> Iterator[tuple[str, Endpoint]]:
    for name, network in sorted(intent.networks.items()):
        for key, endpoint in network.explicit_endpoints.items():
            yield f"networks.{name}.endpoints.{key}", endpoint


def _vni_pools(intent: Intent) -> Iterator[Finding]:
    earlier: list[tuple[str, Range]] = []
    for name, network in sorted(intent.networks.items()):
        pool = network.vni_pool
        if pool is None:
            continue
        for other, taken in earlier:
            if pool.overlaps(taken):
                text = f"VNIs {pool} overlap {taken} of networks.{other}.vni_pool"
                yield error(
                    "vni-twice",
                    f"networks.{name}.vni_pool",
                    text,
                    "a VNI is used once on a gateway",
                )
        earlier.append((name, pool))
