"""The last one-time password of each user: `one-time-passwords.json` in the state folder.

Lives here: the file. Does not: what a one-time password is. Of each user the number of the last
accepted step of thirty seconds is kept, so that no password is good twice, not even after a
restart. Only the daemon writes it.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Final

from warpd.errors import WarpError
from warpd.store.atomic_file import put, translate_oserror

FILE: Final = "one-time-passwords.json"
FORMAT: Final = 1
FILE_MAX: Final = 1024 * 1024  # bytes


class UsedPasswords:
    """The steps of one state folder. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._path = Path(folder) / FILE
        self._guard = threading.Lock()
        self._steps: dict[str, int] | None = None

    def use(self, user: str, step: int) -> bool:
        """Note that this user's password of this step is used now; False where it, or a later one,
        was used before. It is written before this returns.

        Raises:
            WarpError: it cannot be written, or the file is damaged: the password is not accepted.
        """
        with self._guard, translate_oserror(self._path):
            steps = self._read() if self._steps is None else self._steps
            if step <= steps.get(user, -1):
                return False
            after = {**steps, user: step}
            put(self._path, json.dumps({"version": FORMAT, "steps": after}).encode() + b"\n")
            self._steps = after
            return True

    def _read(self) -> dict[str, int]:
        """Raises: OSError; WarpError for a damaged file."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(FILE_MAX)
        except FileNotFoundError:
            return {}
        try:
            document = json.loads(raw)
            if document["version"] != FORMAT:
                raise ValueError(f"version {document['version']}, this warpd reads {FORMAT}")
            return {str(user): int(step) for user, step in document["steps"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as failure:
            raise WarpError(
                f"{self._path} is damaged: {failure}",
                code="state-broken",
                who="operator",
                hint="remove it: passwords of the last minute and a half can be used once more",
            ) from None
