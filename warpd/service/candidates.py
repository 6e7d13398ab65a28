"""A change of the YAML that is looked at before it is made: its difference, plan and risks.

Nothing is written until the candidate is applied. Then the files must still be those that it was
made from, and the plan the one that was reviewed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from warpd.allocation.model import Allocations
from warpd.errors import Busy, InvalidIntent, WarpError
from warpd.intent.loader import Loaded
from warpd.intent.model import Endpoint, Intent, Network
from warpd.kernel.api import Kernel
from warpd.reconcile.incremental import planned_run
from warpd.service.commitment import refuse_lost_state
from warpd.service.edits import Draft, difference, name_of, write
from warpd.service.queries import refuse_stale
from warpd.service.views.render import VERSION, finding_json
from warpd.service.views.report import described, with_rollback
from warpd.service.workspace import RISKS, LoadedIntent, Workspace
from warpd.store.atomic_file import replace

HALF: Final = "changing.json"  # in the state folder: what files were that are being written
STALE: Final = "stale"
KEY_FIELDS: Final = ("public_key", "rotation")  # of an endpoint
MASS_REMOVAL: Final = "mass-removal"
HINT: Final = "make the change again, and review it"


@dataclass(frozen=True, slots=True)
class Touched:
    """What differs between two intents: networks by name, and whether anything else does.

    `beyond_keys` are the networks in which more differs than keys of phones and laptops.
    """

    networks: frozenset[str] = frozenset()
    gateway: bool = False
    beyond_keys: frozenset[str] = frozenset()

    @property
    def is_of_keys(self) -> bool:
        """Whether nothing differs but keys of phones and laptops."""
        return not self.gateway and not self.beyond_keys

    def outside(self, sees: Callable[[str], bool]) -> tuple[str, ...]:
        """What somebody who sees only some networks may not change."""
        names = sorted(name for name in self.networks if not sees(name))
        return ("gateway", *names) if self.gateway else tuple(names)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reviewed change.

    - `id`: of the files that it starts from, and of the new texts.
    - `base`: of the files that it starts from.
    - `drafts`: the files that it changes.
    - `digest`: of the plan that was shown.
    - `agree`: the codes of the risks that an apply has to agree to.
    - `changes`: what the edit changes.
    - `applies`: what an apply changes: also what is in the YAML and not in force yet.
    - `answer`: what was shown.
    """

    id: str
    base: str
    drafts: tuple[Draft, ...]
    digest: str
    agree: frozenset[str]
    changes: Touched
    applies: Touched
    answer: Mapping[str, Any]

    @property
    def new(self) -> dict[Path, bytes]:
        """The new texts, by path."""
        return {draft.file: draft.new for draft in self.drafts}

    @property
    def size(self) -> int:
        """Bytes of the texts that it keeps."""
        return sum(len(draft.new) + len(draft.old or b"") for draft in self.drafts)


@dataclass(frozen=True, slots=True)
class YamlSnapshot:
    """The files of the YAML at one moment.

    - `loaded`: the files.
    - `allocations`: those in the state folder, by which renames go.
    - `origin`: the repository that the files come from; "" where they are local.
    - `folder`: the folder of the repository that holds them; "." for its top.
    - `gateway`: the fields that the section of the gateway has, of the intent in force.
    """

    loaded: Loaded
    allocations: Allocations
    origin: str
    folder: str
    gateway: Mapping[str, Any]


def draw_up(
    workspace: Workspace,
    kernel: Kernel,
    base: str,
    drafts: Sequence[Draft],
    previous: Allocations,
    in_force: LoadedIntent | None,
) -> Candidate:
    """Look at a change, without writing anything.

    Args:
        workspace: the gateway.
        kernel: it is read.
        base: the `identity` of the files that the drafts were made from.
        drafts: the files that change.
        previous: the allocations as they are.
        in_force: what was applied last; None where nothing was.

    Raises:
        Busy: the files are others by now.
        InvalidIntent: the YAML would be invalid.
        DumpError: the kernel could not be read.
        WarpError: the state folder cannot be read.
    """
    _refuse_moved(workspace, base)
    before = _valid(workspace, previous)
    new = {draft.file: draft.new for draft in drafts}
    read = with_rollback(workspace, workspace.read(new, previous=previous))
    refuse_lost_state(workspace, read, kernel)
    target = workspace.target(read, create=False)
    plan = described(workspace, target, planned_run(kernel, target), read)
    removal = _removal_risk(read, previous)
    agree = {item.code for item in read.risks} | ({MASS_REMOVAL} if removal else set())
    changes, applies = touched(before, read), touched(in_force, read)
    answer = {
        "version": VERSION,
        "id": _id(base, drafts),
        "files": [shown(draft, workspace) for draft in drafts if draft.old != draft.new],
        "networks": sorted(changes.networks),
        "gateway": changes.gateway,
        "plan": plan,
        "findings": [finding_json(item) for item in read.warnings if item.code not in RISKS],
        "risks": [*removal, *plan["risks"]],
        "agree": sorted(agree),
        "stale_configs": plan["stale_configs"],
        "digest": plan["digest"],
    }
    return Candidate(
        answer["id"],
        base,
        tuple(drafts),
        plan["digest"],
        frozenset(agree),
        changes,
        applies,
        answer,
    )


