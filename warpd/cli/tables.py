"""Make text of networks and endpoints from the JSON of `status`: tables, and one page for each.

Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from warpd.cli.output import table
from warpd.intent.network_types import traits
from warpd.service.views.endpoint_list import Order, ordered, presence, summary
from warpd.service.views.render import problem_text, wrapped
from warpd.service.views.words import plural

Row = Mapping[str, Any]

ENDPOINTS_SHOWN: Final = 20  # of one network, where several networks are shown
HEADS: Final = ("ENDPOINT", "TYPE", "ADDRESS", "HANDSHAKE", "IN", "OUT", "STATE")
LABEL: Final = 14  # columns of the names of facts


def endpoint_table(endpoints: Iterable[Row]) -> str:
    """Return a line for each endpoint.

    `IN` and `OUT` are what the gateway has received and sent since the tunnel was made.
    """
    return table([_cells(row) for row in endpoints], HEADS)


def _cells(row: Row) -> tuple[str, ...]:
    """Return the cells in the order of `HEADS`."""
    who = row["name"], row["type"], row["address"]
    traffic = size(row["received_bytes"]), size(row["sent_bytes"])
    return *who, handshake(row), *traffic, state(row)


def state(endpoint: Row) -> str:
    """Return whether an endpoint is present, when it expires, and if its config was exported."""
    there = presence(endpoint)
    if there == "suspended":
        until = endpoint["suspended"]["until"]
        return f"suspended until {until}" if until else there
    if there not in ("present", "online", "stale"):
        return there
    if endpoint["expires_in_days"] is not None:
        there += f", expires in {plural(endpoint['expires_in_days'], 'day')}"
    return there if endpoint.get("config_exported", True) else f"{there}, not exported"


def handshake(endpoint: Row) -> str:
    """Return how long ago the last handshake was; unknown where it lies in the future."""
    seconds = endpoint["handshake_age_s"]
    return "unknown" if seconds is None and endpoint.get("last_handshake") else age(seconds)


def age(seconds: int | None) -> str:
    """Return how long ago something was, in the largest whole unit."""
    if seconds is None:
        return "never"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def size(count: float) -> str:
    """Return a number of bytes in the largest unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def network_state(network: Row) -> str:
    """Return whether a network is in sync, and its problems, in a few words."""
    if not network["enabled"]:
        return "disabled"
    if network["changes"]:
        return f"{plural(network['changes'], 'change')} pending"
    codes = sorted({problem["code"] for problem in network.get("problems", ())})
    about = f" ({', '.join(codes)})" if codes else ""
    return ("in sync" if network["in_sync"] else "not in sync") + about


def networks_summary(networks: Sequence[Row]) -> str:
    """Return `12 networks: 10 in sync, 1 not in sync, 1 disabled; 340 endpoints, 120 online`."""
    states = Counter(_sync_word(network) for network in networks)
    order = ("in sync", "not in sync", "disabled")
    parts = ", ".join(f"{states[word]} {word}" for word in order if states[word])
    presences: Counter[str] = Counter()
    for network in networks:
        presences.update(presence(row) for row in network["endpoints"])
    head = plural(len(networks), "network")
    counts = f"{plural(presences.total(), 'endpoint')}, {presences['online']} online"
    return f"{head}: {parts}; {counts}" if parts else head


def _sync_word(network: Row) -> str:
    if not network["enabled"]:
        return "disabled"
    return "in sync" if network["in_sync"] else "not in sync"


def network_lines(network: Row) -> list[str]:
    """Return one network among several: a headline, its endpoints and drops.

    Of many endpoints only those with the latest handshakes are shown, and a line that counts all.
    """
    numbers = [f"VCID {network['vcid']}", network["subnet"], f"port {network['port']}"]
    about = [network["name"], network["type"], *numbers, network_state(network)]
    head = wrapped("  ".join(about), "    ")
    rows = network["endpoints"]
    many = len(rows) > ENDPOINTS_SHOWN
    shown = ordered(ordered(rows, Order.handshake)[:ENDPOINTS_SHOWN], Order.name)
    body = [f"  {line}" for line in endpoint_table(shown).splitlines()] if shown else []
    if many:
        body.append(f"  the {ENDPOINTS_SHOWN} latest handshakes; {summary(rows)}")
        body.append(f"  all of them: `warpctl endpoint list {network['name']}`")
    return [*head, *body, *(f"  dropped: {text}" for text in _drops(network))]


def network_page(network: Row) -> list[str]:
    """Return one network in full: its purpose, what may pass, its state, its endpoints."""
    title = f"{network['name']}: {network['description'] or network['type']}"
    lines = wrapped(f"{title}, {network_state(network)}", "    ")
    for label, text in _facts(network):
        lines += wrapped(f"  {label:<{LABEL}}{text}", " " * (LABEL + 2))
    for problem in network["problems"]:
        lines += problem_text(problem["message"], problem["hint"])
    lines += [f"blocked {foreign}" for foreign in network["blocked"]]
    rows = ordered(network["endpoints"], Order.name)
    return [*lines, "", endpoint_table(rows)] if rows else lines


