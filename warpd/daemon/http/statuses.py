"""The HTTP status of a failure: of every route the same. Pure."""

from __future__ import annotations

from typing import Final

from warpd.errors import Busy, InvalidIntent, WarpError

# Codes of what the state of the gateway does not permit now.
CONFLICTS: Final = frozenset({"source", "exists", "declined"})
# Codes of what is not there.
MISSING: Final = frozenset({"unknown-network", "unknown-endpoint", "history-unknown"})


def status_of(failure: WarpError) -> int:
    """500 is what this machine refuses, and what is our mistake; 4xx what whoever asks can fix."""
    if isinstance(failure, Busy) or failure.code in CONFLICTS:
        return 409
    if failure.code in MISSING:
        return 404
    is_of_machine = (
        failure.who != "operator"
        or failure.code == "state-broken"
        or isinstance(failure.__cause__, OSError)
    )
    return 422 if isinstance(failure, InvalidIntent) or not is_of_machine else 500
