"""Bodies of requests that are not changes of the YAML: nothing unknown, nothing of another type."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from warpd.clients import DEFAULT, FORMATS
from warpd.daemon.http.change_requests import WITHIN, Body, Name
from warpd.service.credentials import DAYS_DEFAULT, DAYS_MAX
from warpd.service.rights import ROLES
from warpd.service.users import GLOB, NAME

NUMBER_MAX: Final = 999_999_999  # of an entry of the history
SECRET_MAX: Final = 1024  # characters of a password, a code or a link's secret
REASON_MAX: Final = 1000  # characters that may be sent; the log keeps fewer
GLOBS_MAX: Final = 100
MINUTES_DEFAULT: Final = 15
MINUTES_MIN: Final = 5
MINUTES_MAX: Final = 24 * 60

# Bounds that stand in `json_schema_extra` are for the description: the handler refuses the rest,
# in words of its own.
Secret = Annotated[str, Field(max_length=SECRET_MAX)]
Reason = Annotated[str, Field(max_length=REASON_MAX, json_schema_extra={"pattern": r"[!-~]"})]
Glob = Annotated[str, Field(json_schema_extra={"pattern": f"^(?:{GLOB.pattern})$"})]
EndpointName = Annotated[
    str,
    Field(max_length=200, json_schema_extra={"pattern": "^[a-z0-9-]+/[a-z0-9-]+$"}),
]


STARS: Final = ["*"]


class NoBody(Body):
    """An empty body."""


class ApplyBody(Body):
    """How the YAML is applied: `yes` accepts risks, `digest` names the reviewed plan."""

    yes: bool = False
    digest: Name | None = None
    confirm_within_s: Annotated[int, WITHIN] | None = None


class RollbackBody(Body):
    """What is gone back to: `to`, a number of the history; `files`: the YAML too."""

    to: Annotated[int, Field(ge=0, le=NUMBER_MAX)] | None = None
    files: bool = False


class ExportBody(Body):
    """Which config is handed out, and why."""

    endpoint: EndpointName
    reason: Reason
    format: Annotated[str, Field(json_schema_extra={"enum": list(FORMATS)})] = DEFAULT.name
    qr: bool = False


class LinkBody(Body):
    """Which config a link leads to, for how long, and the PIN that it asks for."""

    endpoint: EndpointName
    minutes: Annotated[
        int, Field(json_schema_extra={"minimum": MINUTES_MIN, "maximum": MINUTES_MAX})
    ] = MINUTES_DEFAULT
    pin: Annotated[str, Field(json_schema_extra={"pattern": "^(.{4,32})?$"})] = ""
    reason: Reason = "one-time link"


class RedeemBody(Body):
    """The secret of a link, and its PIN."""

    secret: Secret
    pin: Secret = ""


class LoginCode(Body):
    """A login code."""

    login: Secret


class Password(Body):
    """A password, and a one-time password where the account has these."""

    password: Secret
    otp: Secret = ""


class UserPassword(Password):
    """A user's password."""

    user: Name


class OidcCode(Body):
    """A code of the provider, with what it was asked for with: RFC 6749, 4.1.3; RFC 7636, 4.5."""

    code: Annotated[str, Field(min_length=1, max_length=4096)]
    verifier: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43,128}$")]
    nonce: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,128}$")]
    redirect_uri: Annotated[str, Field(pattern=r"^https?://[!-~]{3,300}$")]


class TokenBody(Body):
    """A token for a program; `networks` are globs."""

    name: Annotated[str, Field(json_schema_extra={"pattern": f"^(?:{NAME.pattern})$"})]
    role: Annotated[str, Field(json_schema_extra={"enum": list(ROLES)})]
    networks: Annotated[list[Glob], Field(min_length=1, max_length=GLOBS_MAX)] = STARS
    days: Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": DAYS_MAX})] = (
        DAYS_DEFAULT
    )
