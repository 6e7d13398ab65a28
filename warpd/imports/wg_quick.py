"""Import a server's wg-quick config (wg(8), wg-quick(8)) as one network. Pure.

Private key, port and addresses are kept, so that existing clients keep working. The config does not
state a network type, so the operator must name it. warpd does the work of hooks and routing tables
itself: they are reported and not imported.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from pathlib import PurePath
from typing import Any, Final

from warpd.imports.found import (
    ImportBuilder,
    ImportOptions,
    ImportResult,
    decoded,
    free,
    loses_letters,
    says_something,
    slug,
)
from warpd.intent.network_types import NETWORK_TYPES

KIND: Final = "a wg-quick config"
_NO_KEY: Final = "A" * 43 + "="  # WireGuard reads an all-zero preshared key as none
_LEFT_OUT: Final = (
    "dns",
    "table",
    "fwmark",
    "saveconfig",
    "preup",
    "postup",
    "predown",
    "postdown",
)
_KNOWN: Final = {
    "interface": ("privatekey", "listenport", "address", "mtu"),
    "peer": ("publickey", "presharedkey", "allowedips", "endpoint", "persistentkeepalive"),
}
_NAMED = re.compile(
    r"(client|(?:friendly_)?name|begin(?:_peer)?|user|peer)(?:\s*[:=]\s*|\s+)(.+)", re.I
)
# These words are part of the name if only a number follows, as in `user 7`.
_KINDS: Final = ("client", "user", "peer")
_JSON = re.compile(r"friendly_json\s*=\s*(\{.*\})", re.I)
_OFF = re.compile(r"#+\s*\[\s*peer\s*\]", re.I)
_CLOSING = re.compile(r"end(_peer)?\b", re.I)


@dataclass(slots=True)
class _Section:
    """One section of a config.

    `above` and `inside` hold the comments above and inside it, `values` holds (line, key in lower
    case, value).
    """

    kind: str
    line: int
    above: list[str]
    values: list[tuple[int, str, str]] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)

    def all(self, key: str) -> list[tuple[int, str]]:
        """Return the comma-separated parts of all values of a key, each with its line."""
        return [
            (line, part.strip())
            for line, k, text in self.values
            if k == key
            for part in text.split(",")
            if part.strip()
        ]

    def one(self, key: str) -> tuple[int, str]:
        """Return the last value of a key, which is the one that `wg` uses, with its line.

        Return line 0 and "" if the key is missing.
        """
        found = [(line, text) for line, k, text in self.values if k == key]
        return found[-1] if found else (0, "")


def is_mine(head: bytes) -> bool:
    """Whether a file with these first bytes is a WireGuard config."""
    return b"[interface]" in head.lower()


def read(raw: bytes, wanted: ImportOptions) -> ImportResult:
    """Read a config. All problems are in the findings of the result."""
    builder = ImportBuilder(wanted)
    sections = list(_SectionReader(builder).read(raw.decode("utf-8", "replace")))
    heads = [item for item in sections if item.kind == "interface"]
    name = slug(wanted.name or PurePath(wanted.file).stem) or "imported"
    if wanted.kind not in NETWORK_TYPES:
        builder.error(
            "",
            "a wg-quick config does not say what may pass",
            f"--type {', --type '.join(NETWORK_TYPES)}",
            1,
        )
    if len(heads) != 1:
        line = heads[1].line if heads else 1
        text = f"has {len(heads)} [Interface] sections, a server's config has one"
        builder.error("", text, "", line)
        return builder.done()
    body: dict[str, Any] = {"type": wanted.kind}
    subnets = _interface(heads[0], name, body, builder)
    body["endpoints"] = _peers(
        [item for item in sections if item.kind == "peer"], name, subnets, builder
    )
    if builder.sound(f"networks.{name}"):
        builder.networks[name] = body
    return builder.done()


class _SectionReader:
    """Reads a config line by line. Comments above a section or a value belong to it."""

    def __init__(self, builder: ImportBuilder) -> None:
        self._finds = builder
        self._section: _Section | None = None
        self._pending: list[str] = []  # comments since the last section or value
        self._is_off = False  # within a peer that is commented out

    def read(self, text: str) -> Iterator[_Section]:
        for number, line in enumerate(text.splitlines(), 1):
            if _OFF.match(line.strip()):
                self._pending, self._is_off = [], True
                continue
            content, _, comment = (part.strip() for part in line.lstrip("\ufeff").partition("#"))
            self._take_comment(content, comment)
            if content.startswith("["):
                yield from self._done()
                self._begin(content, number)
            elif content:
                self._take_value(content, number)
            elif not comment:
                self._pending = []
        yield from self._done()

    def _done(self) -> Iterator[_Section]:
        if self._section is not None:
            yield self._section

    def _take_comment(self, content: str, comment: str) -> None:
        """Store a comment, unless it belongs to a peer that is commented out."""
        self._is_off = self._is_off and not content and "=" in comment
        text = comment.strip("# ")
        if text and not self._is_off:
            self._pending.append(text)

    def _begin(self, content: str, number: int) -> None:
        kind = content.strip("[]").strip().lower()
        if kind not in _KNOWN:
            text = f"there is no section {content[:40]} in a WireGuard config"
            self._finds.error("", text, "", number)
        self._section = _Section(kind, number, self._pending)
        self._pending = []

    def _take_value(self, content: str, number: int) -> None:
        key, equals, value = (part.strip() for part in content.partition("="))
        if not equals or self._section is None:
            self._finds.error("", "is neither a section nor KEY = VALUE", "", number)
            return
        self._section.inside = [*self._section.inside, *self._pending]
        self._pending = []
        self._section.values.append((number, key.lower(), value))


def _interface(
    head: _Section, name: str, body: dict[str, Any], builder: ImportBuilder
) -> list[IPv4Network | IPv6Network]:
    _left_out(head, builder)
    builder.place(f"networks.{name}", head.line)
    for key, field_ in (
        ("privatekey", "private_key_file"),
        ("listenport", "port"),
        ("mtu", "mtu"),
        ("address", "subnet"),
        ("address", "gateway_address"),
        ("address", "expected_users"),
    ):
        builder.place(f"networks.{name}.{field_}", head.one(key)[0])
    line, private = head.one("privatekey")
    file = builder.key(
        f"networks.{name}", f"{name}.key", private, "PrivateKey of [Interface]", line or head.line
    )
    body["private_key_file"] = file
    for key, field_, low, high in (("listenport", "port", 1, 65535), ("mtu", "mtu", 576, 65455)):
        line, text = head.one(key)
        if text.isascii() and text.isdigit() and low <= int(text) <= high:
            body[field_] = int(text)
        elif text or field_ == "port":
            what = f"{key} must be a number from {low} to {high}"
            builder.error(
                f"networks.{name}.{field_}",
                what,
                "what `wg show` says of the running device",
                line or head.line,
            )
    return _addresses(head, name, body, builder)


def _left_out(section: _Section, builder: ImportBuilder) -> None:
    for line, key, _ in section.values:
        if key in _LEFT_OUT and section.kind == "interface":
            builder.warning(
                "",
                f"{key} is not taken over",
                "warpd routes, filters and translates by the network's type",
                line,
            )
        elif key not in _KNOWN.get(section.kind, ()):
            builder.error("", f"{key[:40]} is no key of [{section.kind.capitalize()}]", "", line)


def _addresses(
    head: _Section, name: str, body: dict[str, Any], builder: ImportBuilder
) -> list[IPv4Network | IPv6Network]:
    """Set the subnets of the network; return those that were taken over."""
    four, six = _interfaces(head, name, builder)
    if len(four) != 1 or four[0].network.prefixlen == 32:
        text = "one IPv4 Address with the length of its subnet is needed"
        line = head.one("address")[0] or head.line
        builder.error(f"networks.{name}.subnet", text, "as Address = 10.0.0.1/24", line)
        return []
    body |= {"subnet": str(four[0].network), "gateway_address": str(four[0].ip)}
    if not six:
        body["ipv6"] = False
        return [four[0].network]
    line = next((line for line, text in head.all("address") if ":" in text), head.line)
    builder.place(f"networks.{name}.subnet6", line)
    if len(six) > 1 or six[0].network.prefixlen == 128:
        text = "of IPv6 only one Address with the length of its subnet can be taken over"
        builder.error(f"networks.{name}.subnet6", text, "as Address = fd00::1/64", line)
        return [four[0].network]
    _warn_of_moved_gateway(six[0], f"networks.{name}.subnet6", line, builder)
    body["subnet6"] = str(six[0].network)
    return [four[0].network, six[0].network]


def _interfaces(
    head: _Section, name: str, builder: ImportBuilder
) -> tuple[list[IPv4Interface], list[IPv6Interface]]:
    four: list[IPv4Interface] = []
    six: list[IPv6Interface] = []
    for line, text in head.all("address"):
        try:
            item = ip_interface(text)
        except ValueError:
            told = f"Address {text[:60]} is none"
            builder.error(f"networks.{name}.subnet", told, "ADDRESS/LENGTH", line)
            continue
        if isinstance(item, IPv4Interface):
            four.append(item)
        else:
            six.append(item)
    return four, six


def _warn_of_moved_gateway(
    item: IPv6Interface, path: str, line: int, builder: ImportBuilder
) -> None:
    """Warn if the gateway's IPv6 address changes: warpd uses the first address of the subnet."""
    first = item.network[1]
    if item.ip != first:
        text = f"the gateway was {item.ip} and becomes {first}; clients keep their addresses"
        hint = "use the new address to reach the gateway over IPv6"
        builder.warning(path, text, hint, line)


