"""Routes of sessions and tokens: signing in, who one is, and what others hold."""

from __future__ import annotations

from typing import Any, Final

from warpd.daemon.http import answers
from warpd.daemon.http.bodies import LoginCode, OidcCode, Password, TokenBody, UserPassword
from warpd.daemon.http.change_requests import body_of
from warpd.daemon.http.credentials import Credentials, Proof, require_fresh
from warpd.daemon.http.messages import (
    HttpError,
    HttpRequest,
    HttpResponse,
    json_response,
    private_response,
)
from warpd.daemon.http.route import Asker, HttpRoute, NetworkScope
from warpd.daemon.http.services import Services
from warpd.errors import WarpError
from warpd.service.credentials import (
    TokenRequest,
    identity_of,
    iso,
    make_token,
    seconds_ago,
    token_json,
)
from warpd.service.rights import Identity, Right
from warpd.store.tokens import Token, TokenKind

# One text whatever was wrong: nobody learns which names there are.
WRONG: Final = "the name, the password or the link is wrong, used or over"


async def show_session(services: Services, request: HttpRequest) -> HttpResponse:
    """Who asks, with which role, rights and networks, and until when."""
    return json_response({"version": 1, **session_json(request.who)})


async def sign_in(services: Services, request: HttpRequest) -> HttpResponse:
    """Sign in by {"login": CODE}, by {"user", "password", "otp"}, or by what a provider has given:
    {"code", "verifier", "nonce", "redirect_uri"}. The token is shown once.
    """
    credentials = services.credentials
    found = await _proved(credentials, request, None)
    if found is None:
        raise HttpError(401, WRONG, code="sign-in", hint="or sign in by `warpctl web login`")
    token, text = found
    identity = identity_of(token, await credentials.account(token))
    if identity is None:
        raise HttpError(401, WRONG, code="sign-in", hint="or sign in by `warpctl web login`")
    credentials.log.info("signed in", user=identity.user, session=token.id, by=token.created_by)
    data = {"version": 1, "token": text, "session": session_json(identity)}
    return private_response(data)


async def show_oidc(services: Services, _request: HttpRequest) -> HttpResponse:
    """How one signs in by a provider of OpenID Connect, where one is set up."""
    settings = services.credentials.provider.settings()
    offer = {"offered": False, "name": "", "authorization_endpoint": "", "client_id": ""}
    if settings is not None:
        named = {name: getattr(settings, name) for name in offer if name != "offered"}
        offer = {"offered": True, **named}
    scope = " ".join(settings.scopes) if settings is not None else ""
    return json_response({"version": 1, **offer, "scope": scope})


async def step_up(services: Services, request: HttpRequest) -> HttpResponse:
    """Prove again who the user of this session is, by password or by a new login code."""
    identity, credentials = _session(request), services.credentials
    if not await _proved_again(credentials, request, identity):
        raise HttpError(401, WRONG, code="sign-in", hint="or use a new link: warpctl web login")
    token = await credentials.work(lambda: credentials.tokens.sign_in_anew(identity.credential))
    if token is None:
        raise HttpError(401, "this session has ended", code="token", hint="sign in again")
    credentials.log.info("signed in anew", user=identity.user, session=token.id)
    fresh = identity_of(token, await credentials.account(token))
    return json_response({"version": 1, **session_json(fresh or identity)})


async def sign_out(services: Services, request: HttpRequest) -> HttpResponse:
    """End the session by which this is asked."""
    identity, credentials = _session(request), services.credentials
    await credentials.work(
        lambda: credentials.tokens.revoke(identity.credential, TokenKind.SESSION)
    )
    credentials.log.info("signed out", user=identity.user, session=identity.credential)
    return json_response({"version": 1, "ended": identity.credential})


async def show_sessions(services: Services, request: HttpRequest) -> HttpResponse:
    """The open sessions of all users."""
    rows = await _listed(services.credentials, TokenKind.SESSION)
    shown = [{**token_json(row), "signed_in": iso(row.signed_in_s)} for row in rows]
    return json_response({"version": 1, "sessions": shown})


async def end_session(services: Services, request: HttpRequest) -> HttpResponse:
    """End a session of anybody."""
    return await _revoked(services.credentials, request, TokenKind.SESSION)


async def show_tokens(services: Services, request: HttpRequest) -> HttpResponse:
    """The tokens of programs, without what they are."""
    rows = await _listed(services.credentials, TokenKind.TOKEN)
    return json_response({"version": 1, "tokens": [token_json(row) for row in rows]})


async def create_token(services: Services, request: HttpRequest) -> HttpResponse:
    """Make a token by {"name", "role", "networks", "days"}; it is shown once."""
    credentials = services.credentials
    asked = body_of(TokenBody, request.arguments)
    require_fresh(request.who)
    token_request = TokenRequest(asked.name, asked.role, tuple(asked.networks), asked.days)
    try:
        token_request.check()
    except WarpError as failure:
        raise HttpError(400, failure.message, code=failure.code) from failure
    token, text = await credentials.work(
        lambda: make_token(credentials.tokens, token_request, request.who.user)
    )
    about = {"id": token.id, "name": token.user, "role": token.role}
    credentials.log.info("token made", **about, by=request.who.user)
    return private_response({"version": 1, "token": text, **token_json(token)})


