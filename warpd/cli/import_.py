"""The command import: write the networks, endpoints and keys of an older gateway as YAML and key
files.

The files of the older gateway are only read; `warpd.imports` knows what they mean. Keys are written
before the YAML that names them. What cannot be imported is reported and never guessed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from warpd.cli import output
from warpd.cli.app import Output, app
from warpd.cli.output import Format
from warpd.errors import Finding, InvalidIntent, WarpError, render_finding
from warpd.imports import SOURCES
from warpd.imports.found import ImportOptions, ImportResult
from warpd.intent.file_names import MAIN_FILE
from warpd.intent.loader import load
from warpd.keys import derivation
from warpd.service.edits import Draft, diff_text, drafted, refusal, target_of, write
from warpd.service.views.render import VERSION, finding_json
from warpd.service.views.words import plural
from warpd.service.workspace import LoadedIntent, Workspace
from warpd.store.atomic_file import create, translate_oserror
from warpd.yamlfile import editor, writer

SIZE_MAX = 64 * 2**20  # bytes of a config


@app.command("import")
def import_(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="a server's wg0.conf, or warp_gateway.db")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="of the network; default: the file's (wg-quick)")
    ] = None,
    kind: Annotated[str | None, typer.Option("--type", help="of the network (wg-quick)")] = None,
    key_folder: Annotated[
        Path | None,
        typer.Option("--keys", help="where key files go; default: keys beside the YAML"),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="the file to write to, as networks.d/old.yaml")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="leave out what is wrong, import the rest")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show the difference, write nothing")
    ] = False,
    output_format: Output = Format.text,
) -> None:
    """Import an older gateway with its keys, ports and addresses, so that its clients go on.

    The source is a wg-quick server config, or the SQLite database of the older KahLuna WARP
    gateway.
    """
    workspace: Workspace = context.obj
    config = workspace.to_edit()
    main = config / MAIN_FILE if config.is_dir() else config
    folder = Path(os.path.abspath(key_folder or main.parent / "keys"))
    found = _found(source, ImportOptions(str(source), str(folder), name, kind))
    broken = sum(item.is_error for item in found.findings)
    if broken and not skip_broken:
        output.note(
            "nothing was written: fix the older gateway's data, or leave out what is wrong with"
            " --skip-broken"
        )
        raise refusal(workspace, InvalidIntent(found.findings))
    draft, found, read = _checked(
        workspace, found, lambda some: _drafted(main, file, some, source.name), skip_broken
    )
    lost: tuple[Finding, ...] = ()
    if not dry_run:
        _write_keys(folder, found)
        lost = write(draft)
    _report(
        draft,
        found,
        (*found.findings, *(found.in_old_file(item) for item in read.warnings), *lost),
        dry_run,
        output_format,
    )


def _found(source: Path, wanted: ImportOptions) -> ImportResult:
    with translate_oserror(source), source.open("rb") as stream:
        head = stream.read(4096)
        for each in SOURCES:
            if each.is_mine(head):
                rest = stream.read(SIZE_MAX) if not head.startswith(b"SQLite") else b""
                found: ImportResult = each.read(head + rest, wanted)
                return found
    kinds = " nor ".join(each.KIND for each in SOURCES)
    raise WarpError(f"{source} is neither {kinds}", code="import-unknown", who="operator")


def _checked(
    workspace: Workspace,
    found: ImportResult,
    attempt: Callable[[ImportResult], Draft],
    skip_broken: bool,
) -> tuple[Draft, ImportResult, LoadedIntent]:
    """Return a draft that is valid together with all other files.

    Args:
        workspace: the files.
        found: what the older gateway has.
        attempt: makes a draft of it.
        skip_broken: leave out what makes the YAML invalid.

    Raises:
        InvalidIntent: there is no valid draft.
    """
    if not found.networks:
        output.note("nothing was written: there is nothing sound to import")
        raise refusal(workspace, InvalidIntent(found.findings))
    draft = attempt(found)
    try:
        return draft, found, workspace.read({draft.file: draft.new})
    except InvalidIntent as failure:
        rest = found.without(failure.findings)
        if skip_broken and rest is not None:
            return _checked(workspace, rest, attempt, skip_broken)
        output.note("nothing was written: what was found does not make a valid YAML")
        for finding in found.findings:
            output.note(render_finding(finding))
        located = InvalidIntent(found.located(item) for item in failure.findings)
        raise refusal(workspace, located) from None


def _drafted(main: Path, file: Path | None, found: ImportResult, origin: str) -> Draft:
    if not main.exists() and file is None:
        gateway = {"gateway": found.gateway} if found.gateway else {}
        text = writer.document(
            {"version": 1, **gateway, "networks": found.networks}, [f"imported from {origin}"]
        )
        return Draft(main, None, text.encode())
    return drafted(
        target_of(load(main), file), lambda text: editor.add_networks(text, found.networks)
    )


def _write_keys(folder: Path, found: ImportResult) -> None:
    """Write each key to a file of its own; a file with the same key may exist already.

    Raises:
        WarpError: a file has another key, or cannot be written.
    """
    if not found.keys:
        return
    with translate_oserror(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    missing = {}
    for path, key in found.keys.items():
        data = (derivation.encode(key.reveal()) + "\n").encode()
        with translate_oserror(Path(path)):
            if not os.path.lexists(path):
                missing[path] = data
            elif Path(path).read_bytes() != data:
                raise WarpError(
                    f"{path} holds another key; nothing was written",
                    code="key-exists",
                    who="operator",
                    hint="name another folder with --keys",
                )
    for path, data in missing.items():
        create(Path(path), data, 0o600)


def _report(
    draft: Draft,
    found: ImportResult,
    findings: tuple[Finding, ...],
    dry_run: bool,
    output_format: Format,
) -> None:
    for finding in findings:
        output.note(render_finding(finding))
    endpoints = sum(len(body["endpoints"]) for body in found.networks.values())
    counts = (
        (len(found.networks), "network"),
        (endpoints, "endpoint"),
        (len(found.keys), "key file"),
    )
    networks, ends, files = (plural(count, word) for count, word in counts)
    difference = diff_text(draft)
    data = {
        "version": VERSION,
        "file": str(draft.file),
        "written": not dry_run,
        "diff": difference,
        "key_files": sorted(found.keys),
        "warnings": [finding_json(item) for item in findings],
    }
    done = f"{draft.file}: {networks}, {ends}; {files}"
    text = (
        difference.rstrip("\n")
        if dry_run
        else f"{done}\nnext: warpctl plan\nthen: stop the older gateway, and warpctl apply"
    )
    output.emit(data, text, output_format)
