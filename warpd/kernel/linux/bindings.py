"""Whether the distribution's Python bindings of libnftables are here: a plain virtual environment
has none.
"""

from __future__ import annotations

import importlib
from typing import Final

MISSING: Final = (
    "the Python bindings of libnftables are missing: without them no kernel can be looked at"
)
HINT: Final = (
    "apt install python3-nftables, and a virtual environment made with --system-site-packages"
)


def are_here() -> bool:
    try:
        importlib.import_module("nftables")
    except ImportError:
        return False
    return True
