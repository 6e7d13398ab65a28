"""Read the key files that the YAML names.

Only regular files that belong to root and that no other user can access are used. All files are
read, and all problems are reported together. A disabled network or endpoint does not need its
file. `compiler` and `clients` decide who gets which key; `state_folder` keeps the master secret.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from warpd.errors import Finding
from warpd.intent.model import Intent
from warpd.keys import derivation
from warpd.keys.derivation import KEY_BYTES, Secret

_SIZE_MAX: Final = 4096  # bytes; longer than any spelling of a key


def read_key_files(intent: Intent) -> tuple[dict[str, Secret], tuple[Finding, ...]]:
    """Return the keys by file path, and a finding for each needed file that cannot be used.

    A finding never contains a key or a part of one.
    """
    found: dict[str, Secret] = {}
    findings = []
    for path, file, needed in _named_files(intent):
        try:
            found[file] = _read(file)
        except OSError as failure:
            if needed:
                findings.append(
                    Finding(
                        "key-file",
                        path,
                        f"{file}: {failure.strerror}",
                        "write the key into this file, or remove this field",
                    )
                )
        except _UnusableFile as failure:
            if needed:
                findings.append(
                    Finding("key-file", path, f"{file}: {failure.args[0]}", failure.args[1])
                )
    return found, tuple(findings)


def key_files_named(intent: Intent) -> tuple[str, ...]:
    """Return every key file that the YAML names, also those of disabled networks and endpoints."""
    return tuple(file for _, file, _ in _named_files(intent))


class _UnusableFile(Exception):
    """A key file cannot be used. The arguments are the problem and how to fix it."""


def _named_files(intent: Intent) -> Iterator[tuple[str, str, bool]]:
    """Yield (path in the YAML, file, whether an enabled network or endpoint needs it)."""
    for name, network in sorted(intent.networks.items()):
        if network.private_key_file is not None:
            yield f"networks.{name}.private_key_file", network.private_key_file, network.enabled
        for endpoint_name, endpoint in network.explicit_endpoints.items():
            if endpoint.preshared_key_file is not None:
                needed = network.enabled and endpoint.enabled
                yield (
                    f"networks.{name}.endpoints.{endpoint_name}.preshared_key_file",
                    endpoint.preshared_key_file,
                    needed,
                )


def _read(file: str) -> Secret:
    """Return the key in `file`.

    Raises:
        OSError: the file cannot be opened or read.
        _UnusableFile: the file is not root's alone, or holds no key.
    """
    # O_NONBLOCK: opening a FIFO without a writer would block (fifo(7)).
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(fd, "rb") as stream:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise _UnusableFile("is not a regular file", "write the key into a regular file")
        if info.st_uid != 0:
            raise _UnusableFile("is not owned by root", f"chown root: {file}")
        if info.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _UnusableFile("is accessible to users other than root", f"chmod 600 {file}")
        return _key(stream.read(_SIZE_MAX))


def _key(raw: bytes) -> Secret:
    try:
        key = raw if len(raw) == KEY_BYTES else derivation.decode(raw.decode("ascii").strip())
    except ValueError:
        key = bytes(KEY_BYTES)
    if not any(key):
        raise _UnusableFile(
            "holds no key",
            "write one line of 44 base64 characters, as `wg genkey` and `wg genpsk` print",
        )
    return Secret(key)
