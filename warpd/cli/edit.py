"""The commands network add and remove, endpoint add, remove and rotate: edits of the YAML in place.

They turn options into edits. `service.edits` makes the new text, checks the whole intent together
with it, and writes it only if it is valid. A running warpd then applies it, as any edit; without
one, `warpctl apply` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from warpd.cli import asking, fields, names, output
from warpd.cli.app import Output, endpoint_app, network_app
from warpd.cli.fields import resources_of, split_list
from warpd.cli.names import EndpointName
from warpd.cli.output import Format
from warpd.errors import Finding, InvalidIntent, WarpError, render_finding
from warpd.imports.csv import EndpointTable, read_endpoints
from warpd.intent.network_types import NETWORK_TYPES
from warpd.service import edits
from warpd.service.edits import Draft, Edit, YamlFiles
from warpd.service.views.render import VERSION, finding_json
from warpd.service.views.words import plural
from warpd.service.workspace import Workspace
from warpd.store.atomic_file import translate_oserror

CSV_MAX = 64 * 2**20  # bytes; the same as for a YAML file
APPLY: Final = "warpctl apply"
# What the text says beside a command that should follow.
NOTES: Final[Mapping[str, str]] = {APPLY: " (unless a running warpd has done so by itself)"}

Dry = Annotated[bool, typer.Option("--dry-run", help="show the difference, write nothing")]


@network_app.command("add")
def network_add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    kind: Annotated[
        str,
        typer.Option(
            "--type",
            help=", ".join(NETWORK_TYPES),
            autocompletion=names.network_types,
        ),
    ],
    description: fields.Description = None,
    expected_users: fields.ExpectedUsers = None,
    isolation: fields.Isolation = None,
    vcid: Annotated[int | None, typer.Option(help="virtual circuit id; default: allocated")] = None,
    subnet: fields.Subnet = None,
    subnet6: fields.Subnet6 = None,
    port: fields.Port = None,
    mtu: fields.Mtu = None,
    dns: fields.Dns = None,
    peer_communication: Annotated[
        bool, typer.Option("--peer-communication", help="endpoints may talk to each other")
    ] = False,
    resource: fields.Resources = None,
    vlan_id: Annotated[int | None, typer.Option(help="L2: the access VLAN")] = None,
    vlan_range: Annotated[
        str | None, typer.Option(help="L2: tagged VLANs let through, FIRST-LAST")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="the file to write to, as networks.d/corp.yaml")
    ] = None,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Add a network to the YAML."""
    workspace: Workspace = context.obj
    values = {
        "type": kind,
        "description": description,
        "expected_users": expected_users,
        "isolation": isolation,
        "vcid": vcid,
        "subnet": subnet,
        "subnet6": subnet6,
        "port": port,
        "mtu": mtu,
        "dns": split_list(dns),
        "peer_communication": peer_communication or None,
        "vlan_id": vlan_id,
        "vlan_range": vlan_range,
        "resources": resources_of(resource),
    }
    edit = Edit("add_network", name, fields=values, file=file)
    following = (f"warpctl endpoint add {name} NAME --type mobile", APPLY)
    finish(
        workspace,
        edits.opened(workspace),
        edit,
        f"added {edit.subject}",
        following,
        dry_run,
        output_format,
    )


@network_app.command("remove")
def network_remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Remove a network and its endpoints from the YAML. `enabled: false` keeps its allocations."""
    workspace: Workspace = context.obj
    edit = Edit("remove_network", name)
    done = f"removed {edit.subject}"
    finish(workspace, edits.opened(workspace), edit, done, (APPLY,), dry_run, output_format)


@endpoint_app.command("add")
def endpoint_add(
    context: typer.Context,
    network: Annotated[str, typer.Argument(metavar="NETWORK")],
    name: Annotated[str | None, typer.Argument(metavar="NAME")] = None,
    kind: fields.EndpointKind = None,
    description: fields.Description = None,
    address: fields.Address = None,
    address6: fields.Address6 = None,
    public_key: fields.PublicKey = None,
    no_preshared_key: Annotated[bool, typer.Option("--no-preshared-key", help="use none")] = False,
    routes: fields.Routes = None,
    endpoint: fields.OuterAddress = None,
    keepalive: fields.Keepalive = None,
    expires: fields.Expires = None,
    from_csv: Annotated[
        Path | None, typer.Option("--from-csv", help="many: columns as the YAML's fields, and name")
    ] = None,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Add an endpoint to a network, or many from a CSV file: all of them or none."""
    workspace: Workspace = context.obj
    if name is None and "/" in network:
        network, _, name = network.partition("/")
    files = edits.opened(workspace)
    there = edits.endpoints_of(files, network)
    if from_csv is not None:
        if name is not None:
            raise WarpError(
                "NAME and --from-csv exclude each other",
                code="usage",
                who="operator",
                hint="leave one of them out",
            )
        _add_many(
            workspace, files, network, _read_csv(from_csv, there, kind), dry_run, output_format
        )
        return
    if name is None or kind is None:
        hint = "warpctl endpoint add NETWORK NAME --type mobile (or cpe, gateway)"
        raise WarpError(
            "an endpoint needs a name and a --type", code="usage", who="operator", hint=hint
        )
    values = {
        "type": kind,
        "description": description,
        "address": address,
        "address6": address6,
        "public_key": public_key,
        "preshared_key": False if no_preshared_key else None,
        "routes": split_list(routes),
        "endpoint": endpoint,
        "keepalive": keepalive,
        "expires": expires,
    }
    edit = Edit("add_endpoint", network, name, values)
    following = (APPLY, f"warpctl endpoint config {edit.name}")
    finish(workspace, files, edit, f"added endpoint {edit.name}", following, dry_run, output_format)


