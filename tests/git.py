"""The real git, as nobody has set it up: no configuration of this machine or user is read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "author",
    "GIT_AUTHOR_EMAIL": "author@example.com",
    "GIT_COMMITTER_NAME": "committer",
    "GIT_COMMITTER_EMAIL": "committer@example.com",
}


def git(folder: Path, *words: str, given: str = "") -> str:
    """What git prints in this folder, byte for byte; `given` is what it reads.

    Raises:
        AssertionError: it fails.
    """
    done = subprocess.run(
        ("git", "-C", str(folder), *words),
        env=ENVIRONMENT,
        input=given.encode(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
