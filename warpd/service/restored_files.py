"""Put the YAML back: the files of an entry of the history in place of those that it had to leave.

Only files that the history holds are replaced or removed, so that no edit is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warpd.errors import Busy, WarpError
from warpd.intent.loader import Loaded
from warpd.kernel.api import Kernel
from warpd.reconcile.engine import ApplyResult, Progress
from warpd.service.candidates import write_all
from warpd.service.edits import Draft, name_of
from warpd.service.history import NOTHING, History, HistoryEntry, files_digest, path_of
from warpd.service.rollback import Undone, quiet, rollback_number, undo
from warpd.service.views.report import undone_json
from warpd.service.workspace import Workspace
from warpd.store.atomic_file import translate_oserror


@dataclass(frozen=True, slots=True)
class Restoration:
    """What makes the files those of an entry: files to write, and files to remove."""

    drafts: tuple[Draft, ...]
    gone: tuple[Path, ...]


def undone_with_files(
    workspace: Workspace,
    kernel: Kernel,
    to: int | None,
    progress: Progress = quiet,
    tell: Callable[[ApplyResult], None] = lambda _outcome: None,
) -> dict[str, Any]:
    """Roll back kernel and files, inside `store.writer_if_possible`; return what was done.

    Without `to`, and after an apply that nobody confirmed was undone, only the files are left to
    put back. `tell` is called with what was done to the kernel, before the files are put back.

    Raises:
        Busy: the files are not those that were applied: somebody has edited them since.
        DumpError, InvalidIntent, WarpError: as `rollback.undo`; the YAML comes from a repository;
            nothing was applied before; or a file could not be written.
    """
    number = number_with_files(workspace, to)
    restoration = _to_entry(workspace, workspace.files(), History(workspace).entry(number))
    undone = Undone(ApplyResult(()))
    if to is not None or History(workspace).pending() is not None:
        undone, number = undo(workspace, kernel, to, progress)
        tell(undone.outcome)
    data = undone_json(undone.outcome, number, undone.unwritten)
    if undone.unwritten is not None:
        return {**data, "files": {"written": [], "removed": []}}
    return {**data, "files": _restored(workspace, restoration)}


def number_with_files(workspace: Workspace, to: int | None) -> int:
    """Return the number of the entry that kernel and files go back to.

    Raises:
        Busy: the files are not those that were applied.
        WarpError: there is no such number, or nothing to undo; the YAML comes from a repository; or
            nothing was applied before.
    """
    workspace.to_edit()
    history = History(workspace)
    digest = _refuse_edited(history, workspace.files())
    if to is None and history.pending() is None and digest == history.refused:
        number = history.in_force_number()
    else:
        number = rollback_number(workspace, to)
    if number == NOTHING:
        raise WarpError(
            "nothing was applied before, so that there are no files to put back",
            code="nothing-kept",
            who="operator",
            hint="roll back without the files, and edit the YAML",
        )
    return number


def _refuse_edited(history: History, loaded: Loaded) -> str:
    """Return the digest of the files, which the history must hold.

    Raises:
        Busy: it does not.
    """
    entry = history.in_force()
    digest = files_digest(loaded.contents)
    if digest not in (history.refused, entry.digest if entry is not None else ""):
        raise Busy(
            "the YAML is not the one that was applied: somebody has edited it since, and the edit"
            " would be lost; nothing was changed",
            code="file-changed",
            hint="roll back without the files, and edit the YAML",
        )
    return digest


def _to_entry(workspace: Workspace, loaded: Loaded, entry: HistoryEntry) -> Restoration:
    main = workspace.main_file
    old_main = path_of(next(iter(entry.files)))
    wanted = {_place(main, old_main, path_of(name)): text for name, text in entry.files.items()}
    there = loaded.contents
    drafts = []
    for path, text in wanted.items():
        if there.get(path) != text.encode():
            drafts.append(Draft(path, there.get(path), text.encode()))
    return Restoration(tuple(drafts), tuple(sorted(there.keys() - wanted.keys())))


def _place(main: Path, old_main: Path, path: Path) -> Path:
    """Return where a file of an entry is now; the folder may have moved since."""
    return main if path == old_main else main.parent / name_of(path, old_main)


def _restored(workspace: Workspace, restoration: Restoration) -> dict[str, list[str]]:
    """Raises: WarpError: a file could not be written; then none is."""
    write_all(workspace, restoration.drafts)
    for path in restoration.gone:
        with translate_oserror(path):
            os.unlink(path)
    main = workspace.main_file
    return {
        "written": [name_of(draft.file, main) for draft in restoration.drafts],
        "removed": [name_of(path, main) for path in restoration.gone],
    }
