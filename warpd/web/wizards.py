"""From the fields of a form to edits of the YAML. Pure.

What may be asked is data (`wizards.json`): a new type of network is a row there. Nothing is judged
here: the daemon validates, and its findings are shown beside the form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

Edit = dict[str, Any]
Form = Mapping[str, str]

WIZARDS: Final[tuple[dict[str, Any], ...]] = tuple(
    json.loads(Path(__file__).with_name("wizards.json").read_text(encoding="utf-8"))
)
PROTOCOLS: Final = ("tcp", "udp", "icmp")
ENDPOINT_TYPES: Final = ("mobile", "cpe", "gateway")
# Fields of an endpoint that its form has, and how their text is read.
REMOVAL_GUARD: Final = "removal_guard"
GATEWAY_FIELDS: Final = {
    "name": "text",
    "public_endpoint": "text",
    "uplink": "text",
    "dns": "words",
    "isolation": "text",
    "wireguard": "text",
    "quarantine": "text",
}
GATEWAY_CHOICES: Final = {
    "isolation": ("namespace", "vrf"),
    "wireguard": ("auto", "kernel", "userspace"),
}
ENDPOINT_FIELDS: Final[Mapping[str, str]] = {
    "description": "text",
    "expires": "text",
    "routes": "words",
    "public_key": "text",
}


def wizard_of(name: str) -> dict[str, Any] | None:
    """The wizard of a type of network; None where there is none."""
    return next((row for row in WIZARDS if row["type"] == name), None)


def network_edits(wizard: Mapping[str, Any], form: Form) -> list[Edit]:
    """The edits that add a network with its endpoints."""
    name = form.get("network", "").strip()
    fields: dict[str, Any] = {"type": wizard["type"]}
    asked = [
        {"name": "description", "kind": "text"},
        {"name": "expected_users", "kind": "number"},
        *wizard["fields"],
    ]
    for field in asked:
        value = read_value(field["kind"], form.get(field["name"], ""))
        if value not in (None, "", []):
            fields[field["name"]] = value
    edit = {"op": "add_network", "network": name, "fields": fields}
    return [edit, *endpoint_edits(name, wizard["endpoint_type"], form.get("endpoints", ""))]


def endpoint_edits(network: str, kind: str, lines: str) -> list[Edit]:
    """The edits that add endpoints: a line each, its name and then its routes."""
    edits = []
    for line in lines.splitlines():
        name, *routes = line.replace(",", " ").split() or [""]
        if name:
            fields: dict[str, Any] = {"type": kind}
            if routes:
                fields["routes"] = routes
            about = {"network": network, "endpoint": name}
            edits.append({"op": "add_endpoint", **about, "fields": fields})
    return edits


def device_edits(form: Form) -> list[Edit]:
    """The edit that adds a phone or laptop, or gives one that there is other keys.

    `key` says where they are made: `own` is the device, whose `public_key` stands beside it;
    otherwise the gateway derives them.
    """
    has_own = form.get("key") == "own"
    own = {"public_key": form.get("public_key", "").strip()} if has_own else {}
    about = {"network": form.get("network", ""), "endpoint": form.get("endpoint", "").strip()}
    if form.get("replace"):
        given = {"op": "set_endpoint", **about, "fields": {"public_key": None, **own}}
        # Derived keys of the rotation so far are those of a former device of this name.
        return [given] if has_own else [given, {"op": "rotate_endpoint", **about}]
    described = form.get("description", "").strip()
    more = {"description": described} if described else {}
    return [{"op": "add_endpoint", **about, "fields": {"type": "mobile", **more, **own}}]


def changed_endpoint(network: str, endpoint: Mapping[str, Any], form: Form) -> list[Edit]:
    """The edit that sets what a form says otherwise than the endpoint has it; none where nothing
    does. A field that was emptied is taken out of the YAML.
    """
    fields: dict[str, Any] = {}
    for name, kind in ENDPOINT_FIELDS.items():
        if name not in form:
            continue
        value = read_value(kind, form[name])
        if value != (endpoint.get(name) or ([] if kind == "words" else "")):
            fields[name] = value or None
    is_enabled = form.get("enabled") == "on"
    if is_enabled != endpoint["enabled"]:
        fields["enabled"] = None if is_enabled else False
    about = {"network": network, "endpoint": endpoint["name"]}
    return [{"op": "set_endpoint", **about, "fields": fields}] if fields else []


def changed_gateway(section: Mapping[str, Any], form: Form) -> list[Edit]:
    """The edit that sets what a form says otherwise than the section of the gateway; none where
    nothing does. A field that was emptied is taken out: its default holds.
    """
    fields: dict[str, Any] = {}
    for name, kind in GATEWAY_FIELDS.items():
        value = read_value(kind, form.get(name, ""))
        if value != section.get(name, [] if kind == "words" else ""):
            fields[name] = value or None
    is_guarded = form.get(REMOVAL_GUARD) == "on"
    if is_guarded != section.get(REMOVAL_GUARD, True):
        fields[REMOVAL_GUARD] = None if is_guarded else False
    return [{"op": "set_gateway", "fields": fields}] if fields else []


def gateway_form(section: Mapping[str, Any]) -> dict[str, str]:
    """The section of the gateway as its form shows it."""
    form = {}
    for name in GATEWAY_FIELDS:
        value = section.get(name, "")
        form[name] = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return {**form, **({REMOVAL_GUARD: "on"} if section.get(REMOVAL_GUARD, True) else {})}


def read_value(kind: str, text: str) -> Any:
    """The value of a field; what is no number stays a text, and the daemon says what is wrong."""
    text = text.strip()
    if kind == "words":
        return text.replace(",", " ").split()
    if kind == "number":
        return int(text) if text.isascii() and text.isdigit() else text
    if kind == "resources":
        return [_resource(line.split()) for line in text.splitlines() if line.strip()]
    return text


def _resource(words: list[str]) -> dict[str, Any]:
    """`PREFIX [PROTOCOL] [PORTS] [via ENDPOINT]`; what has no meaning is left for the daemon to
    refuse.
    """
    found: dict[str, Any] = {"subnet": words[0]}
    rest = words[1:]
    if "via" in rest:
        place = rest.index("via")
        found["via"] = " ".join(rest[place + 1 :])
        rest = rest[:place]
    if rest and rest[0] in PROTOCOLS:
        found["protocol"] = rest.pop(0)
    ports = [port for word in rest for port in word.split(",") if port]
    if ports:
        found["ports"] = [read_value("number", port) for port in ports]
    return found


def agreed(form: Form) -> list[str]:
    """The codes of the risks that were ticked, one by one."""
    return sorted(name.removeprefix("agree.") for name in form if name.startswith("agree."))
