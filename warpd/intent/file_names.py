"""The names of the files of a configuration."""

from __future__ import annotations

from typing import Final

MAIN_FILE: Final = "warp.yaml"
LOCK_FILE: Final = "warp.lock.yaml"
FOLDER: Final = "networks.d"
