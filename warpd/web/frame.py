"""What every page shows around its own content: the gateway's state, and what waits to be
confirmed. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class PendingConfirm:
    """An apply that is undone unless somebody keeps it.

    - `number`: its entry of the history.
    - `by`: who applied it.
    - `until`: the deadline, ISO 8601 in UTC.
    - `left_s`: seconds to it by the gateway's clock, when the page was made.
    - `back_to`: the entry that is restored otherwise; 0 removes everything.
    """

    number: int
    by: str
    until: str
    left_s: float
    back_to: int


@dataclass(frozen=True, slots=True)
class Frame:
    """The top of a page.

    - `gateway`: its name; "" where it is not known.
    - `state`: a word of `summary.TONES`.
    - `revision`: of the YAML that is in force, where it comes from git.
    - `since`: since when it is in force, ISO 8601 in UTC.
    - `looked`: when the kernel was looked at last.
    - `last_event`: the number of the latest event that the page may show.
    - `from_git`: the YAML is pulled, so that changes are proposed and not written.
    """

    gateway: str = ""
    state: str = "none"
    revision: str = ""
    since: str = ""
    looked: str = ""
    looked_s: float = 0.0
    pending: PendingConfirm | None = None
    from_git: bool = False
    last_event: int = 0


def frame_of(daemon: Mapping[str, Any], gateway: str, now: datetime | None = None) -> Frame:
    """From what the daemon says of itself; `now` is in UTC."""
    moment = now or datetime.now(UTC)
    source = daemon.get("source") or {}
    intent = daemon.get("intent") or {}
    looked = str((daemon.get("last_pass") or {}).get("time", ""))
    pending = pending_of(daemon.get("pending_confirm"), moment)
    return Frame(
        gateway=gateway,
        state=_state(daemon, pending),
        revision=str(source.get("revision") or "")[:12],
        since=str(intent.get("since") or ""),
        looked=looked,
        looked_s=_age_s(looked, moment),
        pending=pending,
        from_git=bool(source),
        last_event=int(daemon.get("last_event") or 0),
    )


def pending_of(data: Mapping[str, Any] | None, now: datetime) -> PendingConfirm | None:
    """What waits to be confirmed; None for nothing."""
    if not data:
        return None
    until = str(data["until"])
    left_s = data.get("left_s")
    if left_s is None:
        left_s = -_age_s(until, now)
    return PendingConfirm(
        int(data["number"]), str(data["by"]), until, float(left_s), int(data["rollback_to"])
    )


def _state(daemon: Mapping[str, Any], pending: PendingConfirm | None) -> str:
    if pending is not None:
        return "confirm"
    severities = {item.get("severity") for item in daemon.get("conditions", ())}
    if daemon.get("failing") or "error" in severities:
        return "failing"
    intent = daemon.get("intent") or {}
    if intent.get("awaiting_consent") or intent.get("findings"):
        return "changes-wait"
    return "warning" if severities else "in-sync"


def _age_s(time: str, now: datetime) -> float:
    if not time:
        return 0.0
    return (now - datetime.fromisoformat(time)).total_seconds()
