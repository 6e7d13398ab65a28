"""libnftables: our table listed and changed, one transaction a call.

A context talks to the namespace in which it was made, so each is made after entering it. To make
one takes 0.1 ms; kept, it holds 200 KB, and whatever it has read until it reads again: 600 KB a
table for its hash tables alone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from warpd.kernel.api import DumpError
from warpd.kernel.kinds.nft_table import FAMILY, TABLE
from warpd.kernel.linux import foreign_chains as foreign
from warpd.kernel.linux import namespaces
from warpd.kernel.netlink.socket import Refusal
from warpd.kernel.state import ForeignRules

ABSENT = "No such file or directory"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals wait: one that arrives while a transaction is committed makes the kernel refuse it
    (EINTR, nf_tables_commit).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Nft:
    """libnftables in the namespace behind `fd`, which stays open meanwhile.

    Not for use by two threads.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.sent_changes = 0

    def _context(self) -> Any:
        # Debian's: not there in a plain virtual environment, where no kernel is looked at
        import nftables

        with namespaces.entered(self._fd):
            made = nftables.Nftables()
        made.set_json_output(True)
        made.set_numeric_proto_output(True)  # whether or not there is an /etc/protocols
        return made

    def list_table(self) -> list[dict[str, Any]]:
        """Everything in our table; empty when there is none.

        Raises:
            DumpError: libnftables could not list it.
        """
        code, output, error = self._context().cmd(f"list table {FAMILY} {TABLE}")
        if code == 0:
            listed: list[dict[str, Any]] = json.loads(output)["nftables"] if output else []
            return listed
        if ABSENT in error:
            return []
        raise DumpError(f"list table {FAMILY} {TABLE}: {error.strip()}")

    def run(self, commands: Sequence[dict[str, Any]]) -> Refusal | None:
        """All commands in one transaction, or none of them."""
        self.sent_changes += 1
        with _undisturbed():
            code, _output, error = self._context().cmd(json.dumps({"nftables": list(commands)}))
        if code == 0:
            return None
        first = error.strip().splitlines()[0] if error.strip() else "libnftables gave no reason"
        return Refusal(errno.EINVAL, first.removeprefix("internal:0:0-0: "))

    def foreign_rules(self) -> ForeignRules:
        """Base chains of others at the hooks input and forward, whatever they jump to, and the sets
        that their rules name.

        A chain that cannot be listed, or whose table is very large, is left incomplete: nothing is
        claimed of it.
        """
        return foreign.read(self._context())
