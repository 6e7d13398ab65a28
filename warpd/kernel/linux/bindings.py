"""Check that the Python bindings of libnftables are installed.

They come from the distribution, so a virtual environment has them only if it was made with
--system-site-packages.
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
    """Whether the bindings can be imported."""
    try:
        importlib.import_module("nftables")
    except ImportError:
        return False
    return True
