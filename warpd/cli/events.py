"""events: what the daemon did and saw, from its memory, or from disk where none runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated, Any, Final

import typer

from warpd.cli import asking, names, output
from warpd.cli.app import Output, app
from warpd.cli.output import Format
from warpd.errors import WarpError
from warpd.service import client
from warpd.service.workspace import Session
from warpd.store import event_log

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
TOGETHER_MIN: Final = 4  # changes of one kind that are told in one line
HEAD: Final = ("number", "time", "kind")  # what every event has

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are asked for; every default lets all pass."""

    network: str | None = None
    kinds: tuple[str, ...] = ()
    repairs: bool = False  # only what was changed back
    since: datetime | None = None

    def takes(self, event: Event) -> bool:
        """Whether an event is among them. One without a time that can be read is older than any."""
        if self.network is not None and event.get("network") != self.network:
            return False
        if self.kinds and event["kind"] not in self.kinds:
            return False
        if self.since is not None and _time_of(event) < self.since:
            return False
        return not self.repairs or bool(event.get("repair"))


@app.command()
def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until interrupted")] = False,
    network: Annotated[
        str | None,
        typer.Option("--network", help="only this network's", autocompletion=names.network_names),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="only these, as change or failed; may be repeated",
            autocompletion=names.event_kinds,
        ),
    ] = None,
    repairs: Annotated[bool, typer.Option("--repairs", help="only what was changed back")] = False,
    since: Annotated[
        str,
        typer.Option("--since", metavar="AGO|TIME", help="as 30m, 2h, 1d, or 2026-01-31T08:00Z"),
    ] = "",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="every change in a line of its own")
    ] = False,
    form: Output = Format.text,
) -> None:
    """What the daemon did and saw: changes, repairs, refusals, problems.

    The last thousand, kept over restarts.
    """
    begin = moment(since, datetime.now(UTC)) if since else None
    wanted = Filter(network, tuple(kind or ()), repairs, begin)
    found = filter(wanted.takes, _source(context.obj, follow))
    lines: Iterable[str]
    if form is Format.json:
        lines = (json.dumps(event) for event in found)
    elif follow or verbose:
        lines = (event_text(event) for event in found)
    else:
        lines = texts(found)
    for line in lines:
        if not output.say(line):
            return  # whoever read it has gone


def _source(session: Session, follow: bool) -> Iterable[Event]:
    """The daemon's events; where none runs and this is root, those on disk.

    Raises:
        WarpError: nobody answers, and the disk is not this user's to read.
    """
    rows = client.events(follow=follow)
    try:
        first = next(rows, None)
    except WarpError as failure:
        if failure.code != "no-daemon" or follow or asking.through_daemon():
            raise
        output.note("warpd is not running; these are the events that it wrote down")
        return event_log.read(session.store.folder)
    return _chained(first, rows)


def _chained(first: Event | None, rest: Iterator[dict[str, Any]]) -> Iterator[Event]:
    if first is not None:
        yield first
        yield from rest


def moment(text: str, now: datetime) -> datetime:
    """A time, or how long ago.

    Raises:
        WarpError: it is neither.
    """
    count, unit = text[:-1], text[-1:]
    try:
        if unit in UNITS and count.isdigit():
            return now - timedelta(seconds=int(count) * UNITS[unit])
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        hint = (
            "a number and s, m, h or d, as 30m; or a time, as 2026-01-31T08:00Z (UTC where it says"
            " nothing)"
        )
        raise WarpError(
            f"{text[:40]} is no time", code="bad-time", who="operator", hint=hint
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _time_of(event: Event) -> datetime:
    try:
        found = datetime.fromisoformat(event["time"])
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def texts(rows: Iterable[Event]) -> Iterator[str]:
    """A line each; many changes of one kind, one after the other, in one line."""
    for _kind, group in groupby(rows, _sort_of):
        same = list(group)
        if same[0]["kind"] == "change" and len(same) >= TOGETHER_MIN:
            yield _together(same)
        else:
            yield from map(event_text, same)


def _sort_of(event: Event) -> tuple[Any, ...]:
    """Equal for changes that are told together."""
    if event["kind"] != "change":
        return (event["number"],)
    names = ("network", "action", "repair", "why")
    return ("change", event["time"][:19], *(event.get(name) for name in names))


def _together(rows: list[Event]) -> str:
    first = rows[0]
    more = {"objects": len(rows), "first": first["object"]}
    kept = {name: first.get(name) for name in ("network", "vcid", "action", "why", "repair")}
    return event_text({**{name: first[name] for name in HEAD}, **kept, **more})


def event_text(event: Event) -> str:
    """Time, kind and what else is known, in one line."""
    rest = {
        key: value
        for key, value in event.items()
        if key not in HEAD and value not in (None, "", False)
    }
    said = "  ".join(f"{key}={_value(value)}" for key, value in rest.items())
    return f"{_second(event['time'])}  {event['kind']:9}  {said}".rstrip()


def _second(time: str) -> str:
    """The time in UTC to the second, as `2026-01-31T08:00:00Z`."""
    found = _time_of({"time": time})
    if found.year == 1:
        return time
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _value(value: Any) -> str:
    if isinstance(value, list):
        more = f" (and {len(value) - 1} more)" if len(value) > 1 else ""
        return f"{value[0]}{more}" if value else ""
    return "yes" if value is True else " ".join(str(value).split())
