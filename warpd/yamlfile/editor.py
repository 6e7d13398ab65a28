"""Edit YAML text: (text, request) -> new text that is equal outside of the requested change. Pure.

This module decides where text is inserted, replaced or cut. `writer` writes values, `positions`
finds the parts of a text, `atomic_file` writes files, `loader` and `validation` check the intent.

Comments, order, quotes, indentation and line breaks of the operator stay as they are. A comment
inside an entry is removed with the entry. A comment above it stays, since it may be about other
entries too. Adding an entry and removing it again gives the original bytes.

Every new text is parsed. The edit is refused unless the new values are the old values with exactly
the requested change.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from warpd.errors import WarpError
from warpd.yamlfile import writer
from warpd.yamlfile.parser import read_tree
from warpd.yamlfile.positions import BREAK, Node, Pair, extent, line_end, line_start, outline

Fields = Mapping[str, Any]
Path = tuple[str, ...]
_STEP = 2


class EditRefused(WarpError):
    """The requested edit is not possible in this text. Nothing was written."""

    code = "edit-refused"
    who = "operator"


@dataclass(frozen=True, slots=True)
class Splice:
    """Replace the characters from the offset `start` to before the offset `end` by `text`."""

    start: int
    end: int
    text: str


def add_networks(text: str, networks: Mapping[str, Fields]) -> str:
    """Add networks, by name.

    Raises:
        EditRefused: a name exists, or the layout does not allow the edit.
    """
    return _add(text, ("networks",), networks, "network")


def add_endpoints(text: str, network: str, endpoints: Mapping[str, Fields]) -> str:
    """Add endpoints to a network, by name.

    Raises:
        EditRefused: a name exists, or the layout does not allow the edit.
    """
    return _add(text, ("networks", network, "endpoints"), endpoints, "endpoint")


def remove_network(text: str, network: str) -> str:
    """Remove a network.

    Raises:
        EditRefused: the network is not in this text, or the layout does not allow the edit.
    """
    return _remove(text, ("networks",), network)


def remove_endpoint(text: str, network: str, endpoint: str) -> str:
    """Remove an endpoint of a network.

    Raises:
        EditRefused: the endpoint is not in this text, or the layout does not allow the edit.
    """
    return _remove(text, ("networks", network, "endpoints"), endpoint)


def add_users(text: str, users: Mapping[str, Fields]) -> str:
    """Add users, by name, to the text of a users file.

    Raises:
        EditRefused: a name exists, or the layout does not allow the edit.
    """
    return _add(text, ("users",), users, "user")


def remove_user(text: str, user: str) -> str:
    """Remove a user from the text of a users file.

    Raises:
        EditRefused: the user is not in this text, or the layout does not allow the edit.
    """
    return _remove(text, ("users",), user)


def rotate(text: str, network: str, endpoint: str) -> str:
    """Raise `rotation` of an endpoint by one.

    Raises:
        EditRefused: `rotation` is not a plain number, or the layout does not allow the edit.
    """
    path = ("networks", network, "endpoints", endpoint)
    root, value = outline(text), _value(text)
    holder = _walked(text, root, path)
    fields = _at(value, path)
    previous = fields.get("rotation", 0) if isinstance(fields, dict) else 0
    if not isinstance(previous, int) or isinstance(previous, bool):
        raise EditRefused(
            f"rotation of {network}/{endpoint} is not a whole number", hint="write a number"
        )
    pair = holder.get("rotation")
    if pair is None:
        splices = _inserted(text, holder, {"rotation": previous + 1})
    elif pair.value.kind != "scalar" or pair.value.anchor:
        raise _refused(text, pair.value, "rotation is an alias or has an anchor")
    else:
        splices = [Splice(pair.value.start, pair.value.end, str(previous + 1))]
    return _verified(text, splices, _with(value, path, {"rotation": previous + 1}))


def set_fields(text: str, path: Path, fields: Fields) -> str:
    """Set fields of the mapping at `path`. A field whose value is None is removed.

    Raises:
        EditRefused: the mapping is not in this text, or the layout does not allow the edit.
    """
    for name, value in fields.items():
        pair = _walked(text, outline(text), path).get(name)
        if value is None:
            text = _remove(text, path, name)
        elif (
            pair is not None
            and pair.value.kind == "scalar"
            and not pair.value.anchor
            and pair.value.end > pair.value.start
        ):
            splice = Splice(pair.value.start, pair.value.end, writer.flow(value))
            text = _verified(text, [splice], _with(_value(text), path, {name: value}))
        else:
            text = _remove(text, path, name) if pair is not None else text
            holder = _walked(text, outline(text), path)
            text = _verified(
                text,
                _inserted(text, holder, {name: value}),
                _with(_value(text), path, {name: value}),
            )
    return text


def rename(text: str, path: Path, old: str, new: str, former: str | None) -> str:
    """Rename the entry `old` of the mapping at `path`, and set its `renamed_from` to `former`.

    Without a former name, its `renamed_from` is removed.

    Raises:
        EditRefused: the entry is not in this text, the new name exists, or the layout does not
            allow the edit.
    """
    value = _value(text)
    root = outline(text)
    holder = _walked(text, root, path)
    pair = holder.get(old)
    if pair is None:
        raise EditRefused(
            f"{'.'.join(path)}.{old} is not written out in this file",
            hint="it comes from a merge (<<)",
        )
    if holder.get(new) is not None:
        raise EditRefused(f"{new} exists already", hint="choose another name")
    _refuse_shared(text, root, pair)
    wanted = _with(_with(value, path, {new: _at(value, (*path, old))}), path, {}, old)
    renamed = _verified(text, [Splice(pair.key.start, pair.key.end, writer.scalar(new))], wanted)
    return set_fields(renamed, (*path, new), {"renamed_from": former})


def fields_at(text: str, path: Path) -> Fields:
    """Return the fields of the mapping at `path`, or an empty mapping if it does not exist.

    Raises:
        EditRefused: the text is not valid YAML.
    """
    found = _at(_value(text), path)
    return found if isinstance(found, dict) else {}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a name that does not exist: similar names, or the known ones."""
    names = sorted(known)
    similar = difflib.get_close_matches(name, names, 3, 0.6)
    if similar:
        return f"did you mean {' or '.join(similar)}?"
    return (
        f"there are: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
        if names
        else "there are none"
    )


