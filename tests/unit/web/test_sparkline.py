"""Samples as lines, and as words for whoever does not see them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from warpd.web.sparkline import charts

BEGIN_S = 1_800_000_000


def answer(*samples: tuple[int, float, int], since_s: int = BEGIN_S) -> dict[str, Any]:
    """Samples by (when, seconds, bytes)."""
    rows = [
        {
            "time": iso(BEGIN_S + at_s),
            "seconds": seconds,
            "received_bytes": carried,
            "sent_bytes": 0,
            "connected": 3,
        }
        for at_s, seconds, carried in samples
    ]
    return {"since": iso(since_s), "every_s": 300, "recorded": True, "samples": rows}


def iso(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def test_a_sample_that_is_not_full_shows_the_same_rate() -> None:
    found = charts(answer((0, 300, 3_000_000), (300, 30, 300_000)))
    received, sent, connected = found.lines
    assert (received.now, received.most) == ("10 kB/s", "10 kB/s")
    assert (sent.now, connected.now, connected.name) == ("0 B/s", "3", "Connected")


def test_the_picture_says_in_words_what_it_shows() -> None:
    picture = str(
        charts(answer((0, 300, 3_000), (300, 300, 900_000), (600, 300, 0))).lines[0].picture
    )
    label = re.findall(r'role="img" aria-label="([^"]+)"', picture)[0]
    assert label.startswith("Received since 2027-01-15 08:02:30 UTC: now 0 B/s, at most 3.0 kB/s")


def test_a_time_without_samples_parts_the_line() -> None:
    """It is not drawn as if nothing had been carried."""
    whole = charts(answer(*((number * 300, 300.0, 9) for number in range(10)))).lines[0]
    parted = charts(answer((0, 300, 9), (300, 300, 9), (6000, 300, 9))).lines[0]
    assert str(whole.picture).count("<polyline") == 1
    assert str(parted.picture).count("<polyline") == 2


def test_every_point_is_inside_of_the_picture() -> None:
    rows = [(number * 300, 300.0, number * 7919 % 5000) for number in range(288)]
    picture = str(charts(answer(*rows)).lines[0].picture)
    places = re.findall(r"(-?[\d.]+),(-?[\d.]+)", picture)
    assert len(places) >= 288 and len(picture) < 8000
    assert all(0 <= float(x) <= 300 and 0 <= float(y) <= 44 for x, y in places)


def test_after_a_restart_the_page_says_so() -> None:
    assert charts(answer((0, 300, 1))).since == "2027-01-15 08:00:00"
    assert charts(answer((86_500, 300, 1))).since == "", "a whole day is there"
    nothing = charts(answer())
    assert nothing.since == "2027-01-15 08:00:00" and nothing.lines == []


def test_before_the_first_look_and_where_none_are_kept() -> None:
    empty = {"since": None, "every_s": 300, "samples": []}
    assert charts({**empty, "recorded": True}).since == ""
    assert not charts({**empty, "recorded": False}).is_kept
