"""Answers of a daemon, given again over a real socket, with other texts put into them.

The answers are those of the product: a simulated daemon of every type of network, asked by its own
handlers. What people and other programs write into such answers (descriptions, names of who did
something, reasons, foreign objects) is replaced, so that a test sees every page with it.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import world
from tests.unit.daemon.simulation import Simulation
from warpd.daemon import handlers
from warpd.daemon.http.view import View
from warpd.daemon.stats import SourceStatus
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.service.queries import ExplainRequest
from warpd.service.views.endpoint_list import presence

# Fields whose text comes from people, other programs or the kernel.
FREE: frozenset[str] = frozenset(
    {
        "description", "by", "message", "hint", "text", "why", "reason", "foreign", "what", "error",
        "gateway", "user", "findings", "awaiting_consent", "label", "after", "before", "path",
        "source", "url", "object", "details", "not_observable", "warnings", "diff", "files",
        "endpoint", "routes", "created_by", "config", "state_dir", "revision",
    }
)  # fmt: skip
TIME = "2026-01-01T00:00:00+00:00"
SESSION = {
    "user": "anna (web)",
    "role": "admin",
    "rights": ["view", "see-addresses", "export", "suspend", "change", "administer"],
    "networks": ["*"],
}


def answers(folder: Path) -> dict[str, Any]:
    """What a daemon with drift, foreign objects and a change that waits says, by path."""
    daemon = Simulation(folder)
    daemon.write(gateway={"name": "gw"}, **_networks())
    daemon.turn(60)
    _disturb(daemon)
    reconciler = daemon.reconciler
    status = handlers.status(reconciler, {})
    explain_request = ExplainRequest("n-corp/lap", "172.20.0.1", "tcp", 443)
    pending = {"number": 2, "by": "x", "until": "2030-01-01T00:00:00+00:00", "left_s": 42.0}
    told = {**daemon.shown, "pending_confirm": {**pending, "rollback_to": 1}}
    told["failing"] = [{"network": "n-web", "times": 2, "next_try_s": 4.0}]
    told["contested_objects"] = [{"object": "x", "network": "n-web"}]
    source = SourceStatus("git", "x", "0123456789abcdef", last_success_s=1.0, error="x")
    told["source"] = source.as_json()
    told["conditions"] = status["conditions"] = [
        {"code": "c", "severity": "error", "text": "x", "hint": "x", "since": None}
    ]
    view = View.of(status, 1, 0, TIME, 0.0)
    found: dict[str, Any] = {
        "/v1/session": SESSION,
        "/v1/daemon": told,
        "/v1/summary": json.loads(b"".join(view.summary(told))),
        "/v1/samples": _samples(),
        "/v1/tokens": {"tokens": [_held("ci-bot")]},
        "/v1/sessions": {"sessions": [{**_held("anna"), "signed_in": TIME}]},
        "/v1/plan": handlers.plan(reconciler, {}),
        "/v1/history": handlers.history(reconciler, {}),
        "/v1/history/1..2": _between(handlers.history(reconciler, {})),
        "/v1/history/1": handlers.entry(reconciler, {"number": 1}) | {"in_force": False},
        "/v1/explain": handlers.explain(reconciler, {"request": explain_request}),
        "/v1/doctor": handlers.doctor(reconciler, {}),
        "/v1/validate": {"valid": False, "findings": [_finding()], "networks": 1, "endpoints": 1},
        "/v1/events": [event.as_json() for event in daemon.mailbox.events()][-40:],
    }
    for network in status["networks"]:
        found |= _of_network(view, network)
    rows = [row for network in status["networks"] for row in _endpoints(network)]
    found["/v1/endpoints"] = _page(rows)
    return json.loads(json.dumps(found))


def _of_network(view: View, network: dict[str, Any]) -> dict[str, Any]:
    name, rows = network["name"], _endpoints(network)
    return {
        f"/v1/summary?network={name}": json.loads(b"".join(view.summary({}, name))),
        f"/v1/endpoints?network={name}&limit=200": _page(rows),
        **{f"/v1/endpoints/{name}/{row['name']}": row for row in rows},
    }


def _page(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All endpoints on one page."""
    beside = {"previous": None, "next": None}
    return {"endpoints": rows, **beside, "first": 1, "total": len(rows)}


def _endpoints(network: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**row, "state": presence(row)} for row in network["endpoints"]]


def _between(history: dict[str, Any]) -> dict[str, Any]:
    """How two entries differ; of a gateway with one, that one and itself."""
    row = history["history"][-1]
    return {"from": row, "to": row, "diff": "x"}


def _held(name: str) -> dict[str, Any]:
    """A token, or a session."""
    times = {"created": TIME, "expires": TIME, "last_used": None}
    return {
        "id": "1a2b",
        "name": name,
        "role": "admin",
        "networks": ["*"],
        "created_by": "x",
        **times,
    }


def _samples() -> dict[str, Any]:
    row = {"time": TIME, "seconds": 300.0, "connected": 2}
    rows = [{**row, "received_bytes": 5000, "sent_bytes": 7}]
    return {"since": row["time"], "every_s": 300, "recorded": True, "samples": rows}


def _networks() -> dict[str, dict[str, Any]]:
    named = world.every_type("namespace")
    named["n_corp"]["resources"][0]["description"] = "x"
    return {
        name.replace("_", "-"): {**body, "description": f"about {name}"}
        for name, body in named.items()
    }


def _finding() -> dict[str, Any]:
    where = {"file": "x", "line": 1, "column": 2}
    finding = {"severity": "error", "code": "c", "path": "x", "message": "x", "hint": "x"}
    return {**finding, "where": where}


def _disturb(daemon: Simulation) -> None:
    """A peer is gone, and another program has taken the name of a link."""
    objects = daemon.kernel.objects
    peer = next(item for item in objects.values() if isinstance(item, WireguardPeer))
    others = (item for item in objects.values() if item.group not in (peer.group, ""))
    link = next(item.key for item in others if item.key.kind == "link")
    del objects[peer.key], objects[link]
    daemon.kernel.foreign[link] = "x"


def replaced(value: Any, text: str, name: str = "") -> Any:
    """The same answer with this text in every free field."""
    if isinstance(value, dict):
        if name == "files":
            return {text: text}
        return {key: replaced(item, text, key) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, text, name) for item in value]
    return text if isinstance(value, str) and name in FREE else value


Heard = Callable[[str, Mapping[str, str]], None]  # takes a path and the headers of a request


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    documents: Mapping[str, Any]
    heard: Heard


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.heard(self.path, dict(self.headers))
        documents = self.server.documents
        found = documents.get(self.path, documents.get(urlsplit(self.path).path))
        body = json.dumps(found if found is not None else {"error": "none"})
        if isinstance(found, list):
            body = "".join(json.dumps(row) + "\n" for row in found)
        self.send_response(404 if found is None else 200)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # it is not read to its end
            self.wfile.write(body.encode())

    do_POST = do_GET

    def log_message(self, *_words: Any) -> None:
        """Nothing."""


@contextmanager
def serving(
    path: Path, documents: Mapping[str, Any], heard: Heard = lambda _path, _headers: None
) -> Iterator[Callable[[Any], None]]:
    """Answer on this socket; what is yielded takes other documents."""
    server = _Server(str(path), _Handler)
    server.documents, server.heard = documents, heard
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()

    def change(others: Mapping[str, Any]) -> None:
        server.documents = others

    try:
        yield change
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
