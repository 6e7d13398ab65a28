"""Counts and lists as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def plural(count: int, word: str) -> str:
    """Return a count and its noun, such as `1 network` or `2 networks`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def owner_text(network: str) -> str:
    """Return the name of a network as people read it; "" stands for the gateway's own part."""
    return network or "gateway"


def first_of(names: Sequence[str], shown: int, joint: str = ", ") -> str:
    """Return the first names, and how many more there are, such as `a, b and 3 more`."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return joint.join(names[:shown]) + more