# Reading


def _value(text: str) -> dict[str, Any]:
    read = read_tree(text)
    if read.problems or read.value is None:
        raise EditRefused("the YAML is not valid", hint="run `warpctl validate`")
    return read.value


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _walked(text: str, root: Node, path: Path) -> Node:
    """Return the node of the mapping at `path`.

    Raises:
        EditRefused: the mapping, or one above it, comes from an alias, a merge or a shared anchor,
            so that an edit would change other parts too.
    """
    shared = {node.word for node in root.walk() if node.kind == "alias"}
    node = _own(text, root, shared, "the document")
    for depth, step in enumerate(path, 1):
        what = ".".join(path[:depth])
        pair = node.get(step)
        if pair is None:
            raise EditRefused(
                f"{what} is not written out in this file",
                hint="it comes from a merge (<<): edit it where it is defined",
            )
        node = _own(text, pair.value, shared, what)
    return node


def _own(text: str, node: Node, shared: set[str], what: str) -> Node:
    if node.kind == "alias":
        raise _refused(
            text,
            node,
            f"{what} is the alias *{node.word}",
            f"edit the anchor &{node.word} by hand",
        )
    if node.anchor in shared:
        hint = f"a change here would change every *{node.anchor}: edit it by hand"
        raise _refused(text, node, f"{what} is the anchor &{node.anchor}", hint)
    if node.kind != "mapping" and not _is_null(node):
        raise _refused(text, node, f"{what} is not a mapping")
    return node


def _is_null(node: Node) -> bool:
    return node.kind == "scalar" and node.word in ("", "~", "null", "Null", "NULL")


def _refused(
    text: str, node: Node, message: str, hint: str = "edit the YAML by hand"
) -> EditRefused:
    line = len(BREAK.findall(text, 0, node.start)) + 1
    return EditRefused(f"line {line}: {message}", hint=hint)


def _verified(text: str, splices: Iterable[Splice], wanted: dict[str, Any]) -> str:
    """Return the text with the splices applied.

    Raises:
        EditRefused: the values of the new text are not `wanted`.
    """
    new = text
    for splice in sorted(splices, key=lambda item: (item.start, item.end), reverse=True):
        new = new[: splice.start] + splice.text + new[splice.end :]
    read = read_tree(new)
    if read.problems or read.value != wanted:
        raise EditRefused(
            "this layout cannot be edited without changing something else",
            hint="edit the YAML by hand",
        )
    return new


