"""warpd: a multi-tenant VPN gateway, driven by YAML, converging the live kernel."""

from __future__ import annotations

__version__ = "0.1.0"
