"""Edits of the YAML: the files as they were read and an edit, to new texts and what is wrong.

This module finds the file that an edit goes to, refuses edits that make no sense, and checks the
whole intent together with the change. `yamlfile.editor` changes the text; `write` and
`store.atomic_file` are the only ones that write. The commands and the daemon both edit by it.

The editor is loaded with the first edit: an idle daemon has no memory to spare for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from warpd.allocation.lockfile import lock_text
from warpd.allocation.lockfile_checks import CONTRADICTS
from warpd.allocation.model import Allocations
from warpd.errors import Finding, InvalidEdit, InvalidIntent, WarpError
from warpd.intent.file_names import FOLDER, MAIN_FILE
from warpd.intent.loader import Loaded, load
from warpd.service.workspace import Workspace
from warpd.store.atomic_file import create, replace, translate_oserror

if TYPE_CHECKING:
    from warpd.imports.csv import EndpointTable

BOM: Final = b"\xef\xbb\xbf"
EMPTY: Final = "networks: {}\n"  # what an edit starts from where there is no file yet
_NEW_FILE = re.compile(rf"{FOLDER}/[A-Za-z0-9_][A-Za-z0-9._-]{{0,99}}\.yaml")
GATEWAY: Final = "gateway"  # the section of the YAML about the machine itself
FIXED: Final = ("type", "endpoints")  # fields that cannot be removed


@dataclass(frozen=True, slots=True)
class Draft:
    """A file before and after an edit; `old` is None for a file that does not exist yet."""

    file: Path
    old: bytes | None
    new: bytes


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the YAML.

    - `op`: one of `OPERATIONS`.
    - `network`, `endpoint`: what it is about; `endpoint` is "" for a network, and both are for the
      gateway.
    - `fields`: the values to write, by the names of the YAML; None removes a field.
    - `to`: the new name.
    - `file`: where a new network goes; None for the main file.
    """

    op: str
    network: str = ""
    endpoint: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    to: str = ""
    file: Path | None = None

    @property
    def subject(self) -> str:
        """What it is about, for messages: `NETWORK/NAME`, `network NAME` or `the gateway`."""
        if not self.network:
            return "the gateway"
        return f"{self.network}/{self.endpoint}" if self.endpoint else f"network {self.network}"

    @property
    def name(self) -> str:
        """The same without a word before it: `NETWORK/NAME`, `NAME` or `gateway`."""
        if not self.network:
            return "gateway"
        return f"{self.network}/{self.endpoint}" if self.endpoint else self.network


@dataclass(frozen=True, slots=True)
class YamlFiles:
    """The files of the YAML, and what edits have made of them so far.

    - `loaded`: the files as they were read.
    - `owners`: network -> the file that defines it, after the edits.
    - `drafts`: the files that edits have changed, by path.
    - `allocations`: those of the state folder; a renamed object keeps its own.
    """

    loaded: Loaded
    owners: Mapping[str, Path]
    drafts: Mapping[Path, Draft] = field(default_factory=dict)
    allocations: Allocations = field(default_factory=lambda: Allocations({}))

    @property
    def main(self) -> Path:
        return Path(self.loaded.sources[0].file)

    @property
    def new(self) -> dict[Path, bytes]:
        """The contents that count instead of those on the disk."""
        return {path: draft.new for path, draft in self.drafts.items()}


# -- reading


def opened(workspace: Workspace, allocations: Allocations | None = None) -> YamlFiles:
    """Read the files that a command may change.

    Raises:
        InvalidIntent: a file cannot be read as YAML.
        WarpError: the YAML comes from a repository.
    """
    return editable(load(workspace.to_edit()), allocations)


def editable(loaded: Loaded, allocations: Allocations | None = None) -> YamlFiles:
    """Return files that were read, for edits.

    Raises:
        InvalidIntent: a file cannot be read as YAML.
    """
    if any(source.value is None for source in loaded.sources):
        raise InvalidIntent(loaded.findings)
    owners = {name: Path(loaded.sources[number].file) for name, number in loaded.owners.items()}
    return YamlFiles(loaded, owners, {}, allocations or Allocations({}))


def network_fields(files: YamlFiles, name: str) -> Mapping[str, Any]:
    """Return the fields of a network as the YAML has them.

    Raises:
        WarpError: there is no such network.
    """
    from warpd.yamlfile import editor

    if name not in files.owners:
        raise WarpError(
            f"there is no network {name}",
            code="unknown-network",
            who="operator",
            hint=editor.nearest(name, files.owners),
        )
    path = files.owners[name]
    if path in files.drafts:
        return editor.fields_at(_decoded(files.drafts[path].new)[1], ("networks", name))
    body = files.loaded.sources[files.loaded.owners[name]].network(name)
    return body if isinstance(body, dict) else {}


