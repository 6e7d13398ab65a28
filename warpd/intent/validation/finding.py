"""How a rule of the validation says what is wrong. Pure."""

from __future__ import annotations

from warpd.errors import Finding


def error(code: str, path: str, message: str, hint: str = "") -> Finding:
    return Finding(code, path, message, hint)


def warning(code: str, path: str, message: str, hint: str = "") -> Finding:
    return Finding(code, path, message, hint, "warning")
