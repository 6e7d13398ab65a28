"""What the last look showed, as bytes that many readers share. Pure.

The loop makes a view and never changes it; whoever reads it makes the loop do nothing. Networks are
kept apart, so that one of them can be read, and a large gateway is never serialised in one go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from warpd.daemon.http import visibility
from warpd.service.rights import Identity, Right
from warpd.service.views.endpoint_list import counted

BLOCK_BYTES: Final = 64 * 1024
KEPT_MAX: Final = 32  # shares of one view that are kept for further readers


@dataclass(frozen=True, slots=True)
class NetworkView:
    """One network: its own fields, `{...` without the end, the list of its endpoints, and what is
    counted of these.
    """

    fields: bytes
    endpoints: bytes
    counted: bytes

    def pieces(self) -> Iterator[bytes]:
        yield from (self.fields, b', "endpoints": ', self.endpoints, b"}")

    def summary(self) -> Iterator[bytes]:
        """Without the endpoints, but with what is counted of them."""
        yield from (self.fields, b', "counted": ', self.counted, b"}")

    def fields_json(self) -> dict[str, Any]:
        """Its own fields, without the endpoints."""
        found: dict[str, Any] = json.loads(self.fields + b"}")
        return found

    def seen_by(self, who: Identity, names: frozenset[str]) -> NetworkView:
        """The same for somebody who does not see the networks `names`."""
        fields, endpoints = self.fields, self.endpoints
        if names:
            fields = _open(visibility.network_fields(self.fields_json(), names))
        if not who.may(Right.SEE_ADDRESSES):
            endpoints = _bytes(visibility.without_outer(json.loads(endpoints)))
        return NetworkView(fields, endpoints, self.counted)


@dataclass(frozen=True, slots=True)
class View:
    """The status of one moment."""

    generation: int  # counts views, from 1
    moment: int  # `Mailbox.moment` when the look began
    as_of: str  # when the look was, ISO 8601 in UTC
    at_s: float  # the same by the clock of `time.monotonic`
    version: int  # of the JSON's shape
    before: bytes  # the status up to its networks, `{...` without the end
    after: bytes  # what follows them, `, ...`; b"" for nothing
    networks: Mapping[str, NetworkView]
    # what identities see of it, by their networks and whether they see addresses
    _shares: dict[tuple[Any, ...], View] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(data: Mapping[str, Any], generation: int, moment: int, as_of: str, at_s: float) -> View:
        """Of what `warpctl status -o json` shows, `version` first."""
        names = list(data)
        place = names.index("networks")
        before, after = (
            {name: data[name] for name in part} for part in (names[:place], names[place + 1 :])
        )
        networks = {network["name"]: _network(network) for network in data["networks"]}
        rest = b", " + _bytes(after)[1:-1] if after else b""
        return View(generation, moment, as_of, at_s, data["version"], _open(before), rest, networks)

    def seen_by(self, who: Identity) -> View:
        """What somebody sees of it; made once for all who see the same."""
        if visibility.sees_everything(who):
            return self
        key = (who.networks, who.may(Right.SEE_ADDRESSES))
        if key not in self._shares:
            if len(self._shares) >= KEPT_MAX:
                self._shares.clear()
            self._shares[key] = self._share(who)
        return self._shares[key]

    def _share(self, who: Identity) -> View:
        names = visibility.unseen(self.networks, who)
        networks = {
            name: network.seen_by(who, names)
            for name, network in self.networks.items()
            if name not in names
        }
        if who.sees_all:
            return replace(self, networks=networks, _shares={})
        rows = [network.fields_json() for network in networks.values()]
        head = visibility.status_head(json.loads(self.before + b"}"), rows, who)
        tail = visibility.status_tail(json.loads(b"{" + self.after[1:] + b"}"), who)
        after = b", " + _bytes(tail)[1:-1]
        return replace(self, before=_open(head), after=after, networks=networks, _shares={})

    def status(self, daemon: Mapping[str, Any]) -> Iterator[bytes]:
        """The whole, with the daemon's own part and its conditions; in pieces."""
        return self._whole(daemon, map(NetworkView.pieces, self.networks.values()))

    def summary(self, daemon: Mapping[str, Any], network: str = "") -> Iterator[bytes]:
        """The same without endpoints, but with what is counted of them; of all networks, or of one
        that there is.
        """
        found = [self.networks[network]] if network else self.networks.values()
        return self._whole(daemon, map(NetworkView.summary, found))

    def _whole(
        self, daemon: Mapping[str, Any], networks: Iterable[Iterable[bytes]]
    ) -> Iterator[bytes]:
        look = {"as_of": self.as_of, "generation": self.generation}
        yield self.before + b', "networks": ['
        yield from _listed(networks)
        yield b"]" + self.after + b', "conditions": ' + _bytes(daemon.get("conditions", []))
        yield b', "daemon": ' + _bytes({**daemon, "look": look}) + b"}\n"

    def all_networks(self) -> Iterator[bytes]:
        """`version` and `networks`, in pieces."""
        yield b'{"version": %d, "networks": [' % self.version
        yield from _listed(map(NetworkView.pieces, self.networks.values()))
        yield b"]}\n"

    def network(self, name: str) -> Iterator[bytes]:
        """Raises: KeyError when there is no such network."""
        found = self.networks[name]
        yield b'{"version": %d, ' % self.version + found.fields[1:] + b', "endpoints": '
        yield from (found.endpoints, b"}\n")

    def endpoints(self, name: str) -> Iterator[bytes]:
        """Raises: KeyError when there is no such network."""
        found = self.networks[name]
        yield from (b'{"version": %d, "endpoints": ' % self.version, found.endpoints, b"}\n")


def _listed(rows: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """Rows, each in pieces, with commas between them."""
    between = b""
    for row in rows:
        yield between
        yield from row
        between = b", "


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer parts; a large part is passed on as it is."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= BLOCK_BYTES:
            yield b"".join(waiting) if len(waiting) > 1 else piece
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _network(network: Mapping[str, Any]) -> NetworkView:
    fields = {key: value for key, value in network.items() if key != "endpoints"}
    endpoints = network["endpoints"]
    return NetworkView(_open(fields), _bytes(endpoints), _bytes(counted(endpoints)))


def _open(fields: Mapping[str, Any]) -> bytes:
    """An object of at least one field, without its end."""
    return _bytes(fields)[:-1]


def _bytes(data: Any) -> bytes:
    return json.dumps(data).encode()