def endpoints_of(files: YamlFiles, network: str) -> Mapping[str, Any]:
    """Return the endpoints of a network as the YAML has them.

    Raises:
        WarpError: there is no such network.
    """
    endpoints = network_fields(files, network).get("endpoints")
    return endpoints if isinstance(endpoints, dict) else {}


def endpoint_fields(files: YamlFiles, network: str, name: str) -> Mapping[str, Any]:
    """Return the fields of an endpoint as the YAML has them.

    Raises:
        WarpError: there is no such endpoint.
    """
    from warpd.yamlfile import editor

    endpoints = endpoints_of(files, network)
    if name not in endpoints:
        raise WarpError(
            f"network {network} has no endpoint {name}",
            code="unknown-endpoint",
            who="operator",
            hint=editor.nearest(name, endpoints),
        )
    fields = endpoints[name]
    return fields if isinstance(fields, dict) else {}


# -- editing


def edited(files: YamlFiles, edit: Edit) -> YamlFiles:
    """Return the files after an edit. Nothing is written.

    Raises:
        EditRefused: the layout of the file does not allow it.
        WarpError: what it is about does not exist, or exists already; or it would change nothing.
    """
    return OPERATIONS[edit.op](files, edit)


def _add_network(files: YamlFiles, edit: Edit) -> YamlFiles:
    from warpd.yamlfile import editor

    if edit.network in files.owners:
        raise WarpError(
            f"network {edit.network} is there already, in {files.owners[edit.network]}",
            code="exists",
            who="operator",
            hint="take another name, or remove that one first",
        )
    path = target_of(files.loaded, edit.file)
    networks = {edit.network: given(edit.fields)}
    more = _changed(files, path, lambda text: editor.add_networks(text, networks))
    return dataclasses.replace(more, owners={**files.owners, edit.network: path})


def _remove_network(files: YamlFiles, edit: Edit) -> YamlFiles:
    from warpd.yamlfile import editor

    network_fields(files, edit.network)
    path = files.owners[edit.network]
    less = _changed(files, path, lambda text: editor.remove_network(text, edit.network))
    return dataclasses.replace(less, owners=_without(files.owners, edit.network))


def _add_endpoint(files: YamlFiles, edit: Edit) -> YamlFiles:
    return add_endpoints(files, edit.network, {edit.endpoint: given(edit.fields)})


def add_endpoints(
    files: YamlFiles, network: str, endpoints: Mapping[str, Mapping[str, Any]]
) -> YamlFiles:
    """Return the files with these endpoints in a network.

    Raises:
        EditRefused, WarpError: as `edited`.
    """
    from warpd.yamlfile import editor

    network_fields(files, network)
    path = files.owners[network]
    return _changed(files, path, lambda text: editor.add_endpoints(text, network, endpoints))


def _remove_endpoint(files: YamlFiles, edit: Edit) -> YamlFiles:
    from warpd.yamlfile import editor

    endpoint_fields(files, edit.network, edit.endpoint)
    return _changed(
        files,
        files.owners[edit.network],
        lambda text: editor.remove_endpoint(text, edit.network, edit.endpoint),
    )


def _rotate_endpoint(files: YamlFiles, edit: Edit) -> YamlFiles:
    """Raise `rotation`: unless that changes nothing, because every key is given."""
    from warpd.yamlfile import editor

    fields = endpoint_fields(files, edit.network, edit.endpoint)
    derived = fields.get("preshared_key", True) is True and not fields.get("preshared_key_file")
    if fields.get("public_key") and not derived:
        raise WarpError(
            f"{edit.name} has only keys of its own: a rotation would change none of them",
            code="nothing-to-rotate",
            who="operator",
            hint="write its new public_key instead",
        )
    return _changed(
        files,
        files.owners[edit.network],
        lambda text: editor.rotate(text, edit.network, edit.endpoint),
    )


def _set_network(files: YamlFiles, edit: Edit) -> YamlFiles:
    return _set(files, edit, ("networks", edit.network), network_fields(files, edit.network))


def _set_endpoint(files: YamlFiles, edit: Edit) -> YamlFiles:
    there = endpoint_fields(files, edit.network, edit.endpoint)
    return _set(files, edit, ("networks", edit.network, "endpoints", edit.endpoint), there)