def _facts(network: Row) -> Iterator[tuple[str, str]]:
    """Yield labels and texts; first those that every network has."""
    yield "type", network["type"]
    yield "VCID", f"{network['vcid']}, {_place(network)}"
    device = f"{network['device']}, UDP port {network['port']}, MTU {network['mtu']}"
    yield "WireGuard", device + _up(network)
    yield "IPv4", f"{network['subnet']}, gateway {network['gateway_address']}"
    if network["subnet6"]:
        yield "IPv6", f"{network['subnet6']}, gateway {network['gateway_address6']}"
    else:
        yield "IPv6", "off, and blocked"
    yield from _what_passes(network)
    yield from _ethernet_and_lists(network)
    yield "endpoints", summary(network["endpoints"])
    for text in _drops(network):
        yield "dropped", text


def _place(network: Row) -> str:
    """Return where a network's devices are."""
    if network["netns"]:
        return f"namespace {network['netns']}"
    return f"VRF vrf-{network['vcid']}, routing table {network['routing_table']}"


def _up(network: Row) -> str:
    return "" if network["up"] or not network["enabled"] else ", not in the kernel"


def _what_passes(network: Row) -> Iterator[tuple[str, str]]:
    """Yield what a network with egress lets its clients reach."""
    if traits(network["type"]).internet:
        yield "internet", "by NAT" if network["nat"] else "with the clients' own addresses"
        yield "peers", "reach each other" if network["peer_communication"] else "blocked"
    if traits(network["type"]).lists_resources:
        resources = [resource_text(row) for row in network["resources"]]
        yield "resources", "; ".join(resources) or "none: nothing is reached"


def _ethernet_and_lists(network: Row) -> Iterator[tuple[str, str]]:
    """Yield VLANs, lists of addresses and limits, where the network has them."""
    if network["vlan_id"]:
        yield "access VLAN", str(network["vlan_id"])
    if network["vlan_range"]:
        yield "tagged VLANs", network["vlan_range"]
    lists = {"private too": network["allow_private"], "DNS": network["dns"]}
    for label, items in {"routes": _routes(network), **lists}.items():
        if items:
            yield label, ", ".join(items)
    limits = network["limits"]
    rate = f"{limits['connections_per_second']} new ones a second"
    yield "limits", f"{limits['connections']} connections, {rate}"


def _routes(network: Row) -> list[str]:
    """Return each route with the endpoint that it leads to."""
    routes: list[str] = []
    for row in ordered(network["endpoints"], Order.name):
        routes += [f"{route} by {row['name']}" for route in row["routes"]]
    return routes


def resource_text(resource: Row) -> str:
    """Return a resource as `172.20.0.0/16 tcp/443,8000-8100` or `192.168.77.0/24 via hq-router`."""
    text = str(resource["subnet"])
    if resource["protocol"]:
        text += f" {resource['protocol']}"
    if resource["ports"]:
        text += "/" + ",".join(resource["ports"])
    return f"{text} via {resource['via']}" if resource["via"] else text


def _drops(network: Row) -> list[str]:
    """Return one text that counts dropped packets by reason; none where none were dropped."""
    by_reason = {reason: count["packets"] for reason, count in network["drops"].items()}
    counts = [f"{reason} {count}" for reason, count in by_reason.items() if count]
    return ["  ".join(counts)] if counts else []


def endpoint_page(endpoint: Row) -> list[str]:
    """Return one endpoint in full: its addresses, its key, its session, its config."""
    lines = wrapped(f"{endpoint['network']}/{endpoint['name']}: {state(endpoint)}", "    ")
    for label, text in _endpoint_facts(endpoint):
        lines += wrapped(f"  {label:<{LABEL}}{text}", " " * (LABEL + 2))
    return lines


def _endpoint_facts(endpoint: Row) -> Iterator[tuple[str, str]]:
    yield "type", ", ".join(filter(None, (endpoint["type"], endpoint["description"])))
    yield "addresses", ", ".join(filter(None, (endpoint["address"], endpoint["address6"])))
    if endpoint["routes"]:
        yield "routes", ", ".join(endpoint["routes"])
    yield "public key", endpoint["public_key"] or "not known without the master secret"
    yield "comes from", endpoint["endpoint"] or "not known"
    yield "handshake", handshake(endpoint)
    yield "traffic", f"{size(endpoint['received_bytes'])} in, {size(endpoint['sent_bytes'])} out"
    if endpoint["expires"]:
        yield "expires", endpoint["expires"]
    if endpoint.get("suspended"):
        about = endpoint["suspended"]
        reason = f": {about['reason']}" if about["reason"] else ""
        yield "suspended", f"by {about['by']} since {about['since']}{reason}"
    exported = "exported" if endpoint.get("config_exported") else "never exported"
    version = endpoint.get("config_version")
    yield "config", f"version {version}, {exported}" if version else exported


def long_table(rows: Sequence[Row]) -> str:
    """Return the columns that are too wide for the usual table."""
    cells = [_long_cells(row) for row in rows]
    return table(cells, ("ENDPOINT", "IPV6", "COMES FROM", "PUBLIC KEY"))


def _long_cells(row: Row) -> tuple[str, ...]:
    name = f"{row['network']}/{row['name']}"
    return name, row["address6"] or "-", row["endpoint"] or "-", row["public_key"] or "-"
