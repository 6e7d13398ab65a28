"""Where events are sent: /etc/warpd/notify.yaml, as models."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from warpd.service.unit_settings import UnitSettings, read_settings
from warpd.store.event_log import known_kind

PREFIX: Final = "whsec_"
SECRET_MIN, SECRET_MAX = 24, 64  # bytes, as the Standard Webhooks specification says


def _secret(text: str) -> str:
    try:
        raw = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raw = b""
    if not text.startswith(PREFIX) or not SECRET_MIN <= len(raw) <= SECRET_MAX:
        raise ValueError("no secret: `warpd-notify --new-secret` prints one")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.username is not None or not parts.hostname:
        raise ValueError("no URL without a user, such as https://hooks.example.com/warpd")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
        raise ValueError("https is required, but on loopback")
    return text


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Webhook(UnitSettings):
    """One receiver.

    - `secret`: what its messages are signed with.
    - `kinds`: of events that it gets; none are all.
    - `networks`: patterns of names. With any other than `*`, only events about such a network.
    """

    url: Annotated[str, AfterValidator(_url)]
    secret: Annotated[str, AfterValidator(_secret)]
    kinds: list[Annotated[str, AfterValidator(known_kind)]] = Field(default_factory=list)
    networks: list[str] = Field(default_factory=lambda: ["*"])

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Whether it gets this event."""
        if self.kinds and event["kind"] not in self.kinds:
            return False
        name = str(event.get("network", ""))
        return "*" in self.networks or any(fnmatchcase(name, one) for one in self.networks)

    @property
    def key(self) -> bytes:
        return base64.b64decode(self.secret.removeprefix(PREFIX))


class Settings(UnitSettings):
    webhooks: Annotated[list[Webhook], Field(min_length=1, max_length=32)]


def read_webhooks(path: Path) -> Settings:
    """Read the file; no secret is ever in a message.

    Raises:
        WarpError: it cannot be read, or is wrong.
    """
    return read_settings(path, Settings, "see docs/daemon.md, Webhooks")