@endpoint_app.command("remove")
def endpoint_remove(
    context: typer.Context,
    name: EndpointName,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Remove an endpoint from the YAML: once that is applied, it is cut off.

    `enabled: false` keeps its allocations.
    """
    workspace: Workspace = context.obj
    files = edits.opened(workspace)
    edit = Edit("remove_endpoint", *endpoint_named(name))
    finish(
        workspace,
        files,
        edit,
        f"removed endpoint {name}",
        (APPLY,),
        dry_run,
        output_format,
    )


@endpoint_app.command("rotate")
def endpoint_rotate(
    context: typer.Context,
    name: EndpointName,
    dry_run: Dry = False,
    output_format: Output = Format.text,
) -> None:
    """Raise an endpoint's `rotation` by one: once that is applied, its old keys are refused and it
    needs its config again.
    """
    workspace: Workspace = context.obj
    files = edits.opened(workspace)
    edit = Edit("rotate_endpoint", *endpoint_named(name))
    following = (APPLY, f"warpctl endpoint config {name}")
    finish(workspace, files, edit, f"rotated the keys of {name}", following, dry_run, output_format)


def endpoint_named(text: str) -> tuple[str, str]:
    """Split NETWORK/NAME.

    Raises:
        WarpError: it is not of that form.
    """
    network, slash, name = text.partition("/")
    if not slash:
        raise WarpError(
            f"{text} is not NETWORK/NAME",
            code="bad-name",
            who="operator",
            hint="for example privacy/phone-1",
        )
    return network, name


def finish(
    workspace: Workspace,
    files: YamlFiles,
    edit: Edit,
    done: str,
    following: Sequence[str],
    dry_run: bool,
    output_format: Format,
) -> None:
    """Check the whole intent together with an edit, then write it, or only show it.

    Args:
        workspace: the gateway.
        files: its YAML.
        edit: what is asked for.
        done: what it does, for the message.
        following: the commands that should follow.
        dry_run: write nothing.
        output_format: of the output.

    Raises:
        InvalidIntent: the YAML is invalid. InvalidEdit: it would be.
        WarpError: there is nothing to edit that way; or the file could not be written, or was
            changed meanwhile.
    """
    drafts, warnings = _valid(workspace, _only_draft(edits.edited(files, edit)))
    if not dry_run:
        for draft in drafts:
            warnings += edits.write(draft)
    _report(drafts, warnings, done, following, dry_run, output_format)


def _valid(workspace: Workspace, draft: Draft) -> tuple[list[Draft], tuple[Finding, ...]]:
    """Return a draft with what has to be written with it, and the warnings of the whole intent.

    Raises:
        InvalidIntent: the YAML is invalid. InvalidEdit: it would be.
    """
    known = asking.readable_allocations(workspace)
    try:
        return [draft], edits.checked(workspace, draft, known)
    except InvalidIntent as failure:
        lock = edits.with_lock(workspace, draft, failure, known)
        if lock is not None:
            return [draft, lock], ()
        output.note(
            "nothing was written: with this change the YAML is not valid (places are those of the"
            " changed file)"
        )
        raise edits.refusal(workspace, failure, known) from None


def _only_draft(files: YamlFiles) -> Draft:
    """Return the one file that an edit has changed."""
    (draft,) = files.drafts.values()
    return draft


def _report(
    drafts: Sequence[Draft],
    warnings: Sequence[Finding],
    done: str,
    following: Sequence[str],
    dry_run: bool,
    output_format: Format,
) -> None:
    for warning in warnings:
        output.note(render_finding(warning))
    difference = "".join(edits.diff_text(draft) for draft in drafts)
    file, *locks = (str(draft.file) for draft in drafts)
    data = {
        "version": VERSION,
        "file": file,
        "lock": next(iter(locks), None),
        "written": not dry_run,
        "diff": difference,
        "next": list(following),
        "warnings": [finding_json(item) for item in warnings],
    }
    steps = "\n".join(
        f"{'next' if number == 0 else 'then'}: {step}{NOTES.get(step, '')}"
        for number, step in enumerate(following)
    )
    lines = [f"{file}: {done}", *(f"{lock}: has the new values; commit it too" for lock in locks)]
    text = difference.rstrip("\n") if dry_run else "\n".join([*lines, steps])
    output.emit(data, text, output_format)


# -- many at once


def _read_csv(path: Path, there: Mapping[str, Any], kind: str | None) -> EndpointTable:
    with translate_oserror(path), path.open("rb") as file:
        raw = file.read(CSV_MAX + 1)
    if len(raw) > CSV_MAX:
        raise WarpError(f"{path} is over {CSV_MAX >> 20} MiB", code="file-size", who="operator")
    return read_endpoints(raw, str(path), there, kind)


def _add_many(
    workspace: Workspace,
    files: YamlFiles,
    network: str,
    rows: EndpointTable,
    dry_run: bool,
    output_format: Format,
) -> None:
    """Add all rows or none."""
    draft = None
    if rows.endpoints:
        draft = _only_draft(edits.add_endpoints(files, network, rows.endpoints))
    known = asking.readable_allocations(workspace)
    findings = edits.findings_of_rows(workspace, rows, network, draft, known)
    if draft is None or rows.findings or any(item.is_error for item in findings):
        output.note("nothing was written: every line must be right")
        raise edits.refusal(workspace, InvalidIntent(edits.in_order_of_lines(findings)), known)
    following = (
        APPLY,
        f"warpctl endpoint config {network}/{next(iter(rows.endpoints))}, and so on",
    )
    done = f"added {plural(len(rows.endpoints), 'endpoint')} to network {network}"
    if not dry_run:
        findings += edits.write(draft)
    _report([draft], findings, done, following, dry_run, output_format)
