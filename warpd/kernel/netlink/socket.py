"""A netlink socket: batches of requests with their answers, and dumps that detect a torn read.

The socket checks NLM_F_DUMP_INTR on every message and turns extended acks and strict checking on.
Messages are encoded by `netlink.rtnl_encoder`. Errors come back as values, one for each request.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from warpd.kernel.api import DumpError

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 10, 11, 12
SO_RCVBUFFORCE = 33
NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSGERR_ATTR_MSG = 1
HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
TYPE_MASK = 0x3FFF
BATCH_BYTES = 128 * 1024
BATCH_MESSAGES = 256
RECEIVE_BYTES = 4 * 1024 * 1024
ANSWER_TIMEOUT_S = 10.0
DUMP_TRIES = 10


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that the kernel refused: the errno and its own words.

    errno 0 stands for an answer that never came.
    """

    errno: int
    text: str

    @property
    def unsettled(self) -> bool:
        return self.errno == 0


def attributes(
    data: bytes | bytearray | memoryview, offset: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of every attribute in data[offset:end]; stops at the first that does not
    fit.
    """
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            return
        yield kind & TYPE_MASK, offset + 4, offset + length
        offset += (length + 3) & ~3


class _Scratch(threading.local):
    """What a datagram is read into.

    All sockets of a thread share it (a gateway of 100 networks keeps 300 sockets): a message has
    been decoded before another socket is asked.
    """

    def __init__(self) -> None:
        self.buffer = bytearray(1 << 18)


_scratch = _Scratch()


class NetlinkSocket:
    """One socket, kept open, in the namespace in which it was made. Not for use by two threads."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BYTES)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._socket.bind((0, 0))
        self._sequence = itertools.count(1)
        self.sent_changes = (
            0  # requests that were not dumps or lookups: what "quiet" is measured by
        )

    def close(self) -> None:
        self._socket.close()

    @property
    def _buffer(self) -> bytearray:
        return _scratch.buffer

    # -- requests

    def request(self, messages: Sequence[tuple[int, int, bytes]]) -> list[Refusal | None]:
        """Send (type, flags, body) requests in order and wait for each one's answer."""
        out: list[Refusal | None] = []
        for batch in _batches(messages):
            self.sent_changes += len(batch)
            out += self._exchange(batch)
        return out

    def _exchange(self, batch: Sequence[tuple[int, int, bytes]]) -> list[Refusal | None]:
        numbers = [next(self._sequence) & 0xFFFFFFFF for _ in batch]
        data = b"".join(
            _frame(message, number, NLM_F_ACK)
            for message, number in zip(batch, numbers, strict=True)
        )
        lost = Refusal(0, "no answer from the kernel")
        answers: dict[int, Refusal | None] = dict.fromkeys(numbers, lost)
        waiting = set(numbers)
        try:
            self._socket.send(data)
            while waiting:
                for kind, _flags, number, start, end in self._receive():
                    if kind == NLMSG_ERROR and number in waiting:
                        answers[number] = self._answer(_flags, start, end)
                        waiting.discard(number)
        except OSError as failure:
            gone = Refusal(0, f"no answer from the kernel: {failure.strerror or failure}")
            answers |= dict.fromkeys(waiting, gone)
        return [answers[number] for number in numbers]

    def _answer(self, flags: int, start: int, end: int) -> Refusal | None:
        code = -int.from_bytes(self._buffer[start : start + 4], "little", signed=True)
        if code == 0:
            return None
        text = os.strerror(code)
        words = self._extended(flags, start, end)
        return Refusal(code, f"{text}: {words}" if words else text)

    def _extended(self, flags: int, start: int, end: int) -> str:
        if not flags & NLM_F_ACK_TLVS:
            return ""
        inner = int.from_bytes(self._buffer[start + 4 : start + 8], "little")
        offset = start + 4 + (16 if flags & NLM_F_CAPPED else (inner + 3) & ~3)
        for kind, low, high in attributes(self._buffer, offset, end):
            if kind == NLMSGERR_ATTR_MSG:
                return bytes(self._buffer[low:high]).rstrip(b"\0").decode("utf-8", "replace")
        return ""

    # -- looks

    def dump(
        self,
        kind: int,
        body: bytes,
        each: Callable[[memoryview], None],
        restart: Callable[[], None],
        absent: int = 0,
    ) -> None:
        """Ask for a dump and hand every message's payload to `each`.

        `absent` is an errno by which the kernel says that it has nothing of the kind; the dump is
        empty then.

        A torn dump (the kernel says that the table changed meanwhile) calls `restart` and is asked
        for again.

        Raises:
            DumpError: torn every time, no answer, or refused.
        """
        for _ in range(DUMP_TRIES):
            restart()
            if self._dump_once(kind, body, each, absent):
                return
        raise DumpError(
            f"dump {kind} was interrupted {DUMP_TRIES} times in a row: the kernel's tables keep"
            " changing"
        )

    def _dump_once(
        self, kind: int, body: bytes, each: Callable[[memoryview], None], absent: int
    ) -> bool:
        number = next(self._sequence) & 0xFFFFFFFF
        whole = True
        try:
            self._socket.send(_frame((kind, NLM_F_DUMP, body), number, 0))
            while True:
                for got, flags, seq, start, end in self._receive():
                    if seq != number:
                        continue  # a late answer to an earlier request that timed out
                    whole = whole and not flags & NLM_F_DUMP_INTR
                    if got in (NLMSG_DONE, NLMSG_ERROR):
                        self._check_end(got, kind, start, end, absent)
                        return whole
                    if got == NLMSG_OVERRUN:
                        return False
                    each(memoryview(self._buffer)[start:end])
        except OSError as failure:
            if failure.errno == errno.ENOBUFS:
                return False
            raise DumpError(f"dump {kind}: {failure.strerror or failure}") from failure

    def _check_end(self, got: int, kind: int, start: int, end: int, absent: int) -> None:
        code = (
            -int.from_bytes(self._buffer[start : start + 4], "little", signed=True)
            if end - start >= 4
            else 0
        )
        if code and code != absent:
            raise DumpError(f"dump {kind} refused by the kernel: {os.strerror(code)}")

    def ask(self, kind: int, body: bytes, flags: int = 0) -> bytes | Refusal:
        """One lookup that changes nothing: the answer's payload, or why there is none."""
        number = next(self._sequence) & 0xFFFFFFFF
        try:
            self._socket.send(_frame((kind, flags, body), number, 0))
            while True:
                for got, said, seq, start, end in self._receive():
                    if seq == number:
                        if got == NLMSG_ERROR:
                            return self._answer(said, start, end) or Refusal(
                                errno.ENOENT, "empty answer"
                            )
                        return bytes(self._buffer[start:end])
        except OSError as failure:
            return Refusal(failure.errno or 0, str(failure))

    def _receive(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(type, flags, sequence, payload start, payload end) of every message in one datagram."""
        size, (sender, _groups) = self._socket.recvfrom_into(self._buffer)
        if sender != 0:
            return  # not the kernel: any process may write to a netlink port
        offset = 0
        while offset + HEADER.size <= size:
            length, kind, flags, number, _port = HEADER.unpack_from(self._buffer, offset)
            if length < HEADER.size or offset + length > size:
                raise OSError(errno.EBADMSG, "truncated netlink message")
            yield kind, flags, number, offset + HEADER.size, offset + length
            offset += (length + 3) & ~3


def _frame(message: tuple[int, int, bytes], number: int, extra: int) -> bytes:
    kind, flags, body = message
    padding = -len(body) % 4
    length = HEADER.size + len(body)
    return (
        HEADER.pack(length, kind, flags | NLM_F_REQUEST | extra, number, 0) + body + b"\0" * padding
    )


def _batches(messages: Sequence[tuple[int, int, bytes]]) -> Iterator[list[tuple[int, int, bytes]]]:
    batch: list[tuple[int, int, bytes]] = []
    size = 0
    for message in messages:
        length = len(message[2]) + HEADER.size
        if batch and (size + length > BATCH_BYTES or len(batch) >= BATCH_MESSAGES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch
