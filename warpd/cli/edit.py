"""The commands network add and remove, endpoint add, remove and rotate: edits of the YAML in place.

This module chooses the file, checks the whole intent together with the change, and writes it only
if it is valid. `yamlfile.editor` changes the text, and `store.atomic_file` writes the file. The
kernel changes with the next `apply`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from warpd.cli import names, output
from warpd.cli.app import Output, endpoint_app, network_app
from warpd.cli.names import EndpointName
from warpd.cli.output import Format
from warpd.errors import Finding, InvalidIntent, WarpError, render_finding
from warpd.imports.csv import Roster, roster
from warpd.intent.loader import FOLDER, MAIN_FILE, Loaded, load
from warpd.intent.network_types import NETWORK_TYPES
from warpd.service.views.render import VERSION, finding_json
from warpd.service.workspace import Session
from warpd.store.atomic_file import create, replace, told
from warpd.yamlfile import editor

BOM = b"\xef\xbb\xbf"
ROSTER_MAX = 64 * 2**20  # bytes; the same as for a YAML file

Dry = Annotated[bool, typer.Option("--dry-run", help="show the difference, write nothing")]
# A comma separates two resources only where an address follows: ports are separated by commas too.
_BETWEEN_RESOURCES = re.compile(r"[,\s]+(?=[^,\s]*[./:])")
_RESOURCE = re.compile(
    r"(?P<subnet>[0-9a-fA-F.:/]+?)(:(?P<protocol>[a-z]+)(/(?P<ports>[0-9,-]+))?)?(@(?P<via>[a-z0-9-]+))?"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A file before and after an edit; `old` is None for a file that does not exist yet."""

    file: Path
    old: bytes | None
    new: bytes


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
    description: Annotated[str | None, typer.Option(help="free text")] = None,
    expected_users: Annotated[
        int | None, typer.Option(help="how many endpoints the subnet is sized for")
    ] = None,
    isolation: Annotated[str | None, typer.Option(help="namespace or vrf")] = None,
    vcid: Annotated[int | None, typer.Option(help="virtual circuit id; default: allocated")] = None,
    subnet: Annotated[str | None, typer.Option(help="IPv4 subnet; default: allocated")] = None,
    subnet6: Annotated[str | None, typer.Option(help="IPv6 subnet; default: a ULA /64")] = None,
    port: Annotated[int | None, typer.Option(help="UDP port; default: allocated")] = None,
    mtu: Annotated[int | None, typer.Option(help="MTU inside")] = None,
    dns: Annotated[
        list[str] | None, typer.Option(help="a DNS server for its clients; may be repeated")
    ] = None,
    peer_communication: Annotated[
        bool, typer.Option("--peer-communication", help="endpoints may talk to each other")
    ] = False,
    resource: Annotated[
        list[str] | None,
        typer.Option(help="what may be reached, as 10.9.0.0/24:tcp/443; may be repeated"),
    ] = None,
    vlan_id: Annotated[int | None, typer.Option(help="L2: the access VLAN")] = None,
    vlan_range: Annotated[
        str | None, typer.Option(help="L2: tagged VLANs let through, FIRST-LAST")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="the file to write to, as networks.d/corp.yaml")
    ] = None,
    dry_run: Dry = False,
    form: Output = Format.text,
) -> None:
    """Add a network to the YAML."""
    session: Session = context.obj
    fields = {
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
    loaded = _readable(session)
    if name in loaded.owners:
        raise WarpError(
            f"network {name} is there already, in {loaded.sources[loaded.owners[name]].file}",
            code="exists",
            who="operator",
            hint="take another name, or remove that one first",
        )
    target = target_of(loaded, file)
    draft = drafted(target, lambda text: editor.add_networks(text, {name: _given(fields)}))
    following = (f"warpctl endpoint add {name} NAME --type mobile", "warpctl apply")
    finish(session, draft, f"added network {name}", following, dry_run, form)


@network_app.command("remove")
def network_remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    dry_run: Dry = False,
    form: Output = Format.text,
) -> None:
    """Remove a network and its endpoints from the YAML. `enabled: false` keeps its allocations."""
    session: Session = context.obj
    file, _ = network_at(session, name)
    draft = drafted(file, lambda text: editor.remove_network(text, name))
    finish(session, draft, f"removed network {name}", ("warpctl apply",), dry_run, form)


@endpoint_app.command("add")
def endpoint_add(
    context: typer.Context,
    network: Annotated[str, typer.Argument(metavar="NETWORK")],
    name: Annotated[str | None, typer.Argument(metavar="NAME")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="mobile, cpe or gateway")] = None,
    description: Annotated[str | None, typer.Option(help="free text")] = None,
    address: Annotated[
        str | None, typer.Option(help="IPv4 address inside; default: allocated")
    ] = None,
    address6: Annotated[
        str | None, typer.Option(help="IPv6 address inside; default: allocated")
    ] = None,
    public_key: Annotated[
        str | None, typer.Option(help="the device's own; default: a key pair made by the gateway")
    ] = None,
    no_preshared_key: Annotated[bool, typer.Option("--no-preshared-key", help="use none")] = False,
    routes: Annotated[
        list[str] | None, typer.Option(help="a network behind it; may be repeated")
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
    from_csv: Annotated[
        Path | None, typer.Option("--from-csv", help="many: columns as the YAML's fields, and name")
    ] = None,
    dry_run: Dry = False,
    form: Output = Format.text,
) -> None:
    """Add an endpoint to a network, or many from a CSV file: all of them or none."""
    session: Session = context.obj
    if name is None and "/" in network:
        network, _, name = network.partition("/")
    file, there = network_at(session, network)
    if from_csv is not None:
        if name is not None:
            raise WarpError(
                "NAME and --from-csv exclude each other",
                code="usage",
                who="operator",
                hint="leave one of them out",
            )
        _add_many(session, file, network, there, _roster(from_csv, there, kind), dry_run, form)
        return
    if name is None or kind is None:
        hint = "warpctl endpoint add NETWORK NAME --type mobile (or cpe, gateway)"
        raise WarpError(
            "an endpoint needs a name and a --type", code="usage", who="operator", hint=hint
        )
    fields = {
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
    draft = drafted(file, lambda text: editor.add_endpoints(text, network, {name: _given(fields)}))
    following = ("warpctl apply", f"warpctl endpoint config {network}/{name}")
    finish(session, draft, f"added endpoint {network}/{name}", following, dry_run, form)


@endpoint_app.command("remove")
def endpoint_remove(
    context: typer.Context, name: EndpointName, dry_run: Dry = False, form: Output = Format.text
) -> None:
    """Remove an endpoint from the YAML; `apply` then cuts it off.

    `enabled: false` keeps its allocations.
    """
    session: Session = context.obj
    file, network, endpoint, _ = endpoint_at(session, name)
    draft = drafted(file, lambda text: editor.remove_endpoint(text, network, endpoint))
    finish(session, draft, f"removed endpoint {name}", ("warpctl apply",), dry_run, form)


@endpoint_app.command("rotate")
def endpoint_rotate(
    context: typer.Context, name: EndpointName, dry_run: Dry = False, form: Output = Format.text
) -> None:
    """Raise an endpoint's `rotation` by one: after `apply` its old keys are refused and it needs
    its config again.
    """
    session: Session = context.obj
    file, network, endpoint, fields = endpoint_at(session, name)
    _refuse_idle(name, fields)
    draft = drafted(file, lambda text: editor.rotate(text, network, endpoint))
    following = ("warpctl apply", f"warpctl endpoint config {name}")
    finish(session, draft, f"rotated the keys of {name}", following, dry_run, form)


def _refuse_idle(name: str, fields: Mapping[str, Any]) -> None:
    """Refuse a rotation that changes nothing, because every key is given.

    Raises:
        WarpError: no key of the endpoint is derived.
    """
    derived = fields.get("preshared_key", True) is True and not fields.get("preshared_key_file")
    if fields.get("public_key") and not derived:
        text = f"{name} has only keys of its own: a rotation would change none of them"
        raise WarpError(
            text, code="nothing-to-rotate", who="operator", hint="write its new public_key instead"
        )


# -- which file


def _readable(session: Session) -> Loaded:
    """Read the files.

    Raises:
        InvalidIntent: a file cannot be read as YAML.
        WarpError: the YAML comes from a repository.
    """
    loaded = load(session.to_edit())
    if any(source.value is None for source in loaded.sources):
        raise InvalidIntent(loaded.findings)
    return loaded


def network_at(session: Session, name: str) -> tuple[Path, Mapping[str, Any]]:
    """Return the file that defines a network, and the network's endpoints.

    Raises:
        WarpError: there is no such network.
    """
    loaded = _readable(session)
    if name not in loaded.owners:
        hint = editor.nearest(name, loaded.owners)
        raise WarpError(
            f"there is no network {name}", code="unknown-network", who="operator", hint=hint
        )
    source = loaded.sources[loaded.owners[name]]
    body = source.network(name)
    endpoints = body.get("endpoints") if isinstance(body, dict) else None
    return Path(source.file), endpoints if isinstance(endpoints, dict) else {}


def endpoint_at(session: Session, text: str) -> tuple[Path, str, str, Mapping[str, Any]]:
    """Return the file that defines NETWORK/NAME, both names, and the endpoint's fields.

    Raises:
        WarpError: there is no such endpoint.
    """
    network, slash, name = text.partition("/")
    if not slash:
        raise WarpError(
            f"{text} is not NETWORK/NAME",
            code="bad-name",
            who="operator",
            hint="for example privacy/phone-1",
        )
    file, endpoints = network_at(session, network)
    if name not in endpoints:
        hint = editor.nearest(name, endpoints)
        raise WarpError(
            f"network {network} has no endpoint {name}",
            code="unknown-endpoint",
            who="operator",
            hint=hint,
        )
    fields = endpoints[name]
    return file, network, name, fields if isinstance(fields, dict) else {}


def target_of(loaded: Loaded, file: Path | None) -> Path:
    """Return the file that an edit goes to.

    Args:
        loaded: the files that are read.
        file: the one that the operator named, relative to the working directory, to the folder of
            the main file or to networks.d there; None for the main file.

    Raises:
        WarpError: the named file is not one that this gateway reads, or would read.
    """
    main = Path(loaded.sources[0].file)
    if file is None:
        return main
    folder = main.parent / FOLDER
    candidates = (file, main.parent / file, folder / file)
    known = {Path(source.file).resolve(): Path(source.file) for source in loaded.sources}
    for candidate in candidates:
        if candidate.resolve() in known:
            return known[candidate.resolve()]
    if _is_read(main, file.name) and any(_is_new(candidate, folder) for candidate in candidates):
        return folder / file.name
    hint = f"it reads {main} and, if there is that folder, {folder}/*.yaml"
    raise WarpError(
        f"{file} is not a file that this gateway reads",
        code="unread-file",
        who="operator",
        hint=hint,
    )


# -- the draft


def _is_read(main: Path, name: str) -> bool:
    """Whether a file with this name would be read in networks.d beside the main file."""
    if main.name != MAIN_FILE or not (main.parent / FOLDER).is_dir():
        return False
    return name.endswith(".yaml") and not name.startswith(".")


def _is_new(file: Path, folder: Path) -> bool:
    """Whether a path is one of a folder at which there is no file."""
    return file.resolve().parent == folder.resolve() and not file.exists()


def drafted(file: Path, change: Callable[[str], str]) -> Draft:
    """Apply a change to the text of a file, without writing it.

    Raises:
        WarpError: the file cannot be read, or cannot be edited that way.
    """
    if not file.exists():
        return Draft(file, None, change("networks: {}\n").encode())
    with told(file):
        old = file.read_bytes()
    mark = BOM if old.startswith(BOM) else b""
    try:
        return Draft(file, old, mark + change(old.removeprefix(mark).decode()).encode())
    except UnicodeError:
        raise WarpError("that is not UTF-8", code="encoding", who="operator") from None


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


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
    return _given(found)


def _port(text: str) -> int | str:
    """Return a port as a number, and a range of ports as text."""
    return int(text) if text.isdigit() else text


def finish(
    session: Session, draft: Draft, done: str, following: Sequence[str], dry_run: bool, form: Format
) -> None:
    """Check the whole intent together with the draft, then write it, or only show it.

    Args:
        session: the files.
        draft: the edit.
        done: what it does, for the message.
        following: the commands that should follow.
        dry_run: write nothing.
        form: of the output.

    Raises:
        InvalidIntent: the YAML would be invalid.
        WarpError: the file could not be written, or was changed meanwhile.
    """
    try:
        read = session.read({draft.file: draft.new})
    except InvalidIntent:
        output.note(
            "nothing was written: with this change the YAML is not valid (places are those of the"
            " changed file)"
        )
        raise
    if not dry_run:
        write(draft)
    _report(draft, read.warnings, done, following, dry_run, form)


def write(draft: Draft) -> None:
    """Write the draft, unless the file was changed meanwhile.

    Raises:
        WarpError: the file could not be written, or was changed.
    """
    if draft.old is None:
        create(draft.file, draft.new, 0o644)
    else:
        replace(draft.file, draft.old, draft.new)


def _report(
    draft: Draft,
    warnings: Sequence[Finding],
    done: str,
    following: Sequence[str],
    dry_run: bool,
    form: Format,
) -> None:
    for warning in warnings:
        output.note(render_finding(warning))
    difference = diff_text(draft)
    data = {
        "version": VERSION,
        "file": str(draft.file),
        "written": not dry_run,
        "diff": difference,
        "next": list(following),
        "warnings": [finding_json(item) for item in warnings],
    }
    steps = "\n".join(
        f"{'next' if number == 0 else 'then'}: {step}" for number, step in enumerate(following)
    )
    text = difference.rstrip("\n") if dry_run else f"{draft.file}: {done}\n{steps}"
    output.emit(data, text, form)


def diff_text(draft: Draft) -> str:
    """Return the unified difference of a draft, which `patch` accepts."""
    old, new = (_lines(raw or b"") for raw in (draft.old, draft.new))
    name = "/dev/null" if draft.old is None else str(draft.file)
    return "".join(_marked(line) for line in difflib.unified_diff(old, new, name, str(draft.file)))


def _lines(raw: bytes) -> list[str]:
    """Split into lines as `patch` does: a line ends at LF, and a CR before it is part of it."""
    *whole, last = raw.decode(errors="replace").split("\n")
    lines = [f"{line}\n" for line in whole]
    return [*lines, last] if last else lines


def _marked(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


# -- many at once


def _roster(path: Path, there: Mapping[str, Any], kind: str | None) -> Roster:
    with told(path), path.open("rb") as file:
        raw = file.read(ROSTER_MAX + 1)
    if len(raw) > ROSTER_MAX:
        raise WarpError(f"{path} is over {ROSTER_MAX >> 20} MiB", code="file-size", who="operator")
    return roster(raw, str(path), there, kind)


def _add_many(
    session: Session,
    file: Path,
    network: str,
    there: Mapping[str, Any],
    rows: Roster,
    dry_run: bool,
    form: Format,
) -> None:
    """Add all rows or none.

    Sound rows are checked even if others are broken, so that every problem is reported at once.
    """
    findings = list(rows.findings)
    draft = None
    if rows.endpoints:
        draft = drafted(file, lambda text: editor.add_endpoints(text, network, rows.endpoints))
        findings += [rows.relocate(item, network) for item in _findings(session, draft)]
    if draft is None or rows.findings or any(item.is_error for item in findings):
        output.note("nothing was written: every line must be right")
        raise InvalidIntent(sorted(findings, key=_place))
    following = (
        "warpctl apply",
        f"warpctl endpoint config {network}/{next(iter(rows.endpoints))}, and so on",
    )
    done = f"added {output.plural(len(rows.endpoints), 'endpoint')} to network {network}"
    if not dry_run:
        write(draft)
    _report(draft, findings, done, following, dry_run, form)


def _findings(session: Session, draft: Draft) -> Iterator[Finding]:
    try:
        yield from session.read({draft.file: draft.new}).warnings
    except InvalidIntent as failure:
        yield from failure.findings


def _place(finding: Finding) -> tuple[str, int]:
    return (finding.where.file, finding.where.line) if finding.where else ("", 0)