def _set_gateway(files: YamlFiles, edit: Edit) -> YamlFiles:
    """Write fields of the gateway, which are in the main file."""
    from warpd.yamlfile import editor

    main = Path(files.loaded.sources[0].file)
    document = editor.fields_at(_text_of(files, main), ())
    if GATEWAY in document:
        there = document[GATEWAY]
        return _set(files, edit, (GATEWAY,), there if isinstance(there, dict) else {}, main)
    if None in edit.fields.values():
        text, hint = "the gateway has no field that could be removed", "leave out what is null"
        raise WarpError(text, code="unknown-field", who="operator", hint=hint)
    fields = {GATEWAY: dict(edit.fields)}
    return _changed(files, main, lambda text: editor.set_fields(text, (), fields))


def _text_of(files: YamlFiles, path: Path) -> str:
    """Return a file as it is after the edits before."""
    draft = files.drafts.get(path) or _as_read(files.loaded, path)
    return _decoded(draft.new)[1]


def _set(
    files: YamlFiles,
    edit: Edit,
    path: tuple[str, ...],
    there: Mapping[str, Any],
    file: Path | None = None,
) -> YamlFiles:
    """Write and remove fields; `file` holds them, by default the network's own.

    Raises:
        WarpError: there are none, or one to remove does not exist.
    """
    from warpd.yamlfile import editor

    if not edit.fields:
        raise WarpError(
            "nothing to change was named",
            code="usage",
            who="operator",
            hint="see --help for the fields",
        )
    removable = there.keys() - set(FIXED)
    for name, value in edit.fields.items():
        if value is None and name not in removable:
            raise WarpError(
                f"{edit.name} has no field {name} that could be removed",
                code="unknown-field",
                who="operator",
                hint=editor.nearest(name, removable),
            )
    return _changed(
        files,
        files.owners[edit.network] if file is None else file,
        lambda text: editor.set_fields(text, path, edit.fields),
    )


def _rename_network(files: YamlFiles, edit: Edit) -> YamlFiles:
    from warpd.yamlfile import editor

    fields = network_fields(files, edit.network)
    path = files.owners[edit.network]
    former = _former(edit.network, edit.to, fields, files.allocations.networks)
    renamed = _changed(
        files,
        path,
        lambda text: editor.rename(text, ("networks",), edit.network, edit.to, former),
    )
    owners = {**_without(files.owners, edit.network), edit.to: path}
    return dataclasses.replace(renamed, owners=owners)


def _rename_endpoint(files: YamlFiles, edit: Edit) -> YamlFiles:
    from warpd.yamlfile import editor

    fields = endpoint_fields(files, edit.network, edit.endpoint)
    networks = files.allocations.networks
    allocation = networks.get(_holder(edit.network, network_fields(files, edit.network), networks))
    allocated = allocation.endpoints if allocation is not None else {}
    former = _former(edit.endpoint, edit.to, fields, allocated)
    place = ("networks", edit.network, "endpoints")
    return _changed(
        files,
        files.owners[edit.network],
        lambda text: editor.rename(text, place, edit.endpoint, edit.to, former),
    )


OPERATIONS: Final[Mapping[str, Callable[[YamlFiles, Edit], YamlFiles]]] = {
    "add_network": _add_network,
    "set_gateway": _set_gateway,
    "set_network": _set_network,
    "rename_network": _rename_network,
    "remove_network": _remove_network,
    "add_endpoint": _add_endpoint,
    "set_endpoint": _set_endpoint,
    "rename_endpoint": _rename_endpoint,
    "remove_endpoint": _remove_endpoint,
    "rotate_endpoint": _rotate_endpoint,
}


def _former(
    name: str, new: str, fields: Mapping[str, Any], allocated: Mapping[str, Any]
) -> str | None:
    """Return the `renamed_from` of what gets a new name; None for none.

    Who gets back the name that it had before an unapplied rename has never had another one.
    """
    if name not in allocated and fields.get("renamed_from") == new:
        return None
    return _holder(name, fields, allocated)


def _holder(name: str, fields: Mapping[str, Any], allocated: Mapping[str, Any]) -> str:
    """Return the name that has the allocations: the former one, until a rename is applied."""
    before = fields.get("renamed_from")
    return str(before) if before in allocated and name not in allocated else name


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def _without(owners: Mapping[str, Path], name: str) -> dict[str, Path]:
    rest = dict(owners)
    del rest[name]
    return rest


