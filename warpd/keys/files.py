"""Key files that the YAML names -> keys. Only files that root alone can read are used.

Lives here: reading them, all of them, with every problem at once. Does not: who gets which
(`compiler`, `clients`), nor the master secret (`state_folder`). A network or endpoint that is off
does not need its file.
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

_SIZE_MAX: Final = 4096  # bytes; more than any way to write a key


def read_key_files(intent: Intent) -> tuple[dict[str, Secret], tuple[Finding, ...]]:
    """Keys by path, and what is wrong with the others.

    No key and no part of one is in a finding.
    """
    found: dict[str, Secret] = {}
    findings = []
    for path, file, needed in _named(intent):
        try:
            found[file] = _read(file)
        except OSError as failure:
            if needed:
                findings.append(
                    Finding(
                        "key-file",
                        path,
                        f"{file}: {failure.strerror}",
                        "put the key there, or leave this out",
                    )
                )
        except _Unfit as failure:
            if needed:
                findings.append(
                    Finding("key-file", path, f"{file}: {failure.args[0]}", failure.args[1])
                )
    return found, tuple(findings)


def key_files_named(intent: Intent) -> tuple[str, ...]:
    """The files that the YAML names, in force or not."""
    return tuple(file for _, file, _ in _named(intent))


class _Unfit(Exception):
    """What is wrong with a file, and how to mend it."""


def _named(intent: Intent) -> Iterator[tuple[str, str, bool]]:
    """Path in the YAML, file, and whether something is in force that needs it."""
    for name, network in sorted(intent.networks.items()):
        if network.private_key_file is not None:
            yield f"networks.{name}.private_key_file", network.private_key_file, network.enabled
        for each, one in network.explicit_endpoints.items():
            if one.preshared_key_file is not None:
                needed = network.enabled and one.enabled
                yield (
                    f"networks.{name}.endpoints.{each}.preshared_key_file",
                    one.preshared_key_file,
                    needed,
                )


def _read(file: str) -> Secret:
    fd = os.open(
        file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    )  # a FIFO must not hold us
    with open(fd, "rb") as stream:
        seen = os.fstat(fd)
        if not stat.S_ISREG(seen.st_mode):
            raise _Unfit("is not a regular file", "write the key into a file")
        if seen.st_uid != 0:
            raise _Unfit("does not belong to root", f"chown root: {file}")
        if seen.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _Unfit("others than root can read it", f"chmod 600 {file}")
        return _key(stream.read(_SIZE_MAX))


def _key(raw: bytes) -> Secret:
    try:
        key = raw if len(raw) == KEY_BYTES else derivation.decode(raw.decode("ascii").strip())
    except ValueError:
        key = bytes(KEY_BYTES)
    if not any(key):
        raise _Unfit(
            "holds no key",
            "one line, 44 characters of base64: what `wg genkey` and `wg genpsk` print",
        )
    return Secret(key)
