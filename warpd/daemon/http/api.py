"""The ASGI application behind the control socket.

Each route has the right that it needs (`route`); here, and nowhere else, it is held against who
asks: by a token where one came with the request, whoever the peer is, and else by the kernel's
word about the peer. What needs kernel or files of the gateway goes through the mailbox to the loop,
which alone touches them; a slow, large or malformed request never reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from warpd.daemon.http.auth import PeerCredentials, identity_of
from warpd.daemon.http.branches import Branches
from warpd.daemon.http.connection import Receive, Scope, Send
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.messages import (
    HttpError,
    HttpRequest,
    HttpResponse,
    arguments_of,
    json_response,
    query_of,
    send_response,
)
from warpd.daemon.http.parameters import check_query
from warpd.daemon.http.route import HttpRoute
from warpd.daemon.http.routes import find
from warpd.daemon.http.services import Services
from warpd.daemon.http.statuses import status_of
from warpd.daemon.http.visibility import redacted, unseen
from warpd.daemon.mailbox import Mailbox
from warpd.errors import InvalidIntent, WarpError, render_finding
from warpd.service.rights import Identity
from warpd.service.views.render import finding_json


class Api:
    """The ASGI application."""

    def __init__(
        self, mailbox: Mailbox, interval_s: float, credentials: Credentials, branches: Branches
    ) -> None:
        """`interval_s` is the time between two looks of the loop at everything."""
        self._services = Services(mailbox, interval_s, credentials, branches)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._services.started()
        try:
            response = await self._respond(scope, receive)
        except HttpError as failure:
            response = replace(json_response(failure.body, failure.status), headers=failure.headers)
        except WarpError as failure:
            error = as_http_error(failure)
            response = json_response(error.body, error.status)
        await send_response(send, response)

    async def _respond(self, scope: Scope, receive: Receive) -> HttpResponse:
        """Raises: HttpError for what there is not, or for who asks without the right to it;
        WarpError.
        """
        route, names = find(scope["method"], scope["path"])
        peer: PeerCredentials = scope["warpd.peer"]
        route.require_path(peer)
        identity = await self._services.credentials.identify(scope["headers"]) or identity_of(peer)
        route.require(identity, names)
        request = await self._request(scope, receive, route, names, identity)
        try:
            return await route.handler(self._services, request)
        except WarpError as failure:
            if identity is None or identity.sees_all:
                raise
            raise self._less(as_http_error(failure), identity) from failure

    def _less(self, failure: HttpError, identity: Identity) -> HttpError:
        """A failure without what it may say of networks that this identity does not see."""
        kept = {key: failure.body.get(key) for key in ("code", "exit_code")}
        view = self._services.mailbox.view
        if view is None:
            return HttpError(failure.status, "this cannot be answered now", **kept)
        names = unseen(view.networks, identity)
        return HttpError(failure.status, redacted(failure.body["error"], names), **kept)

    async def _request(
        self,
        scope: Scope,
        receive: Receive,
        route: HttpRoute,
        names: Mapping[str, str],
        identity: Identity | None,
    ) -> HttpRequest:
        """Raises: HttpError for a query or body that is malformed."""
        query = query_of(scope)
        check_query(route.query, query)
        arguments, size = await arguments_of(receive, route.body_max)
        return HttpRequest(
            method=route.method,
            path=route.path,
            peer=scope["warpd.peer"],
            identity=identity,
            names=names,
            query={name: values[0] for name, values in query.items()},
            headers=scope["headers"],
            arguments=arguments,
            body_bytes=size,
            gone=receive,
        )


def as_http_error(failure: WarpError) -> HttpError:
    """A failure of ours, as an answer."""
    findings = failure.findings if isinstance(failure, InvalidIntent) else ()
    more = {
        "code": failure.code,
        "hint": failure.hint,
        "exit_code": failure.exit_code,
        "findings": [render_finding(item) for item in findings],
        "problems": [finding_json(item) for item in findings],
    }
    return HttpError(status_of(failure), failure.message, **more)