def _with(
    value: dict[str, Any], path: Path, changes: Fields, gone: str | None = None
) -> dict[str, Any]:
    """Return a copy of the value in which the mapping at `path` has `changes` and lacks `gone`."""
    out: dict[str, Any] = dict(value)
    if path:
        out[path[0]] = _with(out.get(path[0]) or {}, path[1:], changes, gone)
        return out
    out |= changes
    out.pop(gone or "", None)
    return out


# Adding


def _add(text: str, path: Path, entries: Mapping[str, Fields], what: str) -> str:
    root, value = outline(text), _value(text)
    parent = _walked(text, root, path[:-1])
    existing = _at(value, path)
    for name in entries:
        if isinstance(existing, dict) and name in existing:
            raise EditRefused(
                f"{what} {name} exists already",
                code="exists",
                hint="choose another name, or remove the existing one first",
            )
    pair = parent.get(path[-1])
    if pair is None and existing is not None:
        raise EditRefused(
            f"{'.'.join(path)} comes from a merge (<<)",
            hint="edit it by hand where it is defined",
        )
    if pair is None:
        splices = _inserted(text, parent, {path[-1]: entries})
    else:
        _walked(text, root, path)
        splices = _filled(text, parent, pair, entries)
    return _verified(
        text, splices, _with(value, path, {name: dict(fields) for name, fields in entries.items()})
    )


def _filled(text: str, parent: Node, pair: Pair, entries: Fields) -> list[Splice]:
    """Add entries to the mapping of a pair. It may hold nothing, `{}` or other entries."""
    holder = pair.value
    if holder.pairs:
        return _inserted(text, holder, entries)
    empty = "".join(text[holder.start : holder.end].split()) == "{}"
    if (
        not parent.flow
        and not holder.anchor
        and (_is_null(holder) or (empty and _unfolds(pair, entries)))
    ):
        return _below(text, parent, pair, entries)
    if holder.kind == "mapping" and holder.flow:
        return [Splice(holder.inside, holder.inside, ", ".join(_inline(entries)))]
    space = " " if text[holder.start - 1 : holder.start] == ":" else ""
    return [Splice(holder.start, holder.end, f"{space}{{{', '.join(_inline(entries))}}}")]


def _below(text: str, parent: Node, pair: Pair, entries: Fields) -> list[Splice]:
    """Add entries on new lines below a key, and remove the `{}` or null behind the key."""
    _refuse_odd(text, pair)
    start, end = pair.key.end + 1, pair.value.end
    between = text[pair.key.end : pair.value.start]
    if not between.startswith(":") or between.strip() != ":" or BREAK.search(between):
        raise _refused(text, pair.value, "an empty mapping is not on the line of its key")
    lines = _lines(
        entries, pair.key.column + _step_of(parent), _STEP if pair.key.word == "networks" else 0
    )
    cut = [Splice(start, end, "")] if end > pair.value.start else []
    return [*cut, _new_lines(text, line_end(text, end), lines)]


def _unfolds(pair: Pair, entries: Fields) -> bool:
    """Whether entries get lines of their own when they replace `{}`: networks, or many endpoints.

    One endpoint is written between the braces.
    """
    return pair.key.word == "networks" or len(entries) > 1


def _inserted(text: str, holder: Node, entries: Fields) -> list[Splice]:
    """Add entries after the last entry of a mapping, in the layout of that entry."""
    if not holder.pairs:
        raise _refused(text, holder, "this entry is empty", "write its type by hand first")
    last = holder.pairs[-1]
    if holder.flow:
        return _behind(text, holder, last, entries)
    _refuse_odd(text, last)
    step = (
        last.value.pairs[0].key.column - last.key.column
        if last.value.pairs and not last.value.flow
        else 0
    )
    if not step and any(isinstance(item, Mapping) and _nests(item) for item in entries.values()):
        step = _step_of(holder)
    return [_new_lines(text, extent(text, last), _lines(entries, last.key.column, step))]


def _nests(fields: Fields) -> bool:
    return any(isinstance(item, Mapping) for item in fields.values())


def _lines(entries: Fields, column: int, step: int) -> list[str]:
    lines: list[str] = []
    for name, fields in entries.items():
        if isinstance(fields, Mapping) and _nests(fields):
            # This is a mapping of entries. Each entry is written on one line.
            lines.append(" " * column + writer.scalar(name) + ":")
            lines += _lines(fields, column + (step or _STEP), 0)
        else:
            lines += writer.entry(name, fields, column, step)
    return lines