def _peers(
    peers: list[_Section],
    name: str,
    subnets: list[IPv4Network | IPv6Network],
    builder: ImportBuilder,
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for number, peer in enumerate(peers, 1):
        text = _called(peer)
        wanted = _name_of(text) or f"peer-{number}"
        endpoint = free(wanted, out)
        path = f"networks.{name}.endpoints.{endpoint}"
        if endpoint != wanted:
            builder.warning(
                path,
                f"another peer is called {wanted}: this one becomes {endpoint}",
                "",
                peer.line,
            )
        before = builder.errors()
        fields = _peer(peer, path, f"{name}.{endpoint}.psk", subnets, builder)
        if loses_letters(text):
            fields["description"] = text
        if builder.errors() == before:
            out[endpoint] = fields
    return out


def _name_of(text: str) -> str:
    """Return an endpoint name made of a comment.

    Return "" if the comment has letters of other alphabets and no Latin letter.
    """
    made = slug(text)
    return made if re.search("[a-z]", made) or not loses_letters(text) else ""


def _called(peer: _Section) -> str:
    """Return the name of a peer in its comments, or "" if there is none.

    A comment with a word that announces a name comes first (`name = phone`), then the comment line
    above the peer.
    """
    comments = [
        comment for comment in (*peer.inside, *reversed(peer.above)) if not _CLOSING.match(comment)
    ]
    named = [made for comment in comments if (made := _named(comment))]
    plain = [
        comment
        for comment in (*reversed(peer.above), *peer.inside[:1])
        if comment in comments and "=" not in comment
    ]
    words = [
        re.sub(r"\s*\(.*\)$", "", word)
        for word in (*named, *plain)
        if not re.search(r"[A-Za-z0-9+/]{42,}", word)
    ]
    return next((word for word in words if any(map(says_something, word))), "")


def _named(comment: str) -> str:
    """Return the text after a word that announces a name, or "" if the comment has no such word.

    `user 7` is a name, `7` alone is not.
    """
    as_json = _JSON.match(comment)
    if as_json:
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(as_json[1])
            return str(found.get("name", "")) if isinstance(found, dict) else ""
    match = _NAMED.match(comment)
    if match is None:
        return ""
    is_number = match[2].strip().isdigit()
    return f"{match[1]} {match[2]}" if is_number and match[1].lower() in _KINDS else match[2]


def _peer(
    peer: _Section,
    path: str,
    key_name: str,
    subnets: list[IPv4Network | IPv6Network],
    builder: ImportBuilder,
) -> dict[str, Any]:
    _left_out(peer, builder)
    line, public = peer.one("publickey")
    if decoded(public) is None:
        builder.error(
            f"{path}.public_key",
            "PublicKey is missing or none",
            "44 characters of base64",
            line or peer.line,
        )
    builder.place(path, peer.line)
    for key, field_ in (
        ("publickey", "public_key"),
        ("allowedips", "address"),
        ("allowedips", "address6"),
        ("allowedips", "routes"),
        ("presharedkey", "preshared_key_file"),
        ("persistentkeepalive", "keepalive"),
    ):
        builder.place(f"{path}.{field_}", peer.one(key)[0])
    fields: dict[str, Any] = {"type": "mobile", "public_key": public}
    line, shared = peer.one("presharedkey")
    if not shared or shared == _NO_KEY:
        fields["preshared_key"] = False
    else:
        fields["preshared_key_file"] = builder.key(path, key_name, shared, "PresharedKey", line)
    _allowed(peer, path, fields, subnets, builder)
    _dialled(peer, path, fields, builder)
    line, keepalive = peer.one("persistentkeepalive")
    if keepalive.isascii() and keepalive.isdigit():
        fields["keepalive"] = int(keepalive)
    elif keepalive and keepalive.lower() != "off":
        builder.error(f"{path}.keepalive", "PersistentKeepalive is no number of seconds", "", line)
    return fields


def _dialled(peer: _Section, path: str, fields: dict[str, Any], builder: ImportBuilder) -> None:
    """Set `endpoint` of a peer that has a fixed address.

    With `SaveConfig`, wg-quick writes the last address of a roaming device. This is not imported.
    """
    line, dial = peer.one("endpoint")
    builder.place(f"{path}.endpoint", line)
    if not dial:
        return
    is_fixed = (
        "routes" in fields
        or re.search("[A-Za-z]", dial.rpartition(":")[0].partition("[")[0]) is not None
    )
    if is_fixed:
        fields["endpoint"] = dial
    else:
        text = f"Endpoint {dial[:60]} is not taken over: it is where the device was last"
        builder.warning(
            f"{path}.endpoint",
            text,
            "the device connects by itself; write `endpoint` if it has a fixed address",
            line,
        )


def _allowed(
    peer: _Section,
    path: str,
    fields: dict[str, Any],
    subnets: list[IPv4Network | IPv6Network],
    builder: ImportBuilder,
) -> None:
    """Set the addresses of an endpoint, and the routes behind it, from its AllowedIPs."""
    routes: list[str] = []
    for line, block in _blocks(peer, path, subnets, builder):
        if _is_address(block, subnets):
            _take_address(block, path, line, fields, builder)
        elif str(block) not in routes:
            builder.place(f"{path}.routes[{len(routes)}]", line)
            routes.append(str(block))
    if "address" not in fields:
        text = "has no address of the network's subnet among its AllowedIPs"
        builder.error(f"{path}.address", text, "as 10.0.0.2/32", peer.line)
    if routes:
        fields |= {"type": "cpe", "routes": routes}


def _blocks(
    peer: _Section,
    path: str,
    subnets: list[IPv4Network | IPv6Network],
    builder: ImportBuilder,
) -> Iterator[tuple[int, IPv4Network | IPv6Network]]:
    """Yield the AllowedIPs that can be imported, with their lines."""
    versions = {subnet.version for subnet in subnets} or {4, 6}
    for line, text in peer.all("allowedips"):
        try:
            # The kernel clears host bits (drivers/net/wireguard/allowedips.c), so this equals what
            # the old gateway used.
            block = ip_network(text, strict=False)
        except ValueError:
            builder.error(path, f"AllowedIPs {text[:60]} is no network", "ADDRESS/LENGTH", line)
            continue
        if block.version in versions:
            yield line, block
            continue
        told = (
            f"AllowedIPs {block} is not taken over: the server has no IPv6 Address, and the"
            " network gets `ipv6: false`"
        )
        builder.warning(path, told, "give the network a subnet6 and the endpoint an address6", line)


def _is_address(block: IPv4Network | IPv6Network, subnets: list[IPv4Network | IPv6Network]) -> bool:
    """Whether a block is a single address in one of the network's subnets."""
    if block.prefixlen != block.max_prefixlen:
        return False
    same = (subnet for subnet in subnets if subnet.version == block.version)
    return any(block.network_address in subnet for subnet in same)


def _take_address(
    block: IPv4Network | IPv6Network,
    path: str,
    line: int,
    fields: dict[str, Any],
    builder: ImportBuilder,
) -> None:
    word = "address" if block.version == 4 else "address6"
    address = str(block.network_address)
    if fields.get(word, address) != address:
        text = f"has {fields[word]} and {address}"
        builder.error(f"{path}.{word}", text, "an endpoint has one of each family", line)
    fields[word] = address
    builder.place(f"{path}.{word}", line)
