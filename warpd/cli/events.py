"""The command events: what the daemon did and observed, from its memory, or from the disk where
none runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby
from typing import Annotated, Any, Final

import typer

from warpd.cli import asking, names, output
from warpd.cli.app import Output, app
from warpd.cli.conditions import conditions_now, intent_lines
from warpd.cli.output import Format
from warpd.errors import WarpError
from warpd.service import client
from warpd.service.workspace import Workspace
from warpd.store import event_log

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
TOGETHER_MIN: Final = 4  # from so many on, changes of one kind are shown in one line
HEAD: Final = ("number", "time", "kind")  # fields that every event has

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are shown; with the defaults all of them.

    - `network`: only events of this network.
    - `kinds`: only events of these kinds.
    - `repairs`: only changes that undo what another program changed.
    - `since`: only events from this time on.
    """

    network: str | None = None
    kinds: tuple[str, ...] = ()
    repairs: bool = False
    since: datetime | None = None

    def takes(self, event: Event) -> bool:
        """Whether an event is shown. An event without a readable time counts as the oldest."""
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
        typer.Option("--network", help="only of this network", autocompletion=names.network_names),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="only of this kind, as change or failed; may be repeated",
            autocompletion=names.event_kinds,
        ),
    ] = None,
    repairs: Annotated[bool, typer.Option("--repairs", help="only repairs of drift")] = False,
    since: Annotated[
        str,
        typer.Option("--since", metavar="AGO|TIME", help="as 30m, 2h, 1d, or 2026-01-31T08:00Z"),
    ] = "",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="every change in a line of its own")
    ] = False,
    output_format: Output = Format.text,
) -> None:
    """Show what the daemon did and observed: changes, repairs, refusals, problems.

    The last thousand events are kept, also over restarts.
    """
    begin = moment(since, datetime.now(UTC)) if since else None
    wanted = Filter(network, known_kinds(kind or ()), repairs, begin)
    found = filter(wanted.takes, _source(context.obj, follow))
    if output_format is Format.json:
        _say_all(json.dumps(event) for event in found)
        return
    lines = (event_text(event) for event in found) if follow or verbose else texts(found)
    _say_all(chain(intent_lines(conditions_now(context.obj)), lines))


def known_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds.

    Raises:
        WarpError: no event ever has one of them.
    """
    try:
        return tuple(event_log.known_kind(kind) for kind in kinds)
    except ValueError as failure:
        raise WarpError(str(failure), code="bad-kind", who="operator") from None


def _say_all(lines: Iterable[str]) -> None:
    """Until whoever reads them has gone."""
    for line in lines:
        if not output.say(line):
            return  # the reader has gone


def _source(workspace: Workspace, follow: bool) -> Iterable[Event]:
    """Return the daemon's events; where none runs and this is root, those on the disk.

    Raises:
        WarpError: no daemon answers, and this user may not read the disk.
    """
    rows = client.events(follow=follow)
    try:
        first = next(rows, None)
    except WarpError as failure:
        if failure.code != "no-daemon" or follow or asking.through_daemon():
            raise
        output.note("warpd is not running; these are the events on the disk")
        return event_log.read(workspace.store.folder)
    return _chained(first, rows)


def _chained(first: Event | None, rest: Iterator[dict[str, Any]]) -> Iterator[Event]:
    if first is not None:
        yield first
        yield from rest


def moment(text: str, now: datetime) -> datetime:
    """Return the time that a text names; it may say how long ago, such as 2h.

    Args:
        text: the text.
        now: the time to count from.

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
            "a number and s, m, h or d, as 30m; or a time, as 2026-01-31T08:00Z (in UTC without a"
            " zone)"
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
    """Yield a line for each event; many equal changes in succession become one line."""
    for _kind, group in groupby(rows, _sort_of):
        same = list(group)
        if same[0]["kind"] == "change" and len(same) >= TOGETHER_MIN:
            yield _together(same)
        else:
            yield from map(event_text, same)


def _sort_of(event: Event) -> tuple[Any, ...]:
    """Return a key that is equal for changes that are shown in one line."""
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
    """Return an event as one line: its time, its kind and its other fields."""
    rest = {key: value for key, value in event.items() if key not in HEAD}
    fields = [
        f"{key}={_value(value)}" for key, value in rest.items() if value not in (None, "", False)
    ]
    return f"{_second(event['time'])}  {event['kind']:9}  {'  '.join(fields)}".rstrip()


def _second(time: str) -> str:
    """Return a time in UTC to the second, such as `2026-01-31T08:00:00Z`."""
    found = _time_of({"time": time})
    if found.year == 1:
        return time
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _value(value: Any) -> str:
    if isinstance(value, list):
        more = f" (and {len(value) - 1} more)" if len(value) > 1 else ""
        return f"{value[0]}{more}" if value else ""
    return "yes" if value is True else " ".join(str(value).split())
