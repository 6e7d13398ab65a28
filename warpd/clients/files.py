"""Several files in one text, for formats whose consumers read a folder.

Each file begins with a line `# file: NAME`, which is a comment to its consumer and where the text
is cut again: by `--out FOLDER`, by `split`, or on the device by the line of awk that stands at the
top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MARK: Final = "# file: "
CUT: Final = """umask 077; awk '/^# file: /{close(f); f=$3; next} f{print >f}' THIS_FILE"""


def joined(files: Mapping[str, str], *notes: str) -> str:
    """The notes come first, as comments; nothing of them is in any file."""
    head = [*(f"# {note}" for note in notes), f"# cut into files by: {CUT}"]
    return "\n".join([*head, "", *(f"{MARK}{name}\n{text}" for name, text in files.items())])


def split(text: str) -> dict[str, str]:
    _, *parts = f"\n{text}".split(f"\n{MARK}")
    pairs = (part.partition("\n") for part in parts)
    return {name: body.rstrip("\n") + "\n" for name, _, body in pairs}
