"""What the daemon's JSON says, in the words and numbers that pages show. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Row = Mapping[str, Any]

CONNECTED_S: Final = 180  # after a handshake a session is over (WireGuard: REJECT_AFTER_TIME)

# A state of an endpoint as the daemon says it, and the word for it here.
STATE_WORDS: Final[Mapping[str, str]] = {
    "online": "connected",
    "stale": "idle",
    "present": "never",
    "suspended": "suspended",
    "expired": "expired",
    "disabled": "disabled",
    "off": "off",
    "missing": "absent",
}


@dataclass(frozen=True, slots=True)
class Tone:
    """How a state looks: a class of the style sheet, and a sign that says it without colour."""

    look: str
    sign: str


TONES: Final[Mapping[str, Tone]] = {
    "in-sync": Tone("good", "✓"),
    "connected": Tone("good", "●"),
    "ok": Tone("good", "✓"),
    "passes": Tone("good", "✓"),
    "idle": Tone("quiet", "○"),
    "never": Tone("quiet", "◌"),
    "disabled": Tone("quiet", "/"),
    "off": Tone("quiet", "⊘"),
    "none": Tone("quiet", "/"),
    "changes-wait": Tone("warn", "◆"),
    "differs": Tone("warn", "≠"),
    "missing": Tone("warn", "+"),
    "unexpected": Tone("warn", "-"),
    "expired": Tone("warn", "◕"),
    "warn": Tone("warn", "▲"),
    "warning": Tone("warn", "▲"),
    "confirm": Tone("warn", "◔"),
    "suspended": Tone("bad", "■"),
    "absent": Tone("bad", "✕"),
    "foreign": Tone("bad", "✕"),
    "failing": Tone("bad", "✕"),
    "unbuilt": Tone("bad", "✕"),
    "stopped": Tone("bad", "✕"),
    "error": Tone("bad", "✕"),
    "fail": Tone("bad", "✕"),
}


def session_state(row: Row) -> str:
    """Whether there is a session, or was: idle is not broken.

    A handshake in the future, after the clock was set back, has no age and counts as idle.
    """
    age_s = row.get("handshake_age_s")
    if age_s is None:
        return "idle" if row.get("last_handshake") else "never"
    return "connected" if age_s < CONNECTED_S else "idle"


def network_state(network: Row, failing: Iterable[str] = ()) -> str:
    """One word for a network; the worst first."""
    if not network["enabled"]:
        return "disabled"
    if network["blocked"]:
        return "foreign"
    if network["name"] in failing:
        return "failing"
    if any(problem.get("whole") for problem in network["problems"]):
        return "unbuilt"
    return "in-sync" if network["in_sync"] else "differs"


def count_states(networks: Iterable[Row]) -> Counter[str]:
    """How many endpoints are in each state, by the summaries of their networks."""
    counts: Counter[str] = Counter()
    for network in networks:
        for state, count in network["counted"]["states"].items():
            counts[STATE_WORDS[state]] += count
    return counts


def network_row(network: Row, failing: Iterable[str]) -> dict[str, Any]:
    """A line of the list of networks."""
    states = count_states([network])
    return {
        **network,
        "state": network_state(network, failing),
        "connected": states["connected"],
        "total": states.total(),
        "received": network["counted"]["received_bytes"],
        "sent": network["counted"]["sent_bytes"],
        "dropped": dropped(network),
    }


def dropped(network: Row) -> int:
    """Packets that were dropped in a network."""
    return sum(count["packets"] for count in network["drops"].values())


def endpoint_row(row: Row) -> dict[str, Any]:
    """A line of the list of endpoints."""
    return {**row, "state": STATE_WORDS[row["state"]]}


def expiring(networks: Iterable[Row]) -> list[dict[str, Any]]:
    """Endpoints that expire within a week, the next one first."""
    found: list[dict[str, Any]] = []
    for network in networks:
        rows = network["counted"]["expiring"]
        found.extend({**row, "network": network["name"]} for row in rows)
    return sorted(found, key=lambda row: int(row["expires_in_days"]))


def failing_names(daemon: Row) -> set[str]:
    """Networks whose last apply failed."""
    return {str(row["network"]) for row in daemon.get("failing", ())}


def wrong_networks(networks: Iterable[Row], failing: Iterable[str]) -> list[dict[str, Any]]:
    """Networks that are not as they should be, with why."""
    found = []
    for network in networks:
        state = network_state(network, failing)
        if state not in ("in-sync", "disabled") or network["problems"]:
            found.append({"name": network["name"], "state": state, "why": why_wrong(network)})
    return found


def why_wrong(network: Row) -> list[dict[str, str]]:
    """What is in the way of a network, and what to do about it."""
    reasons = [
        {"text": str(problem["message"]), "hint": str(problem.get("hint", ""))}
        for problem in network["problems"]
    ]
    reasons.extend({"text": str(text), "hint": ""} for text in network["blocked"])
    return reasons


# -- text of numbers


def bytes_text(number: float) -> str:
    """A size in bytes, as people say it."""
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(seconds: float | None) -> str:
    """A time in its largest unit."""
    if seconds is None:
        return ""
    left = max(0.0, float(seconds))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if left >= length:
            return f"{left / length:.0f} {unit}"
    return f"{left:.0f} s"


def clock_text(seconds: float) -> str:
    """What is left to confirm, as a clock shows it."""
    left = max(0, round(seconds))
    return f"{left // 60:02d}:{left % 60:02d}"


def time_text(value: object) -> str:
    """An ISO time without its fraction, in UTC: `2026-11-27 12:20:36`."""
    text = str(value or "")
    return text[:19].replace("T", " ")
