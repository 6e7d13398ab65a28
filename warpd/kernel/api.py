"""The Protocol of the machine. Everything impure about the kernel is behind it.

Eleven methods. `dump` looks; within `keeping_counters` it may show earlier counters. `prepare`
finds out what changes need from outside, `send` changes links, addresses, routes, settings and
WireGuard, `transact` changes one namespace's nftables table in one transaction, `dial` moves a
silent peer to a new address. `listen`, `events`, `stop_listening` and `stale_namespaces` say when
to look again; `event_descriptors` are what to wait on. `close` gives all descriptors back. Two
kernels fulfil it: the live one (`kernel/linux/live_kernel.py`) and one in memory
(`testing/fake_kernel.py`); `tests/conformance` holds both to the same facts.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.rows import VethEnd
from warpd.kernel.state import Change, Host, KernelObject, Key, PeerTraffic


class FailureKind(enum.Enum):
    """What a failed call means for the kernel's state."""

    REFUSED = "refused"  # the kernel said no: nothing changed
    UNSETTLED = "unsettled"  # the answer was lost: look again before anything else
    FOREIGN = "foreign"  # somebody else's object is in the way


# What a change stands on was there when we looked: a device, a namespace, a link that is up.
UNDERMINED: Final = frozenset(
    {errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.ENXIO, errno.ENETDOWN, errno.ENETUNREACH}
)


@dataclass(frozen=True, slots=True)
class OperationError:
    """A change that did not succeed: the verb, the key, the errno and the kernel's own words."""

    kind: FailureKind
    verb: str
    key: Key
    errno: int
    text: str

    @property
    def is_transient(self) -> bool:
        """Return whether another program may have caused it by a change in between. If so,
        observing again shows what is left to do.
        """
        return self.kind is not FailureKind.REFUSED or self.errno in UNDERMINED

    def __str__(self) -> str:
        return f"{self.verb} {self.key}: {self.text}"


class DumpError(Exception):
    """A dump that cannot be trusted: torn again and again, overrun, or refused."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What one look at one namespace shows."""

    netns: str
    objects: tuple[KernelObject, ...] = ()
    ends: tuple[VethEnd, ...] = ()
    foreign: Mapping[Key, str] = field(default_factory=dict)
    alien: str = ""  # why the whole namespace is not ours, "" when it is
    host: Host | None = None  # only of the root
    traffic: Mapping[Key, PeerTraffic] = field(default_factory=dict)
    # network (by its group; "" is the gateway) -> reason -> (packets, bytes)
    drops: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)  # links of others here: name -> kind


@dataclass(frozen=True, slots=True)
class Event:
    """Something changed in `netns`; `overrun` means that events were lost and everything must be
    looked at.
    """

    netns: str
    overrun: bool = False


class Kernel(Protocol):
    """All that commands and the daemon use of a kernel. For one thread.

    A look never changes anything. A call that changes something returns faults as values and
    raises nothing for what the kernel refuses.
    """

    def dump(self, netns: str, uplink: str = "auto", targets: Sequence[str] = ()) -> Dump:
        """Look at one namespace ("" is the root).

        Of the root, `uplink` names the link to the internet, and the links towards `targets` are
        exits as well.

        Raises:
            DumpError: the kernel gave no dump that can be trusted.
        """
        ...

    def keeping_counters(self) -> AbstractContextManager[None]:
        """A context in which dumps may show drop counters, and the host's routes where they are
        many, of an earlier dump.

        For looks that repair drift: figures for people are read by looks outside it.
        """
        ...

    def prepare(self, changes: Sequence[Change]) -> None:
        """Find out beforehand, in bounded time, what these changes need from outside: the addresses
        behind host names.
        """
        ...

    def send(self, changes: Sequence[Change]) -> list[OperationError | None]:
        """Make the changes in order; one answer for each. All are of one kind and one namespace."""
        ...

    def transact(self, netns: str, changes: Sequence[Change]) -> OperationError | None:
        """Make all changes to one namespace's table, or none."""
        ...

    def dial(self, peer: WireguardPeer, address: str) -> OperationError | None:
        """Let a peer that is in the kernel be dialled at `address` (`ADDRESS:PORT`).

        All else of the peer stays as it is. Later changes of the peer dial this address too.
        """
        ...

    def listen(self) -> None:
        """Hear from now on what happens in the root and in every namespace that was dumped.

        Called again after dumps, it adds namespaces that are new.

        Raises:
            OSError: the kernel allows no subscription, or gave a namespace no id. All others are
                heard.
        """
        ...

    @property
    def event_descriptors(self) -> tuple[int, ...]:
        """What becomes readable when there are events; none where nobody listens."""
        ...

    def stop_listening(self) -> None:
        """End the subscription, for sockets that have failed; `listen` begins another one."""
        ...

    def events(self, timeout_s: float) -> Iterator[Event]:
        """Events since the last call, waiting at most `timeout_s` for the first; none before
        `listen`.

        Raises:
            OSError: the subscription has failed.
        """
        ...

    def stale_namespaces(self) -> set[str]:
        """Names of namespaces that were dumped and whose name now means another one, or none."""
        ...

    def close(self) -> None:
        """Give back every descriptor."""
        ...