def shown(draft: Draft, workspace: Workspace, context: int = 3) -> dict[str, str]:
    """Return the name of a file, and how it changes."""
    name = name_of(draft.file, workspace.main_file)
    before = "/dev/null" if draft.old is None else name
    return {"file": name, "diff": difference(draft, before, name, context)}


def _valid(workspace: Workspace, previous: Allocations) -> LoadedIntent | None:
    """Return the YAML as it is; None where it is invalid."""
    try:
        return workspace.read(previous=previous)
    except InvalidIntent:
        return None


def touched(before: LoadedIntent | None, after: LoadedIntent) -> Touched:
    """Return what differs between two intents, in what they say or in what they are allocated.

    Where there is none before, everything does.
    """
    if before is None:
        everything = frozenset(after.intent.networks)
        return Touched(everything, True, everything)
    was, now = before.intent.networks, after.intent.networks
    had, has = before.allocations.networks, after.allocations.networks
    moved = _differing(had, has) & (was.keys() | now.keys())
    differing = _differing(was, now)
    more = frozenset(name for name in differing if not _only_keys(was.get(name), now.get(name)))
    is_gateway = _without_networks(before) != _without_networks(after)
    return Touched(differing | moved, is_gateway, more | moved)


def _only_keys(before: Network | None, after: Network | None) -> bool:
    """Whether a network differs in nothing but keys of phones and laptops that stay."""
    if before is None or after is None:
        return False
    was, now = before.endpoints, after.endpoints
    if before.model_copy(update={"endpoints": now}) != after or was.keys() != now.keys():
        return False
    return all(_keyless(was[name]) == _keyless(now[name]) for name in _differing(was, now))


