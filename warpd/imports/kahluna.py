"""Import the SQLite database of the older KahLuna WARP gateway: networks, endpoints and keys.

The database file is read and never changed. It has no schema version: the generations of the schema
are recognized by tables and columns, and some files mix them. VCID, port, subnet, addresses and
keys are written to the YAML, so that existing clients keep working. L2 networks never carried a
frame in the older gateway, so there is nothing to stay compatible with.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from warpd.errors import WarpError
from warpd.imports.found import ImportBuilder, ImportOptions, ImportResult, decoded, free, slug
from warpd.intent.network_types import NETWORK_TYPES, traits
from warpd.intent.types import is_host, is_link_name
from warpd.keys import derivation

if TYPE_CHECKING:
    import sqlite3

KIND: Final = "a KahLuna WARP database"
_TYPES: Final = {"remote-resource-gw": "remote-resource-gateway"}
_NETWORKS: Final = (
    ("vpn_networks", "endpoints", "vpn_network_id"),
    ("wg_interfaces", "peers", "wg_interface_id"),
)
_CONFIGS: Final = (("endpoint_configs", "endpoint_id"), ("peer_configs", "peer_id"))
_RANGE = re.compile(r"\s*([0-9]{1,8})(?:\s*-\s*([0-9]{1,8}))?\s*\Z")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Network:
    """One network of the database. `configs` holds the exported client configs by endpoint id."""

    row: Row
    endpoints: tuple[Row, ...]
    configs: Mapping[Any, Mapping[str, str]]
    table: str

    def exported(self, key: str) -> list[str]:
        """Return the values of a key in the exported client configs."""
        return [config[key] for config in self.configs.values() if key in config]


def is_mine(head: bytes) -> bool:
    """Whether a file with these first bytes is an SQLite database (sqlite.org/fileformat.html)."""
    return head.startswith(b"SQLite format 3\0")


def read(_raw: bytes, wanted: ImportOptions) -> ImportResult:
    """Read a database. All problems are in the findings of the result.

    Raises:
        WarpError: the file cannot be read as an SQLite database.
    """
    import sqlite3  # by an import alone: the daemon loads this package for its CSV

    builder = ImportBuilder(wanted)
    try:
        base = sqlite3.connect(f"file:{quote(wanted.file)}?mode=ro", uri=True)
        base.text_factory = lambda raw: raw.decode("utf-8", "replace")
        try:
            networks = _networks(base)
            _gateway(base, networks, builder)
        finally:
            base.close()
    except sqlite3.Error as failure:
        hint = (
            "stop the older gateway, copy its database together with the -wal file, and import the"
            " copy"
        )
        raise WarpError(
            f"{wanted.file}: {failure}", code="import-unreadable", who="operator", hint=hint
        ) from None
    tables = Counter(item.row.get("routing_table_id") for item in networks)
    for item in networks:
        _network(item, tables, builder)
    _warn_of_overlaps(builder)
    if not networks:
        builder.error(
            "",
            "holds no networks: no rows in vpn_networks or wg_interfaces",
            "check that this is the right file",
        )
    return builder.done()


# The tables


def _rows(base: sqlite3.Connection, table: str) -> list[Row]:
    """Return all rows of a table as mappings, or no rows if the table does not exist.

    `table` is one of the table names in this module, never text from the file.
    """
    if not base.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).fetchone():
        return []
    cursor = base.execute(f"SELECT * FROM {table} ORDER BY id")  # noqa: S608  # a constant name
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _networks(base: sqlite3.Connection) -> list[_Network]:
    """Return the networks of both generations of tables.

    A network that is in both (it has the same private key) is taken from the newer one.
    """
    out: list[_Network] = []
    for (table, members, link), (configs, owner) in zip(_NETWORKS, _CONFIGS, strict=True):
        by_network: dict[Any, list[Row]] = defaultdict(list)
        for row in _rows(base, members):
            by_network[row.get(link)].append(row)
        exported = {
            row.get(owner): _config_values(row)
            for row in sorted(_rows(base, configs), key=lambda row: row.get("version") or 0)
        }
        known = {item.row.get("private_key") for item in out}
        for row in _rows(base, table):
            if row.get("private_key") not in known or not row.get("private_key"):
                endpoints = tuple(by_network[row.get("id")])
                out.append(_Network(row, endpoints, _configs_of(endpoints, exported), table))
    return out


def _configs_of(
    endpoints: Iterable[Row], exported: Mapping[Any, Mapping[str, str]]
) -> dict[Any, Mapping[str, str]]:
    """Return the exported client configs of these endpoints, by endpoint id."""
    ids = [endpoint["id"] for endpoint in endpoints]
    return {id_: exported[id_] for id_ in ids if id_ in exported}


def _config_values(row: Row) -> dict[str, str]:
    """Return the values of an exported client config, by key in lower case."""
    lines = (
        line.partition("=")
        for line in str(row.get("config_content") or "").splitlines()
        if "=" in line
    )
    return {key.strip().lower(): value.strip() for key, _, value in lines}


def _gateway(base: sqlite3.Connection, networks: list[_Network], builder: ImportBuilder) -> None:
    row = next(iter((*_rows(base, "gateway_config"), *_rows(base, "server_config"))), {})
    name = str(row.get("hostname") or "")
    if is_host(name) and name != "localhost":
        builder.gateway["name"] = name
    known = _dialled(networks) or _public_address(row)
    if len(known) == 1 and is_host(next(iter(known))):
        builder.gateway["public_endpoint"] = known.pop()
        return
    text = "the database does not say what clients dial"
    if known:
        text = f"clients dial {', '.join(sorted(known))}"
    builder.warning(
        "gateway.public_endpoint", text, "write the host name or address that clients should dial"
    )


def _dialled(networks: Iterable[_Network]) -> set[str]:
    """Return the hosts that the exported client configs dial."""
    endpoints = (text for item in networks for text in item.exported("endpoint"))
    return {text.rpartition(":")[0].strip("[]") for text in endpoints}


def _public_address(row: Row) -> set[str]:
    """Return the public address in the settings of the old gateway, if there is one."""
    public = str(row.get("public_ip") or "")
    return set() if public in ("", "0.0.0.0") else {public}


# One network


def _network(item: _Network, tables: Counter[Any], builder: ImportBuilder) -> None:
    row, before = item.row, builder.errors()
    label = str(row.get("name") or f"network {row.get('id')}")
    name = free(slug(label) or f"network-{row.get('id')}", builder.networks)
    path = f"networks.{name}"
    if name != label:
        builder.warning(path, f"the network {label!r} becomes {name}")
    kind = str(row.get("network_type") or "").replace("_", "-")
    body: dict[str, Any] = {"type": _TYPES.get(kind, kind)}
    if body["type"] not in NETWORK_TYPES:
        builder.error(
            f"{path}.type",
            f"the type {row.get('network_type')!r} is not known",
            f"one of {', '.join(NETWORK_TYPES)}",
        )
    if name != label:
        body["description"] = label[:1000]
    _state(row, path, body, builder)
    _pinned(row, path, body, builder)
    subnet = _subnet(row, path, body, builder)
    body["private_key_file"] = builder.key(
        path, f"{name}.key", row.get("private_key"), "private key"
    )
    _refuse_other_pair(row, path, builder)
    _dns(item, path, body, builder)
    if _is(body, "ethernet"):
        _l2(row, path, body, builder)
    _not_taken_over(row, tables, path, body, builder)
    body["ipv6"] = False
    body["endpoints"] = _endpoints(item, name, subnet, builder)
    if builder.sound(path, before):
        builder.networks[name] = body


def _state(row: Row, path: str, body: dict[str, Any], builder: ImportBuilder) -> None:
    if row.get("status") == "suspended":
        body["enabled"] = False
    elif row.get("status") == "failed":
        builder.warning(
            path,
            "its last state was failed; it is taken over as active",
            "write enabled: false to keep it off",
        )


def _pinned(row: Row, path: str, body: dict[str, Any], builder: ImportBuilder) -> None:
    port = row.get("port")
    if isinstance(port, int) and 1 <= port <= 65535:
        body["port"] = port
    else:
        builder.error(f"{path}.port", f"the port {port!r} is none", "clients dial a fixed port")
    if isinstance(row.get("vcid"), int):
        body["vcid"] = row["vcid"]
    else:
        builder.warning(
            f"{path}.vcid", "it has no VCID", "one is allocated; write vcid to have another"
        )


def _subnet(
    row: Row, path: str, body: dict[str, Any], builder: ImportBuilder
) -> IPv4Network | None:
    """Set the subnet and the gateway address, and return the subnet.

    The older gateway used the second address of the subnet, which is the first host address.
    """
    text = str(row.get("subnet") or "")
    try:
        subnet = ip_network(text)
    except ValueError:
        loose = _loose(text)
        what, hint = (
            ("has host bits", f"is it {loose}?") if loose else ("is no subnet", "ADDRESS/LENGTH")
        )
        builder.error(f"{path}.subnet", f"{text[:60]!r} {what}", hint)
        return None
    if not isinstance(subnet, IPv4Network) or subnet.prefixlen > 31:
        builder.error(
            f"{path}.subnet",
            f"{text} holds no endpoint beside the gateway",
            "an IPv4 subnet, /31 or wider",
        )
        return None
    body |= {"subnet": str(subnet), "gateway_address": str(subnet[1])}
    return subnet


def _loose(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        return ""


def _refuse_other_pair(row: Row, path: str, builder: ImportBuilder) -> None:
    """Add an error if the private and the public key of a row are not a pair.

    The public key in the row is the one that clients know.
    """
    half, public = _half(row.get("private_key")), str(row.get("public_key") or "").strip()
    if half and public and half != public:
        builder.error(
            path, "its private and public key are not a pair", "find out which one is in use"
        )


def _dns(item: _Network, path: str, body: dict[str, Any], builder: ImportBuilder) -> None:
    exported = sorted(set(item.exported("dns")))
    servers = [part.strip() for part in exported[0].split(",")] if len(exported) == 1 else []
    if servers and all(_is_address(server) for server in servers):
        body["dns"] = servers
    elif exported:
        text = f"its client configs have DNS = {' / '.join(exported)[:200]}"
        builder.warning(f"{path}.dns", text, "write dns for new client configs")


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def _l2(row: Row, path: str, body: dict[str, Any], builder: ImportBuilder) -> None:
    if isinstance(row.get("vlan_id"), int):
        body["vlan_id"] = row["vlan_id"]
    _bridge_name(str(row.get("bridge_name") or ""), path, body, builder)
    for field in ("vlan_range", "vni_pool"):
        _range(str(row.get(field) or ""), field, path, body, builder)
    first, _, last = str(body.get("vlan_range", "")).partition("-")
    if first and int(first) <= body.get("vlan_id", 0) <= int(last):
        text = (
            f"VLAN {body['vlan_id']} was untagged (vlan_id) and in {body.pop('vlan_range')};"
            " vlan_range is omitted"
        )
        builder.warning(f"{path}.vlan_range", text, "write the tagged VLANs that should pass")


def _bridge_name(name: str, path: str, body: dict[str, Any], builder: ImportBuilder) -> None:
    if is_link_name(name):
        body["bridge_name"] = name
    elif name:
        text = f"{name[:60]!r} is no name for an interface"
        builder.warning(f"{path}.bridge_name", text, "left out")


def _range(text: str, field: str, path: str, body: dict[str, Any], builder: ImportBuilder) -> None:
    match = _RANGE.match(text)
    if match:
        body[field] = f"{match[1]}-{match[2] or match[1]}"
    elif text:
        told = f"{text[:60]!r} is no range of numbers; left out"
        builder.warning(f"{path}.{field}", told, "write FIRST-LAST")


def _not_taken_over(
    row: Row, tables: Counter[Any], path: str, body: dict[str, Any], builder: ImportBuilder
) -> None:
    table = row.get("routing_table_id")
    if isinstance(table, int) and tables[table] == 1:
        body["routing_table"] = table
    elif table is not None:
        builder.warning(
            f"{path}.routing_table",
            f"{tables[table]} networks have routing table {table}; left out",
            "one is allocated",
        )
    if row.get("rate_limit_enabled"):
        builder.warning(
            path, "its rate limit is not taken over", "warpd has none; limit on the uplink (tc)"
        )
    if row.get("custom_allowed_ips"):
        text = f"its clients were given AllowedIPs {str(row['custom_allowed_ips'])[:200]}"
        builder.warning(
            path, f"{text}; new configs follow the type", "clients in the field keep theirs"
        )
    if _is(body, "internet") and row.get("peer_communication_enabled"):
        text = (
            "endpoints could talk to each other, but a migration may have set that without being"
            " asked; left out"
        )
        builder.warning(
            f"{path}.peer_communication", text, "write peer_communication: true if it is meant"
        )
    if _is(body, "lists_resources"):
        builder.warning(
            f"{path}.resources",
            "the database does not say what may be reached: nothing is",
            "write resources",
        )


def _is(body: Mapping[str, Any], property_: str) -> bool:
    """Whether the type of a network has a property; an unknown type, an error, has none."""
    return body["type"] in NETWORK_TYPES and bool(getattr(traits(body["type"]), property_))


# Endpoints


def _endpoints(
    item: _Network, network: str, subnet: IPv4Network | None, builder: ImportBuilder
) -> dict[str, Any]:
    out: dict[str, Any] = {}
    taken = Counter(str(row.get("ip_address") or "").strip() for row in item.endpoints)
    used: dict[str, Any] = {}
    for row in item.endpoints:
        label = str(row.get("name") or f"endpoint {row.get('id')}")
        name = free(slug(label) or f"endpoint-{row.get('id')}", used)
        used[name] = row
        path, before = f"networks.{network}.endpoints.{name}", builder.errors()
        fields = _endpoint(row, label, path, f"{network}.{name}.psk", builder)
        if name != label:
            builder.warning(path, f"the endpoint {label!r} becomes {name}")
        _address(row, path, taken, subnet, builder)
        _compare(row, item, path, builder)
        if builder.errors() == before:
            out[name] = fields
    return out


def _endpoint(
    row: Row, label: str, path: str, key_name: str, builder: ImportBuilder
) -> dict[str, Any]:
    kind = row.get("endpoint_type") or "mobile"
    if kind not in ("mobile", "cpe", "gateway"):
        builder.error(f"{path}.type", f"there is no type {kind!r}", "mobile, cpe or gateway")
    fields: dict[str, Any] = {"type": kind}
    if slug(label) != label:
        fields["description"] = label[:1000]
    if row.get("status") == "suspended":
        fields["enabled"] = False
    fields["address"] = str(row.get("ip_address") or "").strip()
    public = str(row.get("public_key") or "").strip()
    if decoded(public) is None:
        builder.error(f"{path}.public_key", "the public key is none", "44 characters of base64")
    _refuse_other_pair(row, path, builder)
    fields["public_key"] = public
    if row.get("preshared_key"):
        fields["preshared_key_file"] = builder.key(
            path, key_name, row["preshared_key"], "preshared key"
        )
    else:
        fields["preshared_key"] = False
    if row.get("rate_limit_enabled"):
        builder.warning(
            path, "its rate limit is not taken over", "warpd has none; limit on the uplink (tc)"
        )
    return fields


def _address(
    row: Row, path: str, taken: Counter[str], subnet: IPv4Network | None, builder: ImportBuilder
) -> None:
    text = str(row.get("ip_address") or "").strip()
    if not _is_address(text) or ip_address(text).version != 4:
        builder.error(
            f"{path}.address", f"{text[:60]!r} is no IPv4 address", "without a prefix length"
        )
    elif taken[text] > 1:
        builder.error(
            f"{path}.address",
            f"{text} is used {taken[text]} times in this network",
            "which device has it?",
        )
    elif subnet is not None and IPv4Address(text) not in subnet:
        builder.error(
            f"{path}.address",
            f"{text} lies outside of the subnet {subnet}",
            "which of them is in the field?",
        )
    elif subnet is not None and IPv4Address(text) == subnet[1]:
        builder.error(
            f"{path}.address", f"{text} is the gateway's own address", "which device has it?"
        )


def _compare(row: Row, item: _Network, path: str, builder: ImportBuilder) -> None:
    """Report where the exported client config differs from the table."""
    config = item.configs.get(row["id"], {})
    _compare_addresses(row, config, path, builder)
    differences = {
        "its device knows another public key of the gateway than the table has": (
            config.get("publickey", _public(item.row)) != _public(item.row)
        ),
        "its device was given another private key than the table has": (
            "privatekey" in config and _half(config["privatekey"]) != _text_of(row, "public_key")
        ),
        "its device was given another preshared key than the table has": (
            "privatekey" in config
            and config.get("presharedkey", "") != _text_of(row, "preshared_key")
        ),
    }
    for text, is_so in differences.items():
        if is_so:
            builder.error(path, text, "which one is in the field?")
    port = config.get("endpoint", "").rpartition(":")[2]
    if port and port != str(item.row.get("port")):
        text = f"its device dials port {port[:20]}, the network has {item.row.get('port')}"
        builder.warning(path, text, "it needs a new config")


def _compare_addresses(
    row: Row, config: Mapping[str, str], path: str, builder: ImportBuilder
) -> None:
    given = (part.strip().partition("/")[0] for part in config.get("address", "").split(","))
    addresses = [text for text in given if text]
    if addresses and _text_of(row, "ip_address") not in addresses:
        text = (
            f"its device was given the address {', '.join(addresses)[:100]}, the table has"
            f" {row.get('ip_address')}"
        )
        builder.error(f"{path}.address", text, "which one is in the field?")


def _text_of(row: Row, column: str) -> str:
    return str(row.get(column) or "").strip()


def _public(row: Row) -> str:
    return str(row.get("public_key") or "").strip() or _half(row.get("private_key"))


def _half(private: object) -> str:
    """Return the public key of a private key, or "" if the text is not a key."""
    raw = decoded(private)
    return derivation.public_key(derivation.Secret(raw)) if raw is not None else ""


def _warn_of_overlaps(builder: ImportBuilder) -> None:
    """Warn of subnets that overlap. This is allowed, since networks are isolated."""
    previous: list[tuple[str, IPv4Network]] = []
    for name, body in builder.networks.items():
        subnet = IPv4Network(body["subnet"])
        for other, block in previous:
            if block.overlaps(subnet):
                text = f"{subnet} overlaps {block} of {other}"
                builder.warning(
                    f"networks.{name}.subnet", text, "this is allowed: networks are isolated"
                )
        previous.append((name, subnet))
