"""The completion files as the package has them, in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from warpd.cli import complete

REPOSITORY = Path(__file__).parents[3]
TABLE = "usr/lib/warpd/warpd/cli/completion.json"
PROGRAM = "usr/lib/warpd/warpd/cli/complete.py"
TEXT = """version: 1
networks:
  corp:
    type: secure-internet
    endpoints: {laptop-2: {type: mobile}, laptop-10: {type: mobile}, other: {type: mobile}}
  web:
    type: secure-internet
    description: "endpoints: {x: y}"
    endpoints:
      phone: {type: mobile}
"""


def built(root: Path) -> None:
    """What the build makes, with the program where its table is."""
    (root / TABLE).parent.mkdir(parents=True)
    words = [sys.executable, REPOSITORY / ".ci" / "reference" / "completions.py", root]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    shutil.copy(complete.__file__, root / PROGRAM)
