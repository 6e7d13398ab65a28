"""What passes in each type of network. One file a type, one line here."""

from __future__ import annotations

from types import ModuleType

from warpd.networks import secure_internet

TYPES: tuple[ModuleType, ...] = (secure_internet,)


def type_named(name: str) -> ModuleType | None:
    return next((module for module in TYPES if name == module.TYPE), None)