# -- which file


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
    for candidate in candidates:
        for source in loaded.sources:
            if candidate.resolve() == Path(source.file).resolve():
                return Path(source.file)
    if _is_read(main, file.name) and any(_is_new(candidate, folder) for candidate in candidates):
        return folder / file.name
    hint = f"it reads {main} and, if there is that folder, {folder}/*.yaml"
    raise WarpError(
        f"{file} is not a file that this gateway reads",
        code="unread-file",
        who="operator",
        hint=hint,
    )


def _is_read(main: Path, name: str) -> bool:
    """Whether a file with this name would be read in networks.d beside the main file."""
    if main.name != MAIN_FILE or not (main.parent / FOLDER).is_dir():
        return False
    return name.endswith(".yaml") and not name.startswith(".")


def _is_new(file: Path, folder: Path) -> bool:
    """Whether a path is one of a folder at which there is no file."""
    return file.resolve().parent == folder.resolve() and not file.exists()


def name_of(path: Path, main: Path) -> str:
    """Return what a file of the YAML is called in answers: `warp.yaml`, `networks.d/corp.yaml`."""
    return path.name if path.parent == main.parent else f"{FOLDER}/{path.name}"


def names_of(loaded: Loaded) -> dict[str, Path]:
    """Return the files of the YAML by these names, the main one first."""
    paths = [Path(source.file) for source in loaded.sources]
    return {name_of(path, paths[0]): path for path in paths}


def replaced(files: YamlFiles, texts: Mapping[str, bytes]) -> YamlFiles:
    """Return the files with other texts, by name; a name that is not there yet is a new file.

    Raises:
        WarpError: a name is none of a file that this gateway reads, or would read.
    """
    known = names_of(files.loaded)
    drafts = dict(files.drafts)
    for name, text in texts.items():
        path = known.get(name)
        if path is not None:
            drafts[path] = dataclasses.replace(_as_read(files.loaded, path), new=text)
        else:
            path = _new_file(files, name)
            drafts[path] = Draft(path, None, text)
    return dataclasses.replace(files, drafts=drafts)


def _new_file(files: YamlFiles, name: str) -> Path:
    path = files.main.parent / FOLDER / name.removeprefix(f"{FOLDER}/")
    if _NEW_FILE.fullmatch(name) and _is_read(files.main, path.name) and not path.exists():
        return path
    raise WarpError(
        f"{name[:80]} is not a file that this gateway reads",
        code="unread-file",
        who="operator",
        hint=f"it reads {', '.join(names_of(files.loaded))}; a new one is {FOLDER}/NAME.yaml",
    )


# -- drafts


def drafted(file: Path, change: Callable[[str], str]) -> Draft:
    """Apply a change to the text of a file, without writing it.

    Raises:
        WarpError: the file cannot be read, or cannot be edited that way.
    """
    return _redrafted(_untouched(file), change)


def _changed(files: YamlFiles, path: Path, change: Callable[[str], str]) -> YamlFiles:
    """Apply a change to the text of one of the files, as earlier edits have left it."""
    before = files.drafts.get(path) or _as_read(files.loaded, path)
    draft = _redrafted(before, change)
    return dataclasses.replace(files, drafts={**files.drafts, path: draft})


def _as_read(loaded: Loaded, path: Path) -> Draft:
    raw = loaded.contents.get(path)
    return Draft(path, raw, raw) if raw is not None else _untouched(path)


def _untouched(file: Path) -> Draft:
    if not file.exists():
        return Draft(file, None, EMPTY.encode())
    with translate_oserror(file):
        old = file.read_bytes()
    return Draft(file, old, old)


def _redrafted(draft: Draft, change: Callable[[str], str]) -> Draft:
    """Raises: WarpError: the text cannot be edited that way."""
    mark, text = _decoded(draft.new)
    try:
        return dataclasses.replace(draft, new=mark + change(text).encode())
    except UnicodeError:
        raise WarpError("that is not UTF-8", code="encoding", who="operator") from None


def _decoded(raw: bytes) -> tuple[bytes, str]:
    """Return the byte order mark, and the text behind it.

    Raises:
        WarpError: it is not UTF-8.
    """
    mark = BOM if raw.startswith(BOM) else b""
    try:
        return mark, raw.removeprefix(mark).decode()
    except UnicodeError:
        raise WarpError("that is not UTF-8", code="encoding", who="operator") from None


# -- checking and writing


