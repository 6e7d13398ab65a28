"""The picture of a network, as SVG: no script, every text escaped, each node a link. Pure.

    the internet, resources    endpoints | gateway | where they lead to
    sites                      around the gateway, with their routes
    Ethernet                   a bridge with its legs

Endpoints are on the left, in columns where there are many; the gateway is in the middle; what the
network leads to is on the right. Colour is by class, and every state has a sign and a title too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import escape

from warpd.web.catalogue import TEXT
from warpd.web.summary import TONES

NODES_MAX: Final = 14  # of a side; more are one node with their number
ROW, NODE_WIDTH, NODE_HEIGHT = 46, 208, 36
WIDTH, MARGIN = 760, 10
MIDDLE_WIDTH: Final = 150
TEXT_MAX: Final = 24


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its texts, where it leads ("" for nowhere), and its state."""

    title: str
    about: str
    href: str = ""
    state: str = ""


def draw(
    network: Mapping[str, Any], endpoints: Sequence[Mapping[str, Any]], total: int, gateway: str
) -> str:
    """The picture of a network with the first of its endpoints, of which there are `total`."""
    left, right = _sides(network, endpoints, total)
    height = max(len(left), len(right), 2) * ROW + 2 * MARGIN
    middle = _middle_node(network, gateway)
    parts = [
        *_edges(left, MARGIN + NODE_WIDTH, (WIDTH - MIDDLE_WIDTH) / 2, height, False),
        *_edges(right, WIDTH - MARGIN - NODE_WIDTH, (WIDTH + MIDDLE_WIDTH) / 2, height, True),
        *_column(left, MARGIN, height),
        *_column(right, WIDTH - MARGIN - NODE_WIDTH, height),
        _box(middle, (WIDTH - MIDDLE_WIDTH) / 2, height / 2 - 32, MIDDLE_WIDTH, 64, "hub"),
    ]
    label = escape(TEXT["picture.label"].format(name=network["name"], count=total))
    return (
        f'<svg class="picture" viewBox="0 0 {WIDTH} {height}" role="group" aria-label="{label}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _sides(
    network: Mapping[str, Any], endpoints: Sequence[Mapping[str, Any]], total: int
) -> tuple[list[Box], list[Box]]:
    nodes = [_endpoint_node(network, row) for row in endpoints]
    if not network["egress"]:
        half, left = (len(nodes) + 1) // 2, (total + 1) // 2
        return _few(nodes[:half], left, network), _few(nodes[half:], total - left, network)
    targets = _targets(network)
    return _few(nodes, total, network), _few(targets, len(targets), network)


def _few(nodes: Sequence[Box], total: int, network: Mapping[str, Any]) -> list[Box]:
    """Not more nodes than a picture can show."""
    if total <= NODES_MAX:
        return list(nodes)
    more = TEXT["picture.more"].format(count=total - NODES_MAX + 1)
    return [*nodes[: NODES_MAX - 1], Box(more, "", f"/endpoints?network={network['name']}")]


def _endpoint_node(network: Mapping[str, Any], row: Mapping[str, Any]) -> Box:
    about = ", ".join(row["routes"]) or row["address"]
    if network["ethernet"]:
        about = _vlans(network) or row["address"]
    href = f"/endpoints/{network['name']}/{row['name']}"
    return Box(str(row["name"]), about, href, str(row["state"]))


def _vlans(network: Mapping[str, Any]) -> str:
    if network.get("vlan_id"):
        return f"VLAN {network['vlan_id']}"
    return f"VLAN {network['vlan_range']}" if network.get("vlan_range") else ""


def _targets(network: Mapping[str, Any]) -> list[Box]:
    """What endpoints reach through the gateway."""
    if not network["resources"]:
        internet = [Box(TEXT["picture.internet"], TEXT["picture.nat"])]
        return internet + [
            Box(prefix, TEXT["picture.private"]) for prefix in network["allow_private"]
        ]
    return [_resource_node(network, item) for item in network["resources"]]


def _resource_node(network: Mapping[str, Any], item: Mapping[str, Any]) -> Box:
    ports = ", ".join(item["ports"])
    about = " ".join(part for part in (item["protocol"] or "", ports) if part)
    if item["via"]:
        about = f"{about} via {item['via']}".strip()
    href = f"/endpoints/{network['name']}/{item['via']}" if item["via"] else ""
    return Box(str(item["subnet"]), about or str(item["description"]), href)


def _middle_node(network: Mapping[str, Any], gateway: str) -> Box:
    if network["ethernet"]:
        return Box(TEXT["picture.bridge"], _vlans(network) or str(network["device"]))
    return Box(gateway or TEXT["picture.gateway"], str(network["gateway_address"]))


def _places(count: int, height: float) -> list[float]:
    """The middle of each of so many nodes, from the top."""
    top = (height - count * ROW) / 2 + ROW / 2
    return [top + number * ROW for number in range(count)]


def _column(nodes: Sequence[Box], x: float, height: float) -> Iterable[str]:
    for node, y in zip(nodes, _places(len(nodes), height), strict=True):
        yield _box(node, x, y - NODE_HEIGHT / 2, NODE_WIDTH, NODE_HEIGHT, "node")


def _edges(
    nodes: Sequence[Box], x: float, hub: float, height: float, leads_out: bool
) -> Iterable[str]:
    """A line from each node to the gateway."""
    bend = (x + hub) / 2
    for node, y in zip(nodes, _places(len(nodes), height), strict=True):
        look = TONES[node.state].look if node.state else "quiet"
        dashed = "" if node.state == "connected" or (leads_out and not node.state) else " dashed"
        d = f"M{x:g} {y:g} C{bend:g} {y:g} {bend:g} {height / 2:g} {hub:g} {height / 2:g}"
        yield f'<path class="edge {look}{dashed}" d="{d}"/>'


def _box(node: Box, x: float, y: float, width: float, height: float, look: str) -> str:
    tone = TONES[node.state] if node.state else None
    words = [node.title, node.about, TEXT[f"state.{node.state}"] if node.state else ""]
    title = escape(", ".join(word for word in words if word))
    sign = f'<tspan class="sign">{tone.sign}</tspan> ' if tone else ""
    first, second = escape(_short(node.title)), escape(_short(node.about))
    tone_look = f" {tone.look}" if tone else ""
    inner = (
        f'<g class="{look}{tone_look}"><title>{title}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7"/>'
        f'<text x="{x + 10:g}" y="{y + height / 2 - 3:g}" class="name">{sign}{first}</text>'
        f'<text x="{x + 10:g}" y="{y + height / 2 + 12:g}" class="about">{second}</text></g>'
    )
    return f'<a href="{escape(node.href)}">{inner}</a>' if node.href else inner


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
