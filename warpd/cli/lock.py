"""The command lock: write the allocations beside the YAML, for git."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warpd.allocation.lockfile import lock_text, parsed, resolved
from warpd.allocation.lockfile_checks import BEHIND
from warpd.allocation.merge import merged_locks
from warpd.cli import output
from warpd.cli.app import Output, app
from warpd.cli.output import Format
from warpd.errors import EXIT_FAILED, Finding, render_finding
from warpd.intent.file_names import LOCK_FILE
from warpd.service.views.render import VERSION, finding_json
from warpd.service.workspace import LoadedIntent, Workspace
from warpd.store.atomic_file import create, replace, translate_oserror
from warpd.store.private_file import write_private


@app.command()
def lock(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; exit code 1 when the lock is behind")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="write it there instead, for a clone of the repository"),
    ] = None,
    merge: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--merge", metavar="OURS THEIRS", help="as a merge driver: both into OURS"),
    ] = None,
    output_format: Output = Format.text,
) -> None:
    """Write the allocations to warp.lock.yaml beside the YAML: commit both.

    The file contains no secrets; no root is needed.

    A lock file that git left with conflicts is resolved: of a value that both sides have allocated,
    ours keeps it, and theirs gets another one.

    A gateway that is built again from the YAML, its lock file and the master secret is the same
    gateway.
    """
    workspace: Workspace = context.obj
    if merge is not None:
        _merge(*merge)
    elif check:
        _check(workspace, output_format)
    else:
        _write(workspace, out, output_format)


def _check(workspace: Workspace, output_format: Format) -> None:
    """Show where the lock file is behind; the exit code is 1 then."""
    read = workspace.read(yaml_wins=True)
    outdated = _outdated(read, workspace.lock_file)
    for finding in outdated:
        output.note(render_finding(finding))
    _emit(workspace.lock_file, "behind" if outdated else "up to date", outdated, output_format)
    raise typer.Exit(EXIT_FAILED if outdated else 0)


def _write(workspace: Workspace, out: Path | None, output_format: Format) -> None:
    """Write the lock file, or the file `out` instead; resolve conflicts that git left in it."""
    repaired = resolved(workspace.lock_file)
    if repaired is not None:
        lock_file, warnings = repaired
        workspace.take_lock(lock_file)
        for warning in warnings:
            output.note(f"warning: {warning}")
    if out is None:
        workspace.to_edit()
    read = workspace.read(yaml_wins=True)
    new = lock_text(read.allocations).encode()
    outdated = _outdated(read, workspace.lock_file)
    if out is not None:
        write_private(out, new, 0o644)
        _emit(out, "written", outdated, output_format)
    elif read.lockfile is None or read.lockfile.raw != new:
        write(read, workspace.lock_file, new)
        _emit(workspace.lock_file, "written", outdated, output_format)
    else:
        _emit(workspace.lock_file, "up to date", outdated, output_format)


def _emit(path: Path, state: str, outdated: list[Finding], output_format: Format) -> None:
    data = {
        "version": VERSION,
        "file": str(path),
        "written": state == "written",
        "behind": [finding_json(item) for item in outdated],
    }
    output.emit(data, f"{path}: {state}", output_format)


def _merge(ours: Path, theirs: Path) -> None:
    """Merge as git expects of a merge driver: the result is in the first file, the exit code is 0.

    Raises:
        InvalidIntent: one of the files is not a lock file.
        WarpError: the result cannot be written.
    """
    with translate_oserror(ours):
        raw = [path.read_bytes() for path in (ours, theirs)]
    allocations, warnings = merged_locks(parsed(ours, raw[0]), parsed(theirs, raw[1]))
    for warning in warnings:
        output.note(f"warning: {warning}; run `warpctl lock` after the merge")
    replace(ours, raw[0], lock_text(allocations).encode())


def write(read: LoadedIntent, path: Path, new: bytes) -> None:
    """Write the lock file.

    Raises:
        Busy: another program has changed it since it was read.
        WarpError: it cannot be written.
    """
    if read.lockfile is None:
        create(path, new, 0o644)
    else:
        replace(path, read.lockfile.raw, new)


def _outdated(read: LoadedIntent, path: Path) -> list[Finding]:
    """Return where the lock file is behind."""
    if read.lockfile is None:
        text = f"there is no {LOCK_FILE} in {path.parent}"
        return [Finding(BEHIND, "", text, "`warpctl lock` writes it", "warning")]
    return [item for item in read.warnings if item.code == BEHIND]