def checked(
    workspace: Workspace, draft: Draft, previous: Allocations | None = None
) -> tuple[Finding, ...]:
    """Return the warnings of the whole intent together with the draft.

    Args:
        workspace: the files.
        draft: what would be written.
        previous: the allocations, where those on the disk cannot be read.

    Raises:
        InvalidIntent: the YAML would be invalid.
    """
    return workspace.read({draft.file: draft.new}, previous=previous).warnings


def refusal(
    workspace: Workspace, failure: InvalidIntent, previous: Allocations | None = None
) -> InvalidIntent:
    """Return why an edit is refused, or the file that it comes from.

    Scripts take exit code 4 for a YAML that must be fixed; whatever else is wrong is 1.

    Args:
        workspace: the files.
        failure: what is wrong.
        previous: as for `checked`.
    """
    try:
        workspace.read(previous=previous)
    except InvalidIntent:
        if workspace.main_file.exists():
            return failure
    return InvalidEdit(failure.findings)


def with_lock(
    workspace: Workspace, draft: Draft, failure: InvalidIntent, previous: Allocations | None = None
) -> Draft | None:
    """Return the lock file as `warpctl lock` would write it after a draft.

    The YAML goes before the lock file. A value that an edit gives may be another one than the lock
    file has, and each would keep the other from being changed.

    Args:
        workspace: the files.
        draft: what would be written.
        failure: why it would not be valid.
        previous: as for `checked`. Where the allocations are not known, no lock file is made.

    Returns:
        None where something else is wrong, or was so before the edit.
    """
    errors = {item.code for item in failure.findings if item.is_error}
    if errors != {CONTRADICTS} or previous is not None:
        return None
    with contextlib.suppress(InvalidIntent):
        workspace.read()
        read = workspace.read({draft.file: draft.new}, yaml_wins=True)
        old = read.lockfile.raw if read.lockfile is not None else None
        return Draft(workspace.lock_file, old, lock_text(read.allocations).encode())
    return None


def findings_of_rows(
    workspace: Workspace,
    rows: EndpointTable,
    network: str,
    draft: Draft | None,
    previous: Allocations | None = None,
) -> list[Finding]:
    """Return everything that is wrong with rows of a CSV file, at its place in that file.

    Sound rows are checked even if others are broken, so that every problem is reported at once.

    Args:
        workspace: the files.
        rows: what the CSV file holds.
        network: the one that its endpoints go to.
        draft: the YAML with the sound rows; None where there are none.
        previous: as for `checked`.
    """
    findings = list(rows.findings)
    if draft is not None:
        try:
            more: Sequence[Finding] = checked(workspace, draft, previous)
        except InvalidIntent as failure:
            more = failure.findings
        findings += [rows.relocate(item, network) for item in more]
    return findings


def in_order_of_lines(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings by file and line."""
    return sorted(findings, key=_place)


def _place(finding: Finding) -> tuple[str, int]:
    return (finding.where.file, finding.where.line) if finding.where else ("", 0)


def write(draft: Draft) -> tuple[Finding, ...]:
    """Write the draft, unless the file was changed meanwhile.

    Returns:
        A warning where the file could not keep its owner or group.

    Raises:
        WarpError: the file could not be written, or was changed.
    """
    if draft.old is None:
        create(draft.file, draft.new, 0o644)
        return ()
    lost = replace(draft.file, draft.old, draft.new)
    if not lost:
        return ()
    hint = "root can give it back with chown and chmod; until then findings do not quote its lines"
    return (Finding("owner-lost", str(draft.file), lost, hint, "warning"),)


def diff_text(draft: Draft, context: int = 3) -> str:
    """Return the unified difference of a draft, which `patch` accepts."""
    name = "/dev/null" if draft.old is None else str(draft.file)
    return difference(draft, name, str(draft.file), context)


def difference(draft: Draft, before: str, after: str, context: int = 3) -> str:
    """Return the unified difference of a draft.

    Args:
        draft: the file.
        before, after: what the file is called in the head.
        context: how many lines around a change are shown.
    """
    old, new = (_lines(raw or b"") for raw in (draft.old, draft.new))
    changes = difflib.unified_diff(old, new, before, after, n=context)
    return "".join(_marked(line) for line in changes)


def _lines(raw: bytes) -> list[str]:
    """Split into lines as `patch` does: a line ends at LF, and a CR before it is part of it."""
    *whole, last = raw.decode(errors="replace").split("\n")
    lines = [f"{line}\n" for line in whole]
    return [*lines, last] if last else lines


def _marked(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
