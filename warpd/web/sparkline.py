"""Sparklines of the samples that the daemon keeps: SVG without a script, and in words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from warpd.web.catalogue import TEXT
from warpd.web.rendering import trusted
from warpd.web.summary import bytes_text, time_text

WIDTH, HEIGHT, EDGE = 300, 44, 3
DAY_S: Final = 24 * 3600
SPAN_MIN_S: Final = (
    1800.0  # what a line shows at least, so that two samples are not a whole picture
)
GAP: Final = 2.5  # a time without samples as long as so many of them parts the line

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """What a sample says: the middle of its time in seconds since the epoch, and the value."""

    at_s: float
    value: float


@dataclass(frozen=True, slots=True)
class Sparkline:
    """One figure over the last day: its name, what it is now, its most, and the picture."""

    name: str
    now: str
    most: str
    picture: Markup


@dataclass(frozen=True, slots=True)
class Charts:
    """What a page shows of samples.

    - `since`: before which there are none, because the daemon was started then; "" where they reach
      back for a day.
    - `lines`: empty where there is nothing to show yet.
    - `is_kept`: not on a gateway with too many endpoints.
    """

    since: str
    lines: Sequence[Sparkline]
    is_kept: bool


def charts(answer: Row) -> Charts:
    """The pictures of what `GET /v1/samples` says."""
    samples, since = answer["samples"], str(answer["since"] or "")
    every_s = max([float(answer["every_s"]), *(float(row["seconds"]) for row in samples)])
    lines = [
        _sparkline(
            "spark.received", _points(samples, _rate_of("received_bytes")), _rate_text, every_s
        ),
        _sparkline("spark.sent", _points(samples, _rate_of("sent_bytes")), _rate_text, every_s),
        _sparkline("spark.connected", _points(samples, _connected), _number_text, every_s),
    ]
    is_new = bool(samples) and _seconds(samples[-1]["time"]) - _seconds(since) < DAY_S
    told = since if is_new or not samples else ""
    return Charts(time_text(told), lines if samples else [], bool(answer["recorded"]))


def _points(samples: Sequence[Row], value: Callable[[Row], float]) -> list[Point]:
    return [Point(_seconds(row["time"]) + float(row["seconds"]) / 2, value(row)) for row in samples]


def _rate_of(field: str) -> Callable[[Row], float]:
    """Bytes a second: a sample that is not full yet is as good as the others."""
    return lambda row: float(row[field]) / max(1.0, float(row["seconds"]))


def _connected(row: Row) -> float:
    return float(row["connected"])


def _rate_text(value: float) -> str:
    return f"{bytes_text(value)}/s"


def _number_text(value: float) -> str:
    return f"{value:.0f}"


def _sparkline(
    key: str, points: Sequence[Point], text: Callable[[float], str], every_s: float
) -> Sparkline:
    title = TEXT[key]
    if not points:
        return Sparkline(title, "", "", Markup())
    most = max(points, key=lambda point: point.value)
    now, highest = text(points[-1].value), text(most.value)
    label = TEXT["spark.label"].format(
        name=title, begin=_time(points[0].at_s), now=now, most=highest, at=_time(most.at_s)
    )
    drawn = "".join(_drawn(points, most.value, every_s))
    picture = (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">{drawn}</svg>'
    )
    return Sparkline(title, now, highest, trusted(picture))


def _drawn(points: Sequence[Point], most: float, every_s: float) -> Iterator[str]:
    """A line for each time without a gap, and what is below it."""
    end_s = points[-1].at_s
    begin_s = min(points[0].at_s, end_s - SPAN_MIN_S)
    across = (WIDTH - 2 * EDGE) / (end_s - begin_s)
    up = (HEIGHT - 2 * EDGE) / (most or 1.0)
    for part in _without_gaps(points, GAP * every_s):
        placed = [
            (EDGE + (point.at_s - begin_s) * across, HEIGHT - EDGE - point.value * up)
            for point in part
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        first, last = placed[0][0], placed[-1][0]
        bottom = HEIGHT - EDGE
        yield f'<polygon points="{first:.1f},{bottom} {line} {last:.1f},{bottom}"/>'
        if len(placed) == 1:  # a line of one point is not drawn: a short one is
            line = f"{first - EDGE:.1f},{placed[0][1]:.1f} {line}"
        yield f'<polyline points="{line}"/>'


def _without_gaps(points: Sequence[Point], gap_s: float) -> Iterator[list[Point]]:
    part: list[Point] = []
    for point in points:
        if part and point.at_s - part[-1].at_s > gap_s:
            yield part
            part = []
        part.append(point)
    yield part


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _time(at_s: float) -> str:
    return time_text(datetime.fromtimestamp(at_s, UTC).isoformat())
