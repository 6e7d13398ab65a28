"""Join several files into one text, for formats whose programs read a folder.

Each file begins with the line `# file: NAME`. This line is a comment in every format that uses it.
The text is cut at these lines: by `split` (`--out FOLDER`), or on the device by the awk command at
the top of the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MARK: Final = "# file: "
CUT: Final = """umask 077; awk '/^# file: /{close(f); f=$3; next} f{print >f}' THIS_FILE"""


def joined(files: Mapping[str, str], *notes: str) -> str:
    """Join files, by name. The notes come first, as comments; they belong to no file."""
    head = [*(f"# {note}" for note in notes), f"# cut into files by: {CUT}"]
    return "\n".join([*head, "", *(f"{MARK}{name}\n{text}" for name, text in files.items())])


def split(text: str) -> dict[str, str]:
    """Return the files of a joined text, by name."""
    _, *parts = f"\n{text}".split(f"\n{MARK}")
    pairs = (part.partition("\n") for part in parts)
    return {name: body.rstrip("\n") + "\n" for name, _, body in pairs}
