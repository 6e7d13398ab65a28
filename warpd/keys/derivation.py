"""Derive network, endpoint and preshared keys from the master secret.

The derivation uses HKDF-SHA256 (RFC 5869) and X25519 (RFC 7748).

This module holds the derivation, base64, and `Secret`, the value that holds a key without showing
it. `state_folder` keeps the master secret; `compiler` and `clients` decide who gets which key.

The context string of a key names everything that the key depends on. Therefore the same master
secret, VCID, endpoint name and rotation give the same key on any machine. Every context ends in a
field that cannot hold the separator `/`, so two different inputs never give the same context.
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
    """Bytes of a key that cannot be shown by accident.

    `repr`, `str` and `format` print `***`, and pickling raises TypeError. `reveal` is the only way
    to read the bytes.
    """

    __slots__ = ("_bytes",)

    def __init__(self, value: bytes) -> None:
        object.__setattr__(self, "_bytes", bytes(value))

    def reveal(self) -> bytes:
        """Return the bytes of the key."""
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
    """The keys of one endpoint as the kernel holds them; `public_key` is base64."""

    public_key: str
    preshared_key: Secret | None


@dataclass(frozen=True, slots=True)
class KernelKeys:
    """The keys that the kernel holds, read for a gateway that lost its master secret or its
    allocations.

    `devices` holds private keys by VCID. `peers` is indexed by VCID and by the endpoint name from
    which the keys are derived.
    """

    devices: Mapping[int, Secret]
    peers: Mapping[tuple[int, str], PeerKeys]


@dataclass(frozen=True, slots=True)
class Keyring:
    """All sources of keys.

    `master` is the master secret. `file_keys` holds the keys that were read from files, by the
    path that the YAML names. `kernel` holds keys that take precedence over both; it is None unless
    the gateway recovers from the kernel.
    """

    master: Secret
    file_keys: Mapping[str, Secret] = field(default_factory=dict)
    kernel: KernelKeys | None = None


Master = Secret | Keyring


def hkdf(secret: bytes, salt: bytes, context: bytes, length: int = KEY_BYTES) -> bytes:
    """Return `length` bytes (at most 8160) of HKDF-SHA256, extract and expand (RFC 5869)."""
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
    """Clamp a private key as RFC 7748 section 5 says.

    `wg genkey` does the same. A clamped key reads back from the kernel exactly as it was sent.
    """
    head, tail = value[0] & 0xF8, (value[31] & 0x7F) | 0x40
    return Secret(bytes([head]) + value[1:31] + bytes([tail]))


def _file_key(master: Master, file: str) -> Secret:
    """Return the key that was read from `file`.

    Raises:
        WarpError: the file was not read.
    """
    found = master.file_keys.get(file) if isinstance(master, Keyring) else None
    if found is None:
        raise WarpError(
            f"the key file {file} was not read",
            code="key-file",
            who="operator",
            hint="check that its network and endpoint are enabled",
        )
    return found


def network_key(
    master: Master, vcid: int, rotation: int = 0, file: str | None = None, gateway_rotation: int = 0
) -> Secret:
    """Return the private key of the gateway's device in one network.

    A key that was recovered from the kernel comes first, then the key in `file` if the YAML names
    one, then the derived key. `rotation` counts the key rotations of the network,
    `gateway_rotation` those of all networks.

    Raises:
        WarpError: `file` was not read.
    """
    if isinstance(master, Keyring) and master.kernel is not None and vcid in master.kernel.devices:
        return master.kernel.devices[vcid]
    if file is not None:
        return _clamped(_file_key(master, file).reveal())
    suffix = f"/{gateway_rotation}" if gateway_rotation else ""
    return _clamped(_derive(master, f"network/{vcid}/{rotation}{suffix}"))


def kernel_keys(master: Master, vcid: int, name: str) -> PeerKeys | None:
    """Return the recovered kernel keys of an endpoint, or None if its keys were not recovered."""
    if isinstance(master, Keyring) and master.kernel is not None:
        return master.kernel.peers.get((vcid, name))
    return None


def endpoint_key(master: Master, vcid: int, name: str, rotation: int = 0) -> Secret:
    """Derive the private key of an endpoint that has no `public_key` in the YAML."""
    return _clamped(_derive(master, f"endpoint/{vcid}/{name}/{rotation}"))


def preshared_key(
    master: Master, vcid: int, name: str, rotation: int = 0, file: str | None = None
) -> Secret:
    """Return the preshared key of the gateway and one endpoint.

    This is the key in `file` if the YAML names one, otherwise a derived key.

    Raises:
        WarpError: `file` was not read.
    """
    if file is not None:
        return _file_key(master, file)
    return Secret(_derive(master, f"preshared/{vcid}/{name}/{rotation}"))


def public_key(private: Secret) -> str:
    """Return the public key of a private key, in base64 as WireGuard writes it.

    Raises:
        ValueError: the private key is not 32 bytes.
    """
    pair = X25519PrivateKey.from_private_bytes(private.reveal())
    return encode(pair.public_key().public_bytes_raw())


def encode(raw: bytes) -> str:
    """Return a key as WireGuard writes it: 44 characters of base64."""
    return base64.b64encode(raw).decode("ascii")


def decode(text: str) -> bytes:
    """Return the 32 bytes of a key in base64.

    Raises:
        ValueError: the text is not base64 of 32 bytes. The message does not quote the text, since
            it may be a key.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a key is 44 characters of base64") from None
    if len(raw) != KEY_BYTES or encode(raw) != text:
        raise ValueError("a key is 44 characters of base64")
    return raw
