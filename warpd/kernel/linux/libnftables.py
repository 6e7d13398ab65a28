"""List and change our nftables table with libnftables. Every call is one transaction.

A libnftables context works on the namespace in which it was created, so a new one is created inside
the namespace for each call. This takes 0.1 ms. A context that is kept would hold 200 KB, and the
last listing: 600 KB per table for hash tables alone.
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
    """Block all signals. A signal during the commit of a transaction makes the kernel refuse it
    (EINTR, nf_tables_commit() in net/netfilter/nf_tables_api.c).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Nft:
    """libnftables in the namespace of the descriptor `fd`, which the caller keeps open.

    Only one thread may use it at a time.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.sent_changes = 0

    def _context(self) -> Any:
        # The bindings are missing in a plain virtual environment (see `bindings`).
        import nftables

        with namespaces.entered(self._fd):
            made = nftables.Nftables()
        made.set_json_output(True)
        made.set_numeric_proto_output(True)  # equal output with and without /etc/protocols
        return made

    def list_table(self) -> list[dict[str, Any]]:
        """Return the content of our table, or an empty list if it does not exist.

        Raises:
            DumpError: libnftables could not list the table.
        """
        code, output, error = self._context().cmd(f"list table {FAMILY} {TABLE}")
        if code == 0:
            listed: list[dict[str, Any]] = json.loads(output)["nftables"] if output else []
            return listed
        if ABSENT in error:
            return []
        raise DumpError(f"list table {FAMILY} {TABLE}: {error.strip()}")

    def run(self, commands: Sequence[dict[str, Any]]) -> Refusal | None:
        """Run all commands in one transaction. If one is refused, none is applied."""
        self.sent_changes += 1
        with _undisturbed():
            code, _output, error = self._context().cmd(json.dumps({"nftables": list(commands)}))
        if code == 0:
            return None
        first = error.strip().splitlines()[0] if error.strip() else "libnftables gave no reason"
        # libnftables gives a text and no number. What is gone was there when we looked: the caller
        # then looks again at once.
        number = errno.ENOENT if first.endswith(ABSENT) else errno.EINVAL
        return Refusal(number, first.removeprefix("internal:0:0-0: "))

    def foreign_rules(self) -> ForeignRules:
        """Return the foreign base chains at the hooks that our packets pass, and what they use.

        This includes the chains to which they jump and the sets that their rules name. A chain
        that cannot be listed, or that is too large, is marked as incomplete.
        """
        return foreign.read(self._context())
