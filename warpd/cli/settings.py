"""The commands endpoint and network rename, set, enable and disable.

They edit what is in the YAML already. `yamlfile.editor` changes the text, and `cli.edit` checks and
writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from warpd.cli import names
from warpd.cli.app import Output, endpoint_app, network_app
from warpd.cli.edit import Dry, drafted, endpoint_at, finish, network_at, resources_of, split_list
from warpd.cli.names import EndpointName, NetworkName
from warpd.cli.output import Format
from warpd.errors import WarpError
from warpd.service.workspace import Session
from warpd.yamlfile import editor

NewName = Annotated[str, typer.Argument(metavar="NEW", help="the new name, without the network's")]
Unset = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="FIELD", help="remove this field; may be repeated"),
]


@endpoint_app.command("rename")
def endpoint_rename(
    context: typer.Context,
    name: EndpointName,
    new: NewName,
    dry_run: Dry = False,
    form: Output = Format.text,
) -> None:
    """Give an endpoint another name: it keeps its addresses, keys and history."""
    session: Session = context.obj
    file, network, endpoint, fields = endpoint_at(session, name)
    allocation = session.store.read_allocations().networks.get(network)
    former = _former(endpoint, fields, allocation.endpoints if allocation is not None else {})
    path = ("networks", network, "endpoints")
    draft = drafted(file, lambda text: editor.rename(text, path, endpoint, new, former))
    finish(session, draft, f"renamed {name} to {network}/{new}", ("warpctl apply",), dry_run, form)


@network_app.command("rename")
def network_rename(
    context: typer.Context,
    name: NetworkName,
    new: NewName,
    dry_run: Dry = False,
    form: Output = Format.text,
) -> None:
    """Give a network another name: it keeps its numbers, addresses and keys."""
    session: Session = context.obj
    file, _ = network_at(session, name)
    fields = editor.fields_at(file.read_text(encoding="utf-8-sig"), ("networks", name))
    former = _former(name, fields, session.store.read_allocations().networks)
    draft = drafted(file, lambda text: editor.rename(text, ("networks",), name, new, former))
    finish(session, draft, f"renamed network {name} to {new}", ("warpctl apply",), dry_run, form)


def _former(name: str, fields: Mapping[str, Any], allocated: Mapping[str, Any]) -> str:
    """Return the name that has the allocations: the former one, until a rename is applied."""
    before = fields.get("renamed_from")
    return str(before) if before in allocated and name not in allocated else name


@endpoint_app.command("enable")
def endpoint_enable(
    context: typer.Context, name: EndpointName, dry_run: Dry = False, form: Output = Format.text
) -> None:
    """Let an endpoint in again: it has kept its addresses and keys."""
    _switch(context.obj, name, True, dry_run, form)


@endpoint_app.command("disable")
def endpoint_disable(
    context: typer.Context, name: EndpointName, dry_run: Dry = False, form: Output = Format.text
) -> None:
    """Cut an endpoint off at the next apply; it keeps its addresses and keys."""
    _switch(context.obj, name, False, dry_run, form)


def _switch(session: Session, name: str, on: bool, dry_run: bool, form: Format) -> None:
    """Write or remove `enabled: false`.

    Raises:
        WarpError: it is so already, or there is no such endpoint.
    """
    file, network, endpoint, fields = endpoint_at(session, name)
    state = "enabled" if on else "disabled"
    if fields.get("enabled", True) is on:
        text = f"{name} is {state} already"
        raise WarpError(text, code="nothing-to-change", who="operator")
    path = ("networks", network, "endpoints", endpoint)
    changes = {"enabled": None if on else False}
    draft = drafted(file, lambda text: editor.set_fields(text, path, changes))
    finish(session, draft, f"{state} {name}", ("warpctl apply",), dry_run, form)


@endpoint_app.command("set")
def endpoint_set(
    context: typer.Context,
    name: EndpointName,
    kind: Annotated[
        str | None,
        typer.Option("--type", help="mobile, cpe or gateway", autocompletion=names.endpoint_types),
    ] = None,
    description: Annotated[str | None, typer.Option(help="free text")] = None,
    address: Annotated[str | None, typer.Option(help="IPv4 address inside")] = None,
    address6: Annotated[str | None, typer.Option(help="IPv6 address inside")] = None,
    public_key: Annotated[str | None, typer.Option(help="the device's own")] = None,
    routes: Annotated[
        list[str] | None, typer.Option(help="all networks behind it; may be repeated")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="HOST:PORT at which the gateway reaches it first")
    ] = None,
    keepalive: Annotated[
        int | None, typer.Option(help="seconds between keepalives of the gateway")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="YEAR-MONTH-DAY: from then on it is out")
    ] = None,
    unset: Unset = None,
    dry_run: Dry = False,
    form: Output = Format.text,
) -> None:
    """Change fields of an endpoint; all others stay as they are."""
    session: Session = context.obj
    file, network, own, there = endpoint_at(session, name)
    fields = {
        "type": kind,
        "description": description,
        "address": address,
        "address6": address6,
        "public_key": public_key,
        "routes": split_list(routes),
        "endpoint": endpoint,
        "keepalive": keepalive,
        "expires": expires,
    }
    changes = _changes(name, fields, unset, there)
    draft = drafted(
        file, lambda text: editor.set_fields(text, ("networks", network, "endpoints", own), changes)
    )
    finish(
        session, draft, f"changed {', '.join(changes)} of {name}", ("warpctl apply",), dry_run, form
    )


@network_app.command("set")
def network_set(
    context: typer.Context,
    name: NetworkName,
    description: Annotated[str | None, typer.Option(help="free text")] = None,
    expected_users: Annotated[
        int | None, typer.Option(help="how many endpoints the subnet is sized for")
    ] = None,
    isolation: Annotated[str | None, typer.Option(help="namespace or vrf")] = None,
    subnet: Annotated[str | None, typer.Option(help="IPv4 subnet")] = None,
    subnet6: Annotated[str | None, typer.Option(help="IPv6 subnet")] = None,
    port: Annotated[int | None, typer.Option(help="UDP port")] = None,
    mtu: Annotated[int | None, typer.Option(help="MTU inside")] = None,
    dns: Annotated[
        list[str] | None, typer.Option(help="all DNS servers for its clients; may be repeated")
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="all that may be reached, as 10.9.0.0/24:tcp/443; may be repeated"),
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="whether it is in the kernel")
    ] = None,
    peer_communication: Annotated[
        bool | None, typer.Option(help="whether endpoints may talk to each other")
    ] = None,
    unset: Unset = None,
    dry_run: Dry = False,
    form: Output = Format.text,
) -> None:
    """Change fields of a network; all others stay as they are."""
    session: Session = context.obj
    file, _ = network_at(session, name)
    fields = {
        "description": description,
        "expected_users": expected_users,
        "isolation": isolation,
        "subnet": subnet,
        "subnet6": subnet6,
        "port": port,
        "mtu": mtu,
        "dns": split_list(dns),
        "resources": resources_of(resource),
        "enabled": enabled,
        "peer_communication": peer_communication,
    }
    there = editor.fields_at(file.read_text(encoding="utf-8-sig"), ("networks", name))
    changes = _changes(name, fields, unset, there)
    draft = drafted(file, lambda text: editor.set_fields(text, ("networks", name), changes))
    finish(
        session,
        draft,
        f"changed {', '.join(changes)} of network {name}",
        ("warpctl apply",),
        dry_run,
        form,
    )


def _changes(
    name: str, fields: Mapping[str, Any], unset: Sequence[str] | None, there: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields to write; None removes a field.

    Args:
        name: of the endpoint or network, for messages.
        fields: the values that the command line gives; None is not given.
        unset: fields to remove.
        there: the fields in the YAML.

    Raises:
        WarpError: no change is asked for, or a field to remove does not exist.
    """
    changes = {key: value for key, value in fields.items() if value is not None}
    removable = [field for field in there if field not in ("type", "endpoints")]
    for field in unset or ():
        if field not in removable:
            raise WarpError(
                f"{name} has no field {field} that could be removed",
                code="unknown-field",
                who="operator",
                hint=editor.nearest(field, removable),
            )
        changes[field] = None
    if not changes:
        raise WarpError(
            "nothing to change was named",
            code="usage",
            who="operator",
            hint="see --help for the fields",
        )
    return changes
