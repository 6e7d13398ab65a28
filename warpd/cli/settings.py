"""The commands endpoint and network rename, set, enable and disable: edits of what is in the YAML
already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from warpd.cli import fields
from warpd.cli.app import Output, endpoint_app, network_app
from warpd.cli.edit import Dry, endpoint_named, finish
from warpd.cli.fields import resources_of, split_list
from warpd.cli.names import EndpointName, NetworkName
from warpd.cli.output import Format
from warpd.errors import WarpError
from warpd.service.edits import Edit, endpoint_fields, given, opened
from warpd.service.workspace import Workspace

NewName = Annotated[str, typer.Argument(metavar="NEW", help="the new name, without the network's")]
Unset = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="FIELD", help="remove this field; may be repeated"),
]
APPLY = ("warpctl apply",)


@endpoint_app.command("rename")
def endpoint_rename(
    context: typer.Context,
    name: EndpointName,
    new: NewName,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Give an endpoint another name: it keeps its addresses, keys and history."""
    workspace: Workspace = context.obj
    files = opened(workspace, workspace.store.read_allocations())
    edit = Edit("rename_endpoint", *endpoint_named(name), to=new)
    done = f"renamed {name} to {edit.network}/{new}"
    finish(workspace, files, edit, done, APPLY, dry_run, output_format)


@network_app.command("rename")
def network_rename(
    context: typer.Context,
    name: NetworkName,
    new: NewName,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Give a network another name: it keeps its numbers, addresses and keys."""
    workspace: Workspace = context.obj
    files = opened(workspace, workspace.store.read_allocations())
    edit = Edit("rename_network", name, to=new)
    finish(
        workspace, files, edit, f"renamed network {name} to {new}", APPLY, dry_run, output_format
    )


@endpoint_app.command("enable")
def endpoint_enable(
    context: typer.Context,
    name: EndpointName,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Let an endpoint in again: it has kept its addresses and keys."""
    _switch(context.obj, name, True, dry_run, output_format)


@endpoint_app.command("disable")
def endpoint_disable(
    context: typer.Context,
    name: EndpointName,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Cut an endpoint off at the next apply; it keeps its addresses and keys."""
    _switch(context.obj, name, False, dry_run, output_format)


def _switch(
    workspace: Workspace, name: str, on: bool, dry_run: bool, output_format: Format
) -> None:
    """Write or remove `enabled: false`.

    Raises:
        WarpError: it is so already, or there is no such endpoint.
    """
    files, (network, endpoint) = opened(workspace), endpoint_named(name)
    state = "enabled" if on else "disabled"
    if endpoint_fields(files, network, endpoint).get("enabled", True) is on:
        text = f"{name} is {state} already"
        raise WarpError(text, code="nothing-to-change", who="operator")
    edit = Edit("set_endpoint", network, endpoint, {"enabled": None if on else False})
    finish(workspace, files, edit, f"{state} {name}", APPLY, dry_run, output_format)


@endpoint_app.command("set")
def endpoint_set(
    context: typer.Context,
    name: EndpointName,
    kind: fields.EndpointKind = None,
    description: fields.Description = None,
    address: fields.Address = None,
    address6: fields.Address6 = None,
    public_key: fields.PublicKey = None,
    routes: fields.Routes = None,
    endpoint: fields.OuterAddress = None,
    keepalive: fields.Keepalive = None,
    expires: fields.Expires = None,
    unset: Unset = None,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Change fields of an endpoint; all others stay as they are."""
    values = {
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
    workspace: Workspace = context.obj
    files = opened(workspace)
    edit = Edit("set_endpoint", *endpoint_named(name), fields=_changes(values, unset))
    done = f"changed {', '.join(edit.fields)} of {name}"
    finish(workspace, files, edit, done, APPLY, dry_run, output_format)


@network_app.command("set")
def network_set(
    context: typer.Context,
    name: NetworkName,
    description: fields.Description = None,
    expected_users: fields.ExpectedUsers = None,
    isolation: fields.Isolation = None,
    subnet: fields.Subnet = None,
    subnet6: fields.Subnet6 = None,
    port: fields.Port = None,
    mtu: fields.Mtu = None,
    dns: fields.Dns = None,
    resource: fields.Resources = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="whether it is in the kernel")
    ] = None,
    peer_communication: Annotated[
        bool | None, typer.Option(help="whether endpoints may talk to each other")
    ] = None,
    unset: Unset = None,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Change fields of a network; all others stay as they are."""
    values = {
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
    workspace: Workspace = context.obj
    files = opened(workspace)
    edit = Edit("set_network", name, fields=_changes(values, unset))
    done = f"changed {', '.join(edit.fields)} of {edit.subject}"
    finish(workspace, files, edit, done, APPLY, dry_run, output_format)


def _changes(values: Mapping[str, Any], unset: Sequence[str] | None) -> dict[str, Any]:
    """Return the fields to write; None removes a field.

    Args:
        values: those that the command line gives; None is not given.
        unset: the fields to remove.
    """
    return {**given(values), **dict.fromkeys(unset or ())}