def _step_of(node: Node) -> int:
    """Return how far the entries of a mapping indent their own entries; 2 if none shows it."""
    for pair in node.pairs:
        if pair.value.pairs and not pair.value.flow:
            return max(1, pair.value.pairs[0].key.column - pair.key.column)
    return _STEP


def _refuse_odd(text: str, pair: Pair) -> None:
    """Refuse a key that has other text before it on its line (`? key`, `- key`)."""
    if text[line_start(text, pair.key.start) : pair.key.start].strip(" "):
        raise _refused(text, pair.key, f"{pair.key.word[:63]} is not at the start of its line")


def _new_lines(text: str, at: int, lines: list[str]) -> Splice:
    """Insert whole lines, with the same line break as the lines around them.

    A text without a line break at its end keeps none.
    """
    before = text[max(0, at - 2) : at]
    break_before = before.removeprefix(_without_break(before))
    first = BREAK.search(text)
    line_break = break_before or (first[0] if first else "\n")
    if at == len(text) and not break_before:
        return Splice(at, at, line_break + line_break.join(lines))
    return Splice(at, at, line_break.join(lines) + line_break)


def _inline(entries: Fields) -> list[str]:
    return [f"{writer.scalar(name)}: {_braced(fields)}" for name, fields in entries.items()]


def _braced(fields: Any) -> str:
    """Write a value in flow style. A mapping of entries gets blanks inside its braces.

    By these blanks `_drops` recognizes a mapping that `_add` created.
    """
    if isinstance(fields, Mapping) and _nests(fields):
        return "{ " + ", ".join(_inline(fields)) + " }"
    return writer.flow(fields)


def _behind(text: str, holder: Node, last: Pair, entries: Fields) -> list[Splice]:
    """Add entries after the last pair of a flow mapping."""
    end = max(last.value.end, last.key.end)
    comma = _comma_after(text, end, holder.end)
    words = _inline(entries)
    if not _alone(text, last, comma, holder):
        if comma is None:
            return [Splice(end, end, "".join(f", {word}" for word in words))]
        return [Splice(comma + 1, comma + 1, "".join(f" {word}," for word in words))]
    indent = text[line_start(text, last.key.start) : last.key.start]
    ends = "," if comma is not None else ""
    lines = [
        f"{indent}{word}{',' if number < len(words) else ends}"
        for number, word in enumerate(words, 1)
    ]
    added = [] if comma is not None else [Splice(end, end, ",")]
    return [*added, _new_lines(text, line_end(text, end if comma is None else comma), lines)]


def _comma_after(text: str, at: int, end: int) -> int | None:
    """Return the offset of the comma after a value in a flow mapping, or None.

    Blanks and comments may be between the value and the comma.
    """
    while at < end:
        if text[at] == ",":
            return at
        if text[at] == "#":
            at = line_end(text, at)
        elif text[at] in " \t\r\n":
            at += 1
        else:
            return None
    return None


def _alone(text: str, pair: Pair, comma: int | None, holder: Node) -> bool:
    """Whether no other entry is on the line or lines of this pair of a flow mapping."""
    before = text[line_start(text, pair.key.start) : pair.key.start]
    end = max(pair.value.end, pair.key.end) if comma is None else comma + 1
    stop = line_end(text, end)
    rest = text[end:stop].strip()
    return not before.strip() and stop < holder.end and (not rest or rest.startswith("#"))


# Removing


def _remove(text: str, path: Path, name: str) -> str:
    root, value = outline(text), _value(text)
    holder = _walked(text, root, path)
    pair = holder.get(name)
    if pair is None:
        raise EditRefused(
            f"{'.'.join(path)}.{name} is not written out in this file",
            hint="it comes from a merge (<<)",
        )
    _refuse_shared(text, root, pair)
    parent = _walked(text, root, path[:-1])
    above = parent.get(path[-1])
    wanted = _with(value, path, {}, name)
    if len(holder.pairs) > 1 or above is None:
        return _verified(text, _cut(text, holder, pair), wanted)
    if path[-1] == "endpoints" and len(parent.pairs) > 1 and _drops(text, parent, above, pair):
        return _verified(text, _cut(text, parent, above), _with(value, path[:-1], {}, path[-1]))
    return _verified(text, _emptied(text, holder, above, pair), wanted)


def _refuse_shared(text: str, root: Node, pair: Pair) -> None:
    """Refuse to remove a pair that holds an anchor which other parts of the file use."""
    anchors = {
        node.anchor for part in (pair.key, pair.value) for node in part.walk() if node.anchor
    }
    inside = (pair.key.start, pair.value.end)
    for node in root.walk():
        if (
            node.kind == "alias"
            and node.word in anchors
            and not inside[0] <= node.start < inside[1]
        ):
            raise _refused(
                text,
                node,
                f"the alias *{node.word} refers to the entry that would be removed",
                "replace the alias by its values first",
            )


def _drops(text: str, parent: Node, above: Pair, pair: Pair) -> bool:
    """Whether `endpoints` is removed together with its last entry.

    This is so in flow style if `_add` wrote it, and in block style if it holds no comments.
    """
    if above.value.anchor:
        return False
    if above.value.flow:
        inner = text[above.value.inside : above.value.end - 1]
        return (
            parent.flow
            and inner == f" {text[pair.key.start : pair.value.end]} "
            and _nests_in(pair)
        )
    whole = text[above.key.end : extent(text, above)]
    entry = text[line_start(text, pair.key.start) : extent(text, pair)]
    rest = whole.replace(entry, "", 1)
    return not parent.flow and rest.strip() == ":"


def _nests_in(pair: Pair) -> bool:
    return pair.value.kind == "mapping" and pair.value.flow


def _emptied(text: str, holder: Node, above: Pair, pair: Pair) -> list[Splice]:
    """Remove the last entry of a mapping, and leave `{}`."""
    if holder.flow:
        return _cut(text, holder, pair)
    if holder.anchor:
        raise _refused(text, holder, f"this is the last entry of the anchor &{holder.anchor}")
    at = above.key.end + 1
    if text[above.key.end : at] != ":":
        raise _refused(text, above.key, "the colon does not follow its key directly")
    return [Splice(at, at, " {}"), *_cut(text, holder, pair)]


def _cut(text: str, holder: Node, pair: Pair) -> list[Splice]:
    if holder.flow:
        return _cut_flow(text, holder, pair)
    _refuse_odd(text, pair)
    start, end = line_start(text, pair.key.start), extent(text, pair)
    if end == len(text) and not text.endswith(("\r", "\n")):
        start -= len(text[:start]) - len(_without_break(text[:start]))
    return [Splice(start, end, "")]


def _without_break(text: str) -> str:
    return (
        text[:-2] if text.endswith("\r\n") else text[:-1] if text.endswith(("\r", "\n")) else text
    )


def _cut_flow(text: str, holder: Node, pair: Pair) -> list[Splice]:
    """Remove one entry, and one comma, from a flow mapping `{...}`."""
    before, after = _neighbours(holder, pair)
    end = max(pair.value.end, pair.key.end)
    comma = _comma_after(text, end, holder.end)
    if _alone(text, pair, comma, holder) and (before or after):
        last = end if comma is None else comma
        cut = Splice(line_start(text, pair.key.start), line_end(text, last), "")
        return [cut, *_comma_before(text, holder, before if comma is None else None)]
    if comma is not None:
        return [_cut_to_comma(text, pair, comma, before, after)]
    if before is not None and "#" not in text[before.value.end : pair.key.start]:
        return [Splice(before.value.end, end, "")]
    return [Splice(pair.key.start, end, ""), *_comma_before(text, holder, before)]


def _neighbours(holder: Node, pair: Pair) -> tuple[Pair | None, Pair | None]:
    """The entries before and after one; None where there is none."""
    around = [None, *holder.pairs, None]
    index = holder.pairs.index(pair)
    return around[index], around[index + 2]


def _cut_to_comma(
    text: str, pair: Pair, comma: int, before: Pair | None, after: Pair | None
) -> Splice:
    """Remove an entry, the comma after it, and the blanks up to the next entry on this line."""
    if after is not None:
        between = text[comma : after.key.start]
        if not BREAK.search(between) and "#" not in between:
            return Splice(pair.key.start, after.key.start, "")
    blank = 1 if before and text[pair.key.start - 1] == " " else 0
    return Splice(pair.key.start - blank, comma + 1, "")


def _comma_before(text: str, holder: Node, before: Pair | None) -> list[Splice]:
    if before is None:
        return []
    at = _comma_after(text, max(before.value.end, before.key.end), holder.end)
    return [] if at is None else [Splice(at, at + 1, "")]