def _keyless(endpoint: Endpoint) -> Endpoint:
    """A phone or laptop without what its keys depend on; any other endpoint as it is."""
    is_device = endpoint.type == "mobile"
    return endpoint.model_copy(update=dict.fromkeys(KEY_FIELDS)) if is_device else endpoint


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys at which two mappings differ."""
    names = before.keys() | after.keys()
    return frozenset(name for name in names if before.get(name) != after.get(name))


def _without_networks(read: LoadedIntent) -> Intent:
    return read.intent.model_copy(update={"networks": {}})


def removes_most(read: LoadedIntent, previous: Allocations) -> str:
    """Say that an intent lacks more than half of the networks that were allocated; "" if not.

    `gateway.removal_guard: false` agrees to that beforehand, in the same YAML.
    """
    if not read.intent.gateway.removal_guard:
        return ""
    total = len(previous.networks)
    gone = sorted(previous.networks.keys() - read.allocations.networks.keys())
    if len(gone) * 2 <= total:
        return ""
    return f"the YAML lacks {len(gone)} of {total} networks, {', '.join(gone[:3])} among them"


def consent_needed(read: LoadedIntent, previous: Allocations) -> str:
    """Say what nobody does before an operator agrees to it; "" for nothing of that sort.

    It moves what clients depend on, or removes more than half of the networks.
    `gateway.removal_guard: false` agrees to the latter beforehand, in the same YAML. `previous` are
    the allocations before this reading.
    """
    if read.risks:
        return read.risks[0].message
    return removes_most(read, previous)


def _removal_risk(read: LoadedIntent, previous: Allocations) -> list[dict[str, str]]:
    """Return the risk of `removes_most`, as `client_impact` has the others."""
    message = removes_most(read, previous)
    hint = "to agree to it needs the right to administer"
    row = {"code": MASS_REMOVAL, "path": "networks", "message": message, "hint": hint}
    return [row] if message else []


# -- the files


def identity(loaded: Loaded) -> str:
    """Return a digest of paths and contents of the files."""
    hasher = hashlib.sha256()
    for source in loaded.sources:
        _add(hasher, source.file, source.raw)
    return hasher.hexdigest()


def _id(base: str, drafts: Sequence[Draft]) -> str:
    hasher = hashlib.sha256(base.encode())
    for draft in drafts:
        _add(hasher, str(draft.file), draft.new)
    return hasher.hexdigest()[:32]


def _add(hasher: hashlib._Hash, name: str, raw: bytes) -> None:
    encoded = name.encode()
    hasher.update(b"%d %d\n" % (len(encoded), len(raw)) + encoded + raw)


def _refuse_moved(workspace: Workspace, base: str) -> None:
    """Raises: Busy: the files are others than those that a change was made from."""
    if identity(workspace.files()) != base:
        text = "the files of the YAML have changed since this change was made"
        raise Busy(text, code=STALE, hint=HINT)


# -- applying


def still_reviewed(
    workspace: Workspace,
    kernel: Kernel,
    candidate: Candidate,
    digest: str,
    previous: Allocations,
    in_force: LoadedIntent | None,
) -> LoadedIntent:
    """Return the intent of a candidate, to be applied now.

    What is in force may have changed since the review, by a rollback. Whoever applies was held to
    what the candidate changed then, so it has to be the same now, whatever plan they have seen.

    Raises:
        Busy: the files, the plan, or what an apply changes are not those that were reviewed.
        InvalidIntent: it has become invalid, because of the day or of the lock file.
        DumpError: the kernel could not be read.
        WarpError: the YAML comes from a repository.
    """
    workspace.to_edit()
    _refuse_moved(workspace, candidate.base)
    read = with_rollback(workspace, workspace.read(candidate.new, previous=previous))
    if digest != candidate.digest or touched(in_force, read) != candidate.applies:
        text = "what is in force, or the plan, is not what it was when this change was reviewed"
        raise Busy(text, code=STALE, hint=HINT)
    try:
        refuse_stale(kernel, workspace.target(read, create=False), digest)
    except Busy as failure:
        raise Busy(failure.message, code=STALE, hint=HINT) from None
    return read


def refuse_disagreed(read: LoadedIntent, previous: Allocations, agreed: Iterable[str]) -> None:
    """Refuse a risk that nobody has agreed to.

    Raises:
        WarpError: there is one.
    """
    agreed = frozenset(agreed)
    removal = removes_most(read, previous)
    if removal and MASS_REMOVAL not in agreed:
        raise _declined(MASS_REMOVAL, removal)
    for item in read.risks:
        if item.code not in agreed:
            raise _declined(item.code, item.message)


def _declined(code: str, message: str) -> WarpError:
    hint = f"agree to `{code}` to go on all the same"
    return WarpError(message, code="declined", who="operator", hint=hint)


def write_all(workspace: Workspace, drafts: Sequence[Draft]) -> None:
    """Write all files or none.

    Where there are several, what they were is in the state folder until all are written, so that
    half of a change does not outlive a kill.

    Raises:
        WarpError: one could not be written, or was changed meanwhile; the others are as before.
    """
    changed = [draft for draft in drafts if draft.old != draft.new]
    if len(changed) > 1:
        workspace.store.write_file(HALF, _journal(changed))
    try:
        for draft in changed:
            write(draft)
    except (WarpError, OSError):
        _undo_writes(changed)
        _forget(workspace, changed)
        raise
    _forget(workspace, changed)


def _forget(workspace: Workspace, changed: Sequence[Draft]) -> None:
    if len(changed) > 1:
        workspace.store.remove_file(HALF)


def undo_partial_write(workspace: Workspace) -> bool:
    """Undo a multi-file write that a crash interrupted; return whether there was one.

    It is called inside `store.writer_if_possible`, before the files are read.

    Raises:
        WarpError: the state folder cannot be read or written.
    """
    text = workspace.store.document(HALF)
    if text is None:
        return False
    with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged: there is nothing to go by
        _undo_writes([_from_journal(row) for row in json.loads(text)["files"]])
    workspace.store.remove_file(HALF)
    return True


def _journal(drafts: Sequence[Draft]) -> str:
    rows = []
    for draft in drafts:
        old = draft.old.decode() if draft.old is not None else None
        rows.append({"file": str(draft.file), "old": old, "new": draft.new.decode()})
    return json.dumps({"version": VERSION, "files": rows}) + "\n"


def _from_journal(row: Mapping[str, Any]) -> Draft:
    old = None if row["old"] is None else row["old"].encode()
    return Draft(Path(row["file"]), old, row["new"].encode())


def _undo_writes(drafts: Sequence[Draft]) -> None:
    """Make files what they were, where they hold the new text; one that somebody has changed since
    stays as it is.
    """
    for draft in reversed(drafts):
        with contextlib.suppress(WarpError, OSError):
            if draft.old is not None:
                replace(draft.file, draft.new, draft.old)
            elif draft.file.read_bytes() == draft.new:
                os.unlink(draft.file)
