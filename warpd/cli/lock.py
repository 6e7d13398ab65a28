"""lock: write the grants beside the YAML, for git."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warpd.allocation.lockfile import BEHIND, lock_text, parsed, resolved
from warpd.allocation.merge import merged_locks
from warpd.cli import output
from warpd.cli.app import Output, app
from warpd.cli.output import Format
from warpd.errors import EXIT_FAILED, Finding, render_finding
from warpd.intent.loader import LOCK_FILE
from warpd.service.views.render import VERSION, finding_json
from warpd.service.workspace import LoadedIntent, Session
from warpd.store.atomic_file import create, replace, told
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
    form: Output = Format.text,
) -> None:
    """Write what was granted to warp.lock.yaml beside the YAML: commit both.

    Holds no secrets; needs no root.

    A lock that git left with conflicts is resolved: what both sides gave stays with ours, the other
    one gets another number.

    A gateway that is built anew from the YAML, its lock and the master secret is the same gateway.
    """
    session: Session = context.obj
    if merge is not None:
        _merged(*merge)
        return
    mended = resolved(session.lock_file) if not check else None
    if mended is not None:
        session.take_lock(mended[0])
        for text in mended[1]:
            output.note(f"warning: {text}")
    if out is None and not check:
        session.to_edit()
    read = session.read(yaml_wins=True)
    path, new = out or session.lock_file, lock_text(read.allocations).encode()
    late = _late(read, session.lock_file)
    written = not check and (out is not None or read.lock is None or read.lock.raw != new)
    if written and out is not None:
        write_private(out, new, 0o644)
    elif written:
        write(read, path, new)
    if check:
        for finding in late:
            output.note(render_finding(finding))
    text = f"{path}: {'written' if written else 'behind' if check and late else 'up to date'}"
    data = {
        "version": VERSION,
        "file": str(path),
        "written": written,
        "behind": [finding_json(item) for item in late],
    }
    output.emit(data, text, form)
    raise typer.Exit(EXIT_FAILED if check and late else 0)


def _merged(ours: Path, theirs: Path) -> None:
    """What git asks of a merge driver: the result in the first file, exit code 0.

    Raises: InvalidIntent, WarpError.
    """
    with told(ours):
        raw = [path.read_bytes() for path in (ours, theirs)]
    allocations, said = merged_locks(parsed(ours, raw[0]), parsed(theirs, raw[1]))
    for text in said:
        output.note(f"warning: {text}; run `warpctl lock` after the merge")
    replace(ours, raw[0], lock_text(allocations).encode())


def write(read: LoadedIntent, path: Path, new: bytes) -> None:
    """Raises: Busy when somebody else has changed the lock meanwhile, WarpError when it cannot be
    written.
    """
    if read.lock is None:
        create(path, new, 0o644)
    else:
        replace(path, read.lock.raw, new)


def _late(read: LoadedIntent, path: Path) -> list[Finding]:
    if read.lock is None:
        return [
            Finding(
                BEHIND,
                "",
                f"there is no {LOCK_FILE} in {path.parent}",
                "`warpctl lock` writes it",
                "warning",
            )
        ]
    return [item for item in read.warnings if item.code == BEHIND]
