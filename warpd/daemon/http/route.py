"""What a route is: what it is asked by, what it needs, and who answers it."""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from warpd.daemon.http.auth import (
    NEEDS_CHANGE,
    NEEDS_TOKEN,
    RIGHTS,
    AccessLevel,
    PeerCredentials,
)
from warpd.daemon.http.messages import BODY_MAX, HttpError, HttpRequest, HttpResponse
from warpd.daemon.http.parameters import SHOWN_MAX, Parameter
from warpd.daemon.http.services import Services
from warpd.service.rights import Identity, Right, roles_with

METRICS_PATH: Final = "/metrics"
ONLY_METRICS: Final = f"permission denied: only {METRICS_PATH} is answered here"

# Statuses of refusals, beside those of every route (`openapi`).
LOOKED: Final = (409, 422)  # of what the loop answers
NAMED: Final = (404, *LOOKED)  # of what names something that may not be there

Handler = Callable[[Services, HttpRequest], Awaitable[HttpResponse]]


class NetworkScope(enum.Enum):
    """What an identity that does not see every network may get of a route."""

    GATEWAY = "gateway"  # nothing: the answer is about the whole gateway
    FILTERED = "filtered"  # what is of its networks: the handler leaves out the rest
    NETWORK = "network"  # the path names a network: any other one is not there


class Asker(enum.Enum):
    """Who may ask what takes no right."""

    KNOWN = "known"  # whoever has a credential, of whatever role


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """What is answered is no JSON document.

    Attributes:
        kinds: its types, as `Content-Type` says.
        line: the type of a line, where a line is a JSON document.
    """

    kinds: tuple[str, ...]
    line: Any = None


@functools.cache
def _pattern(part: str) -> re.Pattern[str]:
    """What a part of a path with `{word}` in it matches."""
    pieces = re.split(r"\{(\w+)\}", part)  # texts and names by turns
    pieces[1::2] = (f"(?P<{name}>.+)" for name in pieces[1::2])
    pieces[::2] = (re.escape(text) for text in pieces[::2])
    return re.compile("".join(pieces), re.DOTALL)


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One thing that can be asked.

    Attributes:
        path: as a client writes it; `{word}` stands for one part.
        right: what is needed; None for what everybody may ask who may connect. There is no
            default: a route that says nothing of it is an error when this package is imported.
        scope: what an identity of some networks gets.
        handler: answers it; its docstring is the description that clients read.
        answer: the type of what it answers, or how texts of it are written.
        body: the type of the body; None for none.
        query: the parameters of the query; any other one is refused.
        refusals: statuses besides those of every route.
        body_max: the most bytes that a body may have.
        is_tagged: whether it knows who has the answer already (ETag, 304).
    """

    method: str
    path: str
    right: Right | Asker | None
    scope: NetworkScope
    handler: Handler
    answer: Any  # a TypedDict, or TextAnswer
    body: Any = None  # a model, or a union of models
    query: tuple[Parameter, ...] = ()
    refusals: tuple[int, ...] = ()
    body_max: int = BODY_MAX
    is_tagged: bool = False

    def __post_init__(self) -> None:
        """Raises: TypeError for a route that does not say what it needs: never take it for open."""
        is_right = self.right is None or isinstance(self.right, Right | Asker)
        if not is_right or not isinstance(self.scope, NetworkScope):
            raise TypeError(f"{self.method} {self.path} does not say what it needs")
        if (self.scope is NetworkScope.NETWORK) != ("{network}" in self.path):
            raise TypeError(f"{self.path}: scope NETWORK is for paths that name a network")

    @property
    def summary(self) -> str:
        return " ".join((self.handler.__doc__ or "").split())

    def names(self, words: list[str]) -> Mapping[str, str] | None:
        """The words in the places of `{word}`, by that word; None: this is another path."""
        shape = self.path.strip("/").split("/")
        if len(shape) != len(words):
            return None
        names: dict[str, str] = {}
        for expected, word in zip(shape, words, strict=True):
            if "{" not in expected:
                if expected != word:
                    return None
                continue
            found = _pattern(expected).fullmatch(word)
            if found is None:
                return None
            names |= found.groupdict()
        return names

    def require_path(self, peer: PeerCredentials) -> None:
        """Refuse what is not for this connection, whoever sends something over it.

        Raises:
            HttpError: 403 for a peer that may read metrics only, and asks for something else.
        """
        if peer.right is AccessLevel.METRICS and self.path != METRICS_PATH:
            hint = "ask over the control socket itself"
            raise HttpError(403, ONLY_METRICS, code="denied", hint=hint)

    def require(self, identity: Identity | None, names: Mapping[str, str]) -> None:
        """Refuse what this identity may not ask; None is somebody without any credential.

        Raises:
            HttpError: 401 without a credential, 403 without the right, 404 for a network that is
            not seen.
        """
        if self.right is None:
            return
        if identity is None:
            raise HttpError(401, NEEDS_TOKEN, code="token", hint="sign in, or send a token")
        if isinstance(self.right, Right):
            require_right(identity, self.right)
        if self.scope is NetworkScope.GATEWAY and not identity.sees_all:
            text = f"permission denied: {identity.user} may not see the whole gateway"
            hint = f"this needs a token for all networks; its are: {', '.join(identity.networks)}"
            raise HttpError(403, text, code="denied", hint=hint)
        if self.scope is NetworkScope.NETWORK and not identity.sees(names.get("network", "")):
            raise no_network(names.get("network", ""))


def require_right(identity: Identity, right: Right) -> None:
    """Raises: HttpError 403 that says what is missing, and which roles have it."""
    if identity.may(right):
        return
    if not identity.credential:
        raise HttpError(403, NEEDS_CHANGE, code="denied", hint=RIGHTS)
    text = f"permission denied: {identity.user} lacks the right `{right}`"
    hint = f"roles with it: {', '.join(roles_with(right))}"
    raise HttpError(403, text, code="denied", hint=hint)


def no_network(name: str) -> HttpError:
    """The answer about a network that is not there, or not seen by who asks."""
    return HttpError(404, f"there is no network {name[:SHOWN_MAX]}")
