"""One-time links: who made which, and that each is redeemed once.

A link is a secret of 192 bits. Only its SHA-256 is kept, in memory, so that a restart ends all
links. A PIN, told by another way, may be asked for besides: after PIN_TRIES wrong ones the link is
gone.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from warpd.daemon.http.messages import HttpError
from warpd.service.exports import ExportRequest
from warpd.service.rights import Identity

SECRET_BYTES: Final = 24
ID_BYTES: Final = 4
LINKS_MAX: Final = 200  # at a time
PIN_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Link:
    """One link.

    Attributes:
        id: what it is called by whoever made it.
        export_request: the config that it leads to.
        by: who made it.
        pin: SHA-256 of link and PIN; "" where none is asked for.
        ends_s: when it is over, by `time.monotonic`.
        tries_left: wrong PINs that are still borne.
    """

    id: str
    export_request: ExportRequest
    by: str
    pin: str
    ends_s: float
    tries_left: int = PIN_TRIES


class Links:
    """All links, by the SHA-256 of their secrets. For the socket's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._links: dict[str, Link] = {}

    def make(
        self, export_request: ExportRequest, by: str, life_s: float, pin: str
    ) -> tuple[Link, str]:
        """A link and its secret, which is not kept.

        Raises:
            HttpError: there are LINKS_MAX.
        """
        self._forget_those_over()
        if len(self._links) >= LINKS_MAX:
            raise HttpError(409, f"there are {LINKS_MAX} links", code="too-many", hint="end some")
        secret = secrets.token_urlsafe(SECRET_BYTES)
        digest = _digest(secret)
        pinned = _digest(secret + pin) if pin else ""
        link = Link(secrets.token_hex(ID_BYTES), export_request, by, pinned, self._clock() + life_s)
        self._links[digest] = link
        return link, secret

    def take(self, secret: str, pin: str) -> Link | None:
        """The link of this secret, which is gone then; None where anything is wrong."""
        self._forget_those_over()
        digest = _digest(secret)
        link = self._links.pop(digest, None)
        if link is None:
            return None
        if link.pin and not hmac.compare_digest(link.pin, _digest(secret + pin)):
            if link.tries_left > 1:
                self._links[digest] = replace(link, tries_left=link.tries_left - 1)
            return None
        return link

    def give_back(self, secret: str, link: Link) -> None:
        """Restore a link whose redemption failed."""
        self._links[_digest(secret)] = link

    def end(self, name: str, identity: Identity) -> Link | None:
        """End a link of a network that this identity sees; None where there is none."""
        for digest, link in self._links.items():
            if link.id == name and identity.sees(link.export_request.network):
                return self._links.pop(digest)
        return None

    def _forget_those_over(self) -> None:
        now = self._clock()
        self._links = {key: link for key, link in self._links.items() if now < link.ends_s}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
