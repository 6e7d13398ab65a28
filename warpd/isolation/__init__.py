"""Where a network's objects live and how they reach the uplink. One file a mode, one line here."""

from __future__ import annotations

from types import ModuleType

from warpd.isolation import namespace

MODES: tuple[tuple[str, ModuleType], ...] = (("namespace", namespace),)


def mode(name: str) -> ModuleType | None:
    return dict(MODES).get(name)
