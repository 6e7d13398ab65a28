"""What the fixture `run` of the unit tests is: a command's words to its exit code, stdout and
stderr.
"""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]
