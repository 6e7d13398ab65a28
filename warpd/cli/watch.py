"""events, and the live view of `status --watch`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from warpd import client
from warpd.cli import names, output
from warpd.cli.app import Output, app
from warpd.cli.output import Format

REDRAW_S = 2.0
CLEAR = "\x1b[H\x1b[2J"


@app.command()
def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until interrupted")] = False,
    network: Annotated[
        str | None, typer.Option("--network", help="only this network's", autocompletion=names.network_names)
    ] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="only these, as change or failed; may be repeated")] = None,
    repairs: Annotated[bool, typer.Option("--repairs", help="only what was changed back")] = False,
    form: Output = Format.text,
) -> None:
    """What the daemon did: changes, repairs, refusals, fights; the last thousand, and with --follow those to come."""
    for event in client.events(follow=follow):
        if not is_chosen(event, network, kind or (), repairs):
            continue
        if not output.say(json.dumps(event) if form is Format.json else event_text(event)):
            return  # whoever read it has gone


def is_chosen(event: Mapping[str, Any], network: str | None, kinds: Sequence[str], repairs: bool) -> bool:
    """Whether an event is among those that are asked for."""
    if network is not None and event.get("network") != network:
        return False
    if kinds and event["kind"] not in kinds:
        return False
    return not repairs or bool(event.get("repair"))


def event_text(event: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in event.items() if key not in ("number", "time", "kind") and value not in (None, "")}
    said = "  ".join(f"{key}={value}" for key, value in rest.items())
    return f"{event['time']}  {event['kind']:9}  {said}"


def watch(look: Callable[[], Mapping[str, Any]], text: Callable[[Mapping[str, Any]], str]) -> None:
    """Draw again and again, with rates since the time before, until interrupted."""
    before: dict[str, tuple[int, int]] = {}
    then = time.monotonic()
    try:
        while True:
            data = look()
            now = time.monotonic()
            rows = rates(data, before, now - then)
            then = now
            output.say(f"{CLEAR}{text(data)}\n\n{rows}" if rows else f"{CLEAR}{text(data)}")
            time.sleep(REDRAW_S)
    except KeyboardInterrupt:
        return


def rates(data: Mapping[str, Any], before: dict[str, tuple[int, int]], seconds: float) -> str:
    """Bits per second of endpoints that are busy, the busiest first; `before` is brought up to date."""
    rows = []
    for network in data["networks"]:
        for endpoint in network["endpoints"]:
            name, now = f"{network['name']}/{endpoint['name']}", (endpoint["received_bytes"], endpoint["sent_bytes"])
            last = before.get(name)
            before[name] = now
            if last is not None and seconds > 0 and now >= last and now != last:
                rows.append((name, *(8 * (a - b) / seconds for a, b in zip(now, last, strict=True))))
    rows.sort(key=lambda row: (-row[1] - row[2], row[0]))
    shown = [(name, _bits(received), _bits(sent)) for name, received, sent in rows[:20]]
    return output.table(shown, ("BUSIEST", "RECEIVES", "SENDS")) if shown else ""


def _bits(rate: float) -> str:
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if rate < 1000:
            return f"{rate:.0f} {unit}"
        rate /= 1000
    return f"{rate:.1f} Gbit/s"
