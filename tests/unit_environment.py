"""The environment that a unit of ours gives its process."""

from __future__ import annotations

from pathlib import Path

UNITS = Path(__file__).parents[1] / "systemd"


def environment_of(unit: str) -> dict[str, str]:
    """By name, as the file of the unit says."""
    lines = (UNITS / unit).read_text().splitlines()
    words = [
        word
        for line in lines
        if line.startswith("Environment=")
        for word in line.partition("=")[2].split()
    ]
    return dict(word.split("=", 1) for word in words)
