"""Which keys the gateway and an endpoint have in one network: given in the YAML, or derived.

Where the master secret is lost, `derivation.kernel_keys` still knows those that the kernel has.
"""

from __future__ import annotations

from typing import NamedTuple

from warpd.intent.model import Endpoint, Gateway, Network
from warpd.keys import derivation


class EndpointKeys(NamedTuple):
    """What WireGuard must know of an endpoint."""

    public_key: str
    preshared_key: derivation.Secret | None


def network_key_of(
    network: Network, gateway: Gateway, vcid: int, master: derivation.Master
) -> derivation.Secret:
    """The private key of the gateway's device in one network."""
    return derivation.network_key(
        master, vcid, network.rotation, network.private_key_file, gateway.rotation
    )


def public_key_of(key_name: str, endpoint: Endpoint, vcid: int, master: derivation.Master) -> str:
    """The endpoint's own key where the YAML gives one, else the one derived by the name that its
    keys go by.
    """
    kept = derivation.kernel_keys(master, vcid, key_name)
    if kept is not None:
        return kept.public_key
    return endpoint.public_key or derivation.public_key(
        derivation.endpoint_key(master, vcid, key_name, endpoint.rotation)
    )


def preshared_key_of(
    key_name: str, endpoint: Endpoint, vcid: int, master: derivation.Master
) -> derivation.Secret | None:
    """None where the YAML wants none."""
    kept = derivation.kernel_keys(master, vcid, key_name)
    if kept is not None:
        return kept.preshared_key
    if not endpoint.preshared_key:
        return None
    return derivation.preshared_key(
        master, vcid, key_name, endpoint.rotation, file=endpoint.preshared_key_file
    )


def keys_of(
    key_name: str, endpoint: Endpoint, vcid: int, master: derivation.Master
) -> EndpointKeys:
    """Both keys of one endpoint; to derive them is most of the work of compiling a network."""
    return EndpointKeys(
        public_key_of(key_name, endpoint, vcid, master),
        preshared_key_of(key_name, endpoint, vcid, master),
    )
