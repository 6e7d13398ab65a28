"""A small provider of OpenID Connect on loopback, and what systemd does for warpd-oidc.socket.

A code is good once, for the client, the redirect and the PKCE challenge that it was asked for with.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.unit_socket import by_process, listening
from warpd.oidc.main import answer_to

CLIENT = "warpd"
KEYS: dict[str, RSAKey | ECKey] = {
    "a": RSAKey.generate_key(2048, {"kid": "a"}),
    "b": ECKey.generate_key("P-256", {"kid": "b"}),
}
STRANGER = RSAKey.generate_key(2048, {"kid": "a"})  # says that it is ours

Sign = Callable[[dict[str, Any]], str]


def signed(claims: Mapping[str, Any], alg: str = "RS256", kid: str = "a", key: Any = None) -> str:
    header = {"alg": alg, "kid": kid, "typ": "JWT"}
    return jwt.encode(header, dict(claims), key or KEYS[kid], algorithms=[alg])


def part(data: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


class Provider:
    """The provider; `person` are the claims of whoever sits before it, `sign` makes its tokens."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.person: dict[str, Any] = {
            "sub": "4711",
            "email": "Anna@Example.com",
            "email_verified": True,
            "groups": ["staff", "netops"],
        }
        self.sign: Sign = signed
        self.asked: list[dict[str, str]] = []  # for tokens
        self._codes: dict[str, dict[str, str]] = {}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent to, once the person has agreed."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        self.asked.append(form)
        query = self._codes.pop(form["code"], None)
        if query is None:
            return None
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        same = [form[name] == query[name] for name in ("client_id", "redirect_uri")]
        if challenge != query["code_challenge"] or not all(same):
            return None
        now = int(time.time())
        times = {"iat": now, "exp": now + 300}
        if "max_age" in query:
            times["auth_time"] = now
        about = {"iss": self.issuer, "aud": CLIENT, "nonce": query["nonce"], **times}
        return {"token_type": "Bearer", "id_token": self.sign({**about, **self.person})}

    def settings(self, **more: Any) -> dict[str, Any]:
        paths = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        rules = [
            {"claim": "groups", "value": "netops", "role": "operator", "networks": ["yankee"]},
            {"claim": "sub", "value": "1", "role": "admin"},
        ]
        about = {"version": 1, "name": "Example login", "issuer": self.issuer, "client_id": CLIENT}
        return {
            **about,
            **{name: f"{self.issuer}/{name}" for name in paths},
            "roles": rules,
            **more,
        }


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/jwks_uri":
            self._json({"keys": [key.as_dict(private=False) for key in KEYS.values()]})
            return
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        self.send_response(302)
        self.send_header("location", self.provider.authorize(query))
        self.end_headers()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"])).decode()
        answer = self.provider.token({name: row[-1] for name, row in parse_qs(raw).items()})
        self._json(answer or {"error": "invalid_grant"}, 200 if answer else 400)

    def _json(self, data: Mapping[str, Any], status: int = 200) -> None:
        raw = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_words: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made = Provider(server.server_port)
    server.RequestHandlerClass = type("Handler", (_Handler,), {"provider": made})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def oidc_unit(folder: Path, as_processes: bool = False) -> Iterator[Path]:
    """Answer at `oidc.sock` in the folder, by what `oidc/` has; what is yielded is the socket."""
    path, settings = folder / "oidc.sock", folder / "oidc"
    process = by_process("warpd.oidc.main", ["--credentials", str(settings)])
    with listening(path, process if as_processes else lambda it: _here(it, settings)):
        yield path


def _here(connection: socket.socket, folder: Path) -> None:
    with connection.makefile("rb") as stream:
        connection.sendall(json.dumps(answer_to(stream, folder)).encode() + b"\n")
