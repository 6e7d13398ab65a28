"""Master secret -> network, endpoint and preshared keys, by HKDF-SHA256 (RFC 5869) and X25519 (RFC
7748).

Lives here: derivation, base64, and the value that holds a key without showing it. Does not: where
the master secret is kept (`state_folder`), who gets which key (`compiler`, `clients`). The context
string names everything that a key depends on, so the same master, VCID, endpoint name and rotation
give the same key on any machine; every context ends in a field that cannot hold its separator, so
two contexts are never one string.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from warpd.errors import WarpError

KEY_BYTES: Final = 32
_SALT: Final = b"warpd/v1"


@final
class Secret:
    """Bytes that appear nowhere by accident: not in repr, str, format, pickle or copies.

    `reveal` is the only way.
    """

    __slots__ = ("_bytes",)

    def __init__(self, value: bytes) -> None:
        object.__setattr__(self, "_bytes", bytes(value))

    def reveal(self) -> bytes:
        value: bytes = object.__getattribute__(self, "_bytes")
        return value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal(), other.reveal())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is never pickled")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """Keys of one endpoint as the kernel has them."""

    public_key: str
    preshared_key: Secret | None


@dataclass(frozen=True, slots=True)
class KernelKeys:
    """Keys as the kernel has them, for a gateway that has lost its master secret or its
    allocations.
    """

    devices: Mapping[int, Secret]  # by VCID
    peers: Mapping[
        tuple[int, str], PeerKeys
    ]  # by VCID, and the name by which the endpoint's keys go


@dataclass(frozen=True, slots=True)
class Keyring:
    """The master secret, the keys that files gave, by the path that the YAML names, and those that
    go before both.
    """

    master: Secret
    given: Mapping[str, Secret] = field(default_factory=dict)
    kernel: KernelKeys | None = None


Master = Secret | Keyring


def hkdf(secret: bytes, salt: bytes, context: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256, extract and expand. `length` in bytes, at most 8160."""
    return _expand(_extract(salt, secret), context, length)


def _extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(hashlib.sha256().digest_size), secret, "sha256")


def _expand(pseudorandom: bytes, context: bytes, length: int) -> bytes:
    out = block = b""
    for number in range(1, -(-length // hashlib.sha256().digest_size) + 1):
        block = hmac.digest(pseudorandom, block + context + bytes([number]), "sha256")
        out += block
    return out[:length]


def _derive(master: Master, context: str) -> bytes:
    secret = master.master if isinstance(master, Keyring) else master
    return hkdf(secret.reveal(), _SALT, f"warpd/v1/{context}".encode())


def _clamped(value: bytes) -> Secret:
    """As RFC 7748 section 5 and `wg genkey` do, so that what the kernel reads back equals what was
    sent.
    """
    head, tail = value[0] & 0xF8, (value[31] & 0x7F) | 0x40
    return Secret(bytes([head]) + value[1:31] + bytes([tail]))


def _given(master: Master, file: str) -> Secret:
    found = master.given.get(file) if isinstance(master, Keyring) else None
    if found is None:
        raise WarpError(
            f"the key in {file} was not read",
            code="key-file",
            who="operator",
            hint="is its network enabled?",
        )
    return found


def network_key(
    master: Master, vcid: int, rotation: int = 0, file: str | None = None, gateway_rotation: int = 0
) -> Secret:
    """The private key of the gateway's device in one network: the one in `file`, where the YAML
    names one.
    """
    if isinstance(master, Keyring) and master.kernel is not None and vcid in master.kernel.devices:
        return master.kernel.devices[vcid]
    if file is not None:
        return _clamped(_given(master, file).reveal())
    every = f"/{gateway_rotation}" if gateway_rotation else ""
    return _clamped(_derive(master, f"network/{vcid}/{rotation}{every}"))


def kernel_keys(master: Master, vcid: int, name: str) -> PeerKeys | None:
    """The keys that the kernel has for an endpoint, where those are to be kept; None for all
    others.
    """
    if isinstance(master, Keyring) and master.kernel is not None:
        return master.kernel.peers.get((vcid, name))
    return None


def endpoint_key(master: Master, vcid: int, name: str, rotation: int = 0) -> Secret:
    """The private key of an endpoint that brings none of its own."""
    return _clamped(_derive(master, f"endpoint/{vcid}/{name}/{rotation}"))


def preshared_key(
    master: Master, vcid: int, name: str, rotation: int = 0, file: str | None = None
) -> Secret:
    """The key shared by the gateway and one endpoint: the one in `file`, where the YAML names
    one.
    """
    if file is not None:
        return _given(master, file)
    return Secret(_derive(master, f"preshared/{vcid}/{name}/{rotation}"))


def public_key(private: Secret) -> str:
    """The public half, base64 as WireGuard writes it.

    Raises:
        ValueError: the private key is not 32 bytes.
    """
    pair = X25519PrivateKey.from_private_bytes(private.reveal())
    return encode(pair.public_key().public_bytes_raw())


def encode(raw: bytes) -> str:
    """A key as WireGuard writes it: 44 characters of base64."""
    return base64.b64encode(raw).decode("ascii")


def decode(text: str) -> bytes:
    """The 32 bytes of a key in base64.

    Raises:
        ValueError: not base64 of 32 bytes. The text is not in the message: it may be a key.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a key is 44 characters of base64") from None
    if len(raw) != KEY_BYTES or encode(raw) != text:
        raise ValueError("a key is 44 characters of base64")
    return raw
