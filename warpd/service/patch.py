"""A change of the YAML as a message that `git am` takes. Pure.

The files are the bytes that they were but for the change: git reads CR and everything else as it is
written here. Nothing of the message reaches git as a header or as a patch.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from email.header import Header
from email.utils import formatdate
from typing import Final

from warpd import __version__
from warpd.errors import WarpError
from warpd.service.edits import Draft, difference

MESSAGE_MAX: Final = 4000  # characters
# Any line of this form begins a message of a mailbox (git-mailsplit(1)).
HEAD: Final = f"From {'0' * 40} Mon Sep 17 00:00:00 2001\n"
# What git-mailinfo(1) takes for the end of the message: the beginning of a patch, or a line to cut
# at. Headers at the top of a message count too; there is a line of ours before them.
_ENDS_MESSAGE = re.compile(r"(?m)^(?=---|diff -|Index: |From )")
_SCISSORS = re.compile(r"8<|<8|>8|8>")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._/+-]+")
_MODE: Final = "100644"


def patch_of(files: Sequence[tuple[str, Draft]], user: str, message: str, date_s: float) -> str:
    """Return a message for `git am`.

    Args:
        files: the files that change, each with its path in the repository.
        user: who proposes it, as the history names it; the author.
        message: what the commit says; its first line is the subject.
        date_s: when, in seconds since the epoch.

    Raises:
        WarpError: the message is empty, too long or not plain text; or there is no change.
    """
    subject, text = _checked(message)
    parts = [_file_patch(path, draft) for path, draft in files if draft.old != draft.new]
    if not parts:
        raise WarpError("the change changes no file", code="nothing-to-change", who="operator")
    # A first line of our own: git takes lines such as `From:` at the top for headers.
    body = f"Proposed to warpd by {_printable(user)}.\n\n{text}".rstrip("\n") + "\n---\n"
    body += "".join(parts) + f"-- \nwarpd {__version__}\n"
    author = _printable(user).split(" (")[0] or "unknown"
    address = re.sub(r"[^A-Za-z0-9._-]+", "-", author).strip("-.") or "unknown"
    headers = [
        f"From: {_header(author)} <{address}@warpd.invalid>",
        f"Date: {formatdate(date_s)}",
        f"Subject: {_header('[PATCH] ' + subject)}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=UTF-8",
    ]
    return HEAD + "\n".join([*headers, *_encoded(body)])


def _encoded(body: str) -> Iterable[str]:
    """Yield the rest of the message, in the plainest form that keeps every byte."""
    if "\r" in body:
        yield "Content-Transfer-Encoding: base64"
        yield ""
        yield base64.encodebytes(body.encode()).decode()
    else:
        yield "Content-Transfer-Encoding: 8bit"
        yield ""
        yield body


def _checked(message: str) -> tuple[str, str]:
    """Return the subject and the rest, which git takes for text only.

    Raises:
        WarpError: the message is empty, too long, or contains control characters.
    """
    lines = message.strip().splitlines()
    if not lines or len(message) > MESSAGE_MAX:
        text = f"a message of 1 to {MESSAGE_MAX} characters is needed"
        raise WarpError(text, code="bad-message", who="operator", hint="say what changes, and why")
    if any(not (line.isprintable() or line.replace("\t", " ").isprintable()) for line in lines):
        raise WarpError("the message has control characters", code="bad-message", who="operator")
    rest = "\n".join(lines[1:]).strip("\n")
    return lines[0].strip(), _SCISSORS.sub(_apart, _ENDS_MESSAGE.sub(" ", rest))


def _apart(match: re.Match[str]) -> str:
    return " ".join(match[0])


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable() and char not in '<>"')


def _header(text: str) -> str:
    """Return a header's value; what is not plain ASCII is encoded (RFC 2047)."""
    if text.isascii():
        return text
    return Header(text, "utf-8", maxlinelen=70).encode()


def _file_patch(path: str, draft: Draft) -> str:
    before, after = _quoted(f"a/{path}"), _quoted(f"b/{path}")
    old = _blob(draft.old) if draft.old is not None else "0" * 40
    ids = f"index {old}..{_blob(draft.new)}"
    lines = [f"diff --git {before} {after}"]
    if draft.old is None:
        lines += [f"new file mode {_MODE}", ids]
        before = "/dev/null"
    else:
        lines.append(f"{ids} {_MODE}")
    return "\n".join(lines) + "\n" + difference(draft, before, after)


def _blob(raw: bytes) -> str:
    """Return git's id of these bytes, by which `git am -3` finds them."""
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest()


def _quoted(path: str) -> str:
    """Return a path as git writes it: in quotes where it has unusual characters."""
    if _PLAIN_NAME.fullmatch(path):
        return path
    return '"' + "".join(_escaped(byte) for byte in os.fsencode(path)) + '"'


def _escaped(byte: int) -> str:
    char = chr(byte)
    if char in '"\\':
        return "\\" + char
    return char if " " <= char <= "~" else f"\\{byte:03o}"