async def revoke_token(services: Services, request: HttpRequest) -> HttpResponse:
    """End a token of a program."""
    return await _revoked(services.credentials, request, TokenKind.TOKEN)


# -- what they share


def session_json(identity: Identity) -> dict[str, Any]:
    """An identity as it is shown to itself."""
    return {
        "user": identity.user,
        "role": identity.role or None,
        "rights": [right.value for right in Right if identity.may(right)],
        "networks": list(identity.networks),
        "expires": iso(identity.expires_s) if identity.expires_s else None,
        "signed_in_s_ago": seconds_ago(identity.signed_in_s) if identity.signed_in_s else None,
        "credential": identity.credential or None,
        "kind": _kind(identity),
    }


def _kind(identity: Identity) -> str:
    if not identity.credential:
        return "socket"
    return str(TokenKind.SESSION if identity.signed_in_s else TokenKind.TOKEN)


def _session(request: HttpRequest) -> Identity:
    """Who asks. Raises: HttpError where it is not by a session."""
    if _kind(request.who) != TokenKind.SESSION:
        raise HttpError(409, "this is not asked by a session", code="no-session", hint="sign in")
    return request.who


async def _proved(
    credentials: Credentials, request: HttpRequest, of: Identity | None
) -> tuple[Token, str] | None:
    """A session for what the body proves. Raises: HttpError for a body of another shape."""
    if "login" in request.arguments:
        code = body_of(LoginCode, request.arguments).login
        return await credentials.redeem(code, request.source, of)
    if "code" in request.arguments:
        return await credentials.sign_in_by_code(
            body_of(OidcCode, request.arguments), request.source
        )
    asked = body_of(UserPassword, request.arguments)
    return await credentials.sign_in(Proof(asked.user, asked.password, asked.otp), request.source)


async def _proved_again(credentials: Credentials, request: HttpRequest, identity: Identity) -> bool:
    """Whether the body proves that this is still the session's user."""
    if "login" in request.arguments:
        code = body_of(LoginCode, request.arguments).login
        made = await credentials.redeem(code, request.source, identity)
        if made is None:
            return False
        await credentials.work(lambda: credentials.tokens.revoke(made[0].id, TokenKind.SESSION))
        return True
    asked = body_of(Password, request.arguments)
    name = identity.user.rpartition(" (")[0]
    proof = Proof(name, asked.password, asked.otp)
    user = await credentials.proved(proof, request.source)
    token = credentials.tokens.tokens().get(identity.credential)
    return user is not None and token is not None and user.state == token.account


async def _listed(credentials: Credentials, kind: TokenKind) -> list[Token]:
    return await credentials.work(lambda: credentials.tokens.listed(kind))


async def _revoked(credentials: Credentials, request: HttpRequest, kind: TokenKind) -> HttpResponse:
    """End one of this kind. Raises: HttpError 404 where there is none."""
    name = request.names["id"]
    ended = await credentials.work(lambda: credentials.tokens.revoke(name, kind))
    if ended is None:
        raise HttpError(404, f"there is no {kind} {name[:8]}", code="unknown-token")
    by = request.who.user
    credentials.log.info("revoked", kind=str(kind), id=name, user=ended.user, by=by)
    return json_response({"version": 1, "revoked": name})


FILTERED, GATEWAY = NetworkScope.FILTERED, NetworkScope.GATEWAY
ADMINISTER: Final = Right.ADMINISTER
GONE: Final = (409,)  # it is not asked by a session
TRIED: Final = (409, 429)  # who tries too often waits
ROUTES: Final = (
    HttpRoute("GET", "/v1/session", Asker.KNOWN, FILTERED, show_session, answers.SessionAnswer),
    HttpRoute(
        "DELETE", "/v1/session", Asker.KNOWN, FILTERED, sign_out, answers.Ended, refusals=(409,)
    ),
    HttpRoute(
        "POST",
        "/v1/session/step-up",
        Asker.KNOWN,
        FILTERED,
        step_up,
        answers.SessionAnswer,
        LoginCode | Password,
        refusals=TRIED,
    ),
    HttpRoute(
        "POST",
        "/v1/sessions",
        None,
        FILTERED,
        sign_in,
        answers.NewSession,
        LoginCode | UserPassword | OidcCode,
        refusals=TRIED,
    ),
    HttpRoute("GET", "/v1/oidc", None, FILTERED, show_oidc, answers.OidcOffer),
    HttpRoute("GET", "/v1/sessions", ADMINISTER, GATEWAY, show_sessions, answers.Sessions),
    HttpRoute(
        "DELETE",
        "/v1/sessions/{id}",
        ADMINISTER,
        GATEWAY,
        end_session,
        answers.Revoked,
        refusals=(404,),
    ),
    HttpRoute("GET", "/v1/tokens", ADMINISTER, GATEWAY, show_tokens, answers.Tokens),
    HttpRoute("POST", "/v1/tokens", ADMINISTER, GATEWAY, create_token, answers.NewToken, TokenBody),
    HttpRoute(
        "DELETE",
        "/v1/tokens/{id}",
        ADMINISTER,
        GATEWAY,
        revoke_token,
        answers.Revoked,
        refusals=(404,),
    ),
)
