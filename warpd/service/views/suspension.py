"""Suspensions for people and programs. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from warpd.allocation.suspensions import Suspension


def suspended_json(item: Suspension | None) -> dict[str, Any] | None:
    """Return `suspended` of an endpoint; None for one that is not."""
    if item is None:
        return None
    return {
        "since": time_text(item.since_s),
        "until": None if item.until_s is None else time_text(item.until_s),
        "by": item.by,
        "reason": item.reason,
    }


def suspension_text(item: Suspension) -> str:
    """Return `suspended by anna (web) until 2027-01-15T08:00:00+00:00 (lost phone)`."""
    until = "until it is resumed" if item.until_s is None else f"until {time_text(item.until_s)}"
    reason = f" ({item.reason})" if item.reason else ""
    return f"suspended by {item.by} {until}{reason}"


def time_text(seconds: int) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return str(seconds)
