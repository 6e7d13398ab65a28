"""A daemon on the kernel in memory behind a real control socket, and credentials of every role."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests import world
from tests.unit.daemon.http.contract import Contracted
from tests.unit.daemon.simulation import SILENT_LOG, Simulation
from warpd.daemon.handlers import ANSWERS
from warpd.daemon.http.credentials import Credentials
from warpd.daemon.http.server import Server
from warpd.errors import WarpError
from warpd.kernel.api import Dump
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import PeerTraffic
from warpd.service import users
from warpd.store.tokens import SESSION_S, TokenKind, TokenSpec

OUTER = "198.51.100.77"  # where every endpoint connects from
PASSWORD = "correct horse battery"
SEEN = "yankee"  # the network that scoped identities see
# Words that are of other networks, and of nothing else.
UNSEEN = ("zebra", "quagga", "lima-phone", "mike-laptop", "10.66.0.", "fd66:")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Line(Contracted):
    """HTTP over the control socket; every answer is held to the description of the API."""

    def __init__(self, path: Path) -> None:
        super().__init__("warpd", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter, and that is removed afterwards.

    Folders of pytest will not do, even if they are opened: any other pytest of this user that
    starts meanwhile closes the one that holds them all (TempPathFactory.getbasetemp).
    """
    with tempfile.TemporaryDirectory(prefix="warpd-test.") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


class Served:
    """The daemon; its requests are answered on a thread, as its loop does between two passes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon = Simulation(folder)
        self.daemon.write(
            yankee=world.network(2, description="ours"),
            zebra=other("lima-phone", "10.66.0.0/24", "fd66::/64"),
            quagga=other("mike-laptop", "10.66.0.0/24", "fd66::/64", isolation="namespace"),
        )
        self.daemon.turn(60)
        self.daemon.now_s = time.monotonic()  # from now on, the clock of those who ask
        self._connect_all()
        self.users = folder / "users.yaml"
        self.credentials = Credentials(self.daemon.state, self.users, SILENT_LOG)
        self.path = folder / "sock"
        self.server = Server(self.daemon.mailbox, self.path, self.credentials, SILENT_LOG)
        self._over = threading.Event()
        self._loop = threading.Thread(target=self._answer_all, daemon=True)

    def __enter__(self) -> Served:
        self._loop.start()
        self.server.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        self.server.stop()
        self._over.set()
        self._loop.join()

    def _connect_all(self) -> None:
        """Let every peer have a handshake, from one outer address."""
        plain = self.daemon.kernel.dump

        def dump(netns: str, *words: Any) -> Dump:
            found = plain(netns, *words)
            peers = [item for item in found.objects if isinstance(item, WireguardPeer)]
            row = PeerTraffic(5, 7, int(time.time()) - 9, f"{OUTER}:7777")
            return replace(found, traffic={peer.key: row for peer in peers})

        self.daemon.kernel.dump = dump  # type: ignore[method-assign]

    def _answer_all(self) -> None:
        while not self._over.wait(0.002):
            for request in self.daemon.mailbox.requests():
                self._answer(request)

    def _answer(self, request: Any) -> None:
        try:
            data = ANSWERS[request.verb](self.daemon.reconciler, request.arguments)
            is_status = request.verb == "status"
            self.daemon.now_s = time.monotonic()
            request.answer.set_result(self.daemon.publisher.view(data) if is_status else data)
        except WarpError as failure:
            request.answer.set_exception(failure)

    # -- credentials

    def token(self, role: str, *networks: str, kind: TokenKind = TokenKind.TOKEN) -> str:
        """A token of this role; of the whole gateway where no networks are named."""
        named = networks or ("*",)
        spec = TokenSpec(kind, f"{role}-bot", role, named, "", "test", SESSION_S)
        return self.credentials.tokens.make(spec)[1]

    def add_users(self, *people: users.User) -> None:
        rows = {
            user.name: {
                "role": user.role,
                "networks": list(user.networks),
                **({"password": user.password} if user.password else {}),
                **({"totp": user.totp} if user.totp else {}),
                "disabled": user.disabled,
            }
            for user in people
        }
        beside = self.users.with_name("users.new")
        beside.write_text(json.dumps({"version": 1, "users": rows}))
        beside.chmod(0o600)
        beside.rename(self.users)

    # -- asking

    def ask(
        self,
        method: str,
        path: str,
        token: str = "",
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        with contextlib.closing(Line(self.path)) as line:
            line.request(method, path, None if body is None else json.dumps(body), sent)
            answer = line.getresponse()
            return Answer(answer.status, answer.read(), dict(answer.headers))


def other(endpoint: str, subnet: str, subnet6: str, **fields: Any) -> dict[str, Any]:
    """A network with one endpoint of this name, that nobody else may hear of."""
    body = world.network(1, subnet=subnet, subnet6=subnet6, **fields)
    return {**body, "endpoints": {endpoint: {"type": "mobile"}}, "description": f"of {endpoint}"}


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Served]:
    with Served(folder) as made:
        yield made
