"""Git as a command: no prompt, no hook, no helper that runs other commands, a bound in time."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from warpd.errors import WarpError

TIMEOUT_S: Final = 300.0
OUTPUT_MAX: Final = 2000  # characters of git's error output that are shown
# Only ssh signatures count, not those by keys in root's keyrings.
_SAFE: Final = (
    "-c",
    "protocol.ext.allow=never",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "gc.autoDetach=false",
    "-c",
    "gpg.program=/bin/false",
    "-c",
    "gpg.x509.program=/bin/false",
)
_ENVIRONMENT: Final = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class GitOutput:
    """What git has written: `out` to its standard output, `errors` to the other one."""

    out: bytes
    errors: str

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class GitCommand:
    """How git is run.

    - `options`: before the name of the command, such as `--git-dir`.
    - `environment`: added to that of this process.
    - `code`, `hint`: of the error, should git fail.
    - `timeout_s`: seconds.
    """

    options: Sequence[str] = ()
    environment: Mapping[str, str] | None = None
    code: str = "git"
    hint: str = ""
    timeout_s: float = TIMEOUT_S

    def run(self, *words: str, given: bytes = b"", folder: Path | None = None) -> GitOutput:
        """Run one command, with `given` as its standard input, in `folder`.

        Raises:
            WarpError: git cannot be started, takes too long, or fails; the message contains its
                error output.
        """
        try:
            job = subprocess.Popen(
                ("git", *_SAFE, *self.options, *words),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=self._environment(),
                start_new_session=True,
            )
        except OSError as failure:
            text = f"git cannot be run: {failure.strerror}"
            raise self._failure(text, "apt install git") from None
        try:
            out, raw = job.communicate(given, timeout=self.timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)  # git and the ssh and helpers that it has started
            job.communicate()
            raise self._failure(f"git {words[0]} took over {self.timeout_s:.0f} s") from None
        errors = raw.decode(errors="replace")
        if job.returncode:
            text = " ".join(errors.split())[:OUTPUT_MAX]
            raise self._failure(f"git: {text or _silent(job.returncode)}")
        return GitOutput(out, errors)

    def _environment(self) -> dict[str, str]:
        made = {"HOME": "/root", **os.environ, **_ENVIRONMENT, **(self.environment or {})}
        made.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
        return made

    def _failure(self, text: str, hint: str = "") -> WarpError:
        return WarpError(text, code=self.code, who="operator", hint=hint or self.hint)


def _silent(status: int) -> str:
    return f"it ended with {status} and without a message"
