"""libnftables: our table listed and changed, one transaction a call, one context a namespace.

A context talks to the namespace in which it was made, so each is made after entering it and kept.
"""

from __future__ import annotations

import contextlib
import errno
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import nftables

from warpd.kernel.live_socket import Refusal
from warpd.kernel.protocol import LookFailed
from warpd.objects.nft import FAMILY, TABLE

ABSENT = "No such file or directory"
NOWHERE = "warpd-nowhere"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals wait: one that arrives while a transaction is committed makes the kernel refuse it (EINTR, nf_tables_commit)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class NftContext:
    """libnftables in one namespace. Not for use by two threads."""

    def __init__(self) -> None:
        self._nft = nftables.Nftables()
        self._nft.set_json_output(True)
        self._nft.set_numeric_proto_output(True)  # whether or not there is an /etc/protocols
        self.sent_changes = 0

    def list_table(self) -> list[dict[str, Any]]:
        """Everything in our table; empty when there is none.

        Raises:
            LookFailed: libnftables could not list it.
        """
        code, output, error = self._nft.cmd(f"list table {FAMILY} {TABLE}")
        self._forget()
        if code == 0:
            listed: list[dict[str, Any]] = json.loads(output)["nftables"] if output else []
            return listed
        if ABSENT in error:
            return []
        raise LookFailed(f"list table {FAMILY} {TABLE}: {error.strip()}")

    def run(self, commands: Sequence[dict[str, Any]]) -> Refusal | None:
        """All commands in one transaction, or none of them."""
        self.sent_changes += 1
        with _undisturbed():
            code, _output, error = self._nft.cmd(json.dumps({"nftables": list(commands)}))
        self._forget()
        if code == 0:
            return None
        first = error.strip().splitlines()[0] if error.strip() else "libnftables gave no reason"
        return Refusal(errno.EINVAL, first.removeprefix("internal:0:0-0: "))

    def foreign_drops(self, words: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, str, str, str], ...]:
        """Base chains of others that drop by default and whose rules lack every word for their hook.

        Each as (hook, family, table, chain). Only chains on the way of our packets are read (hooks input and
        forward), and only where the policy is drop: others may keep very large tables.
        """
        out = []
        for chain in self._foreign_chains():
            where = (chain["family"], chain["table"], chain["name"])
            code, output, _error = self._nft.cmd("list chain " + " ".join(where))
            if code == 0 and not any(word in output for word in words[chain["hook"]]):
                out.append((chain["hook"], *where))
        self._forget()
        return tuple(sorted(out))

    def _forget(self) -> None:
        """libnftables keeps what it has read until it reads again: 600 KB a table for its hash tables alone, and as much again
        for each namespace. A table that is not there leaves it with nothing (libnftables: nft_cache_update)."""
        self._nft.cmd(f"list table {FAMILY} {NOWHERE}")

    def _foreign_chains(self) -> list[dict[str, Any]]:
        code, output, _error = self._nft.cmd("list chains")
        listed = json.loads(output)["nftables"] if code == 0 and output else []
        chains = [entry["chain"] for entry in listed if "chain" in entry]
        return [
            chain
            for chain in chains
            if chain.get("policy") == "drop"
            and chain.get("hook") in ("input", "forward")
            and chain["family"] in ("ip", "ip6", "inet")
            and (chain["family"], chain["table"]) != (FAMILY, TABLE)
        ]
