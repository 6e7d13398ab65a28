"""The fields of networks and endpoints as options of the commands that add and set them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from warpd.cli import names
from warpd.errors import WarpError
from warpd.service.edits import given

# A comma separates two resources only where an address follows: ports are separated by commas too.
_BETWEEN_RESOURCES = re.compile(r"[,\s]+(?=[^,\s]*[./:])")
_RESOURCE = re.compile(
    r"(?P<subnet>[0-9a-fA-F.:/]+?)(:(?P<protocol>[a-z]+)(/(?P<ports>[0-9,-]+))?)?(@(?P<via>[a-z0-9-]+))?"
)

Text = str | None
Number = int | None
Texts = list[str] | None

Description = Annotated[Text, typer.Option(help="free text")]

ExpectedUsers = Annotated[Number, typer.Option(help="how many endpoints the subnet is sized for")]
Isolation = Annotated[Text, typer.Option(help="namespace or vrf")]
Subnet = Annotated[Text, typer.Option(help="IPv4 subnet; default: allocated")]
Subnet6 = Annotated[Text, typer.Option(help="IPv6 subnet; default: a ULA /64")]
Port = Annotated[Number, typer.Option(help="UDP port; default: allocated")]
Mtu = Annotated[Number, typer.Option(help="MTU inside")]
Dns = Annotated[Texts, typer.Option(help="a DNS server for its clients; may be repeated")]
Resources = Annotated[
    Texts, typer.Option(help="what may be reached, as 10.9.0.0/24:tcp/443; may be repeated")
]

EndpointKind = Annotated[
    Text,
    typer.Option("--type", help="mobile, cpe or gateway", autocompletion=names.endpoint_types),
]
Address = Annotated[Text, typer.Option(help="IPv4 address inside; default: allocated")]
Address6 = Annotated[Text, typer.Option(help="IPv6 address inside; default: allocated")]
PublicKey = Annotated[
    Text, typer.Option(help="the device's own; default: a key pair made by the gateway")
]
Routes = Annotated[Texts, typer.Option(help="a network behind it; may be repeated")]
OuterAddress = Annotated[Text, typer.Option(help="HOST:PORT at which the gateway reaches it first")]
Keepalive = Annotated[
    Number,
    typer.Option(help="seconds between keepalives, of the gateway and the device; 0: none"),
]
Expires = Annotated[Text, typer.Option(help="YYYY-MM-DD: the first day without access")]


def split_list(values: Sequence[str] | None) -> list[str] | None:
    """Return the parts of values that commas or spaces separate; None for no values."""
    if not values:
        return None
    return " ".join(values).replace(",", " ").split()


def resources_of(values: Sequence[str] | None) -> list[dict[str, Any]] | None:
    """Return resources of the form `SUBNET[:PROTOCOL[/PORTS]][@VIA]` as the YAML has them.

    Returns:
        None for no values.

    Raises:
        WarpError: a value is not of that form.
    """
    texts: list[str] = []
    for value in values or ():
        texts += filter(None, _BETWEEN_RESOURCES.split(value.strip()))
    return [_resource(text) for text in texts] or None


def _resource(text: str) -> dict[str, Any]:
    match = _RESOURCE.fullmatch(text)
    if match is None:
        hint = "SUBNET[:PROTOCOL[/PORTS]][@VIA], as 10.9.0.0/24:tcp/443,8000-8100"
        raise WarpError(f"{text} is not a resource", code="bad-resource", who="operator", hint=hint)
    ports = [_port(text) for text in (match["ports"] or "").split(",") if text]
    found = {
        "subnet": match["subnet"],
        "protocol": match["protocol"],
        "ports": ports or None,
        "via": match["via"],
    }
    return given(found)


def _port(text: str) -> int | str:
    """Return a port as a number, and a range of ports as text."""
    return int(text) if text.isdigit() else text
