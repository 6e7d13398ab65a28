"""A git repository as the place of the YAML: fetched, verified, and laid out as plain files for
everybody else to read.

    STATE/source/KEY/repo.git what git fetched STATE/source/KEY/REVISION/ warp.yaml, warp.lock.yaml,
    networks.d/*.yaml of a revision that was accepted STATE/source/KEY/current a symlink to the one
    that counts; swapped at once

KEY stands for the source's settings: what one repository gave is never taken for another's, or for
verified because it once needed not be. Only regular files of those names are laid out: a symlink in
a repository could name any file of this machine, and an error message would show its lines. Lives
here: git. Does not: what the files mean, when to pull.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from warpd.errors import Busy, WarpError
from warpd.intent.loader import FOLDER, LOCK_FILE, MAIN_FILE
from warpd.intent.model import GitSource

TIMEOUT_S: Final = 300.0
SAID_MAX: Final = 2000  # characters of git's own words that are told
TARGET: Final = "refs/warpd/wanted"
_REVISION = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
# No question on a terminal, no helper that runs commands, no hook; only ssh signatures count, not
# the keyrings of root.
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


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull came to."""

    revision: str
    changed: bool


class Checkout:
    """The folders of one source on this machine."""

    def __init__(self, source: GitSource, state: Path) -> None:
        self.source = source
        settings = "\0".join((source.git, source.ref, source.path, source.verify or ""))
        self.folder = state / "source" / hashlib.sha256(settings.encode()).hexdigest()[:16]
        self.current = self.folder / "current"
        self._repository = self.folder / "repo.git"

    @property
    def revision(self) -> str:
        """The commit that is laid out; "" before the first.

        Raises: OSError when the state folder is not ours to read.
        """
        try:
            return os.readlink(self.current)
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def pull(self) -> Pulled:
        """Fetch, verify, lay out. What was laid out before stays when anything is wrong.

        Raises:
            Busy: another warpd pulls just now.
            WarpError: git failed (its words are in the message), the commit is not verified, or it
            has no YAML.
        """
        with self._alone():
            before = self.revision
            wanted = self._fetched()
            self._verified(before, wanted)
            if wanted != before:
                self._lay_out(wanted)
                self._tidy({before, wanted})
            return Pulled(wanted, wanted != before)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy("another pull is under way", hint="try again in a moment") from None
            yield

    def _fetched(self) -> str:
        if not (self._repository / "HEAD").exists():
            shutil.rmtree(self._repository, ignore_errors=True)
            _git(None, "init", "--quiet", "--bare", str(self._repository))
        ref = self.source.ref
        # A commit cannot be asked for everywhere; a branch that holds it can.
        what, name = (
            ("refs/heads/*:refs/warpd/heads/*", ref)
            if _REVISION.match(ref)
            else (f"{ref}:{TARGET}", TARGET)
        )
        self._git("fetch", "--quiet", "--no-tags", "--force", "--", self.source.git, what)
        wanted = self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
        if not _REVISION.match(wanted):
            raise _failure(f"{self.source.ref} is not a commit", "source-git")
        return wanted

    def _verified(self, before: str, wanted: str) -> None:
        if self.source.verify is None:
            return
        allowed = f"gpg.ssh.allowedSignersFile={self.source.verify}"
        try:
            self._git("-c", allowed, "verify-commit", wanted)
        except WarpError as failure:
            text = (
                f"commit {wanted[:12]} is not signed by one of {self.source.verify}:"
                f" {failure.message}"
            )
            raise _failure(
                text, "source-unverified", "it is not applied; sign it, or mend the file of signers"
            ) from None
        if before and not self._descends(before, wanted):
            text = (
                f"commit {wanted[:12]} does not come after {before[:12]}, which is applied:"
                " somebody may replay an old one"
            )
            raise _failure(text, "source-older", f"if it is meant, remove {self.folder}")

    def _descends(self, before: str, wanted: str) -> bool:
        try:
            self._git("merge-base", "--is-ancestor", before, wanted)
        except WarpError:
            return False
        return True

    def _lay_out(self, revision: str) -> None:
        files = list(self._files(revision))
        if MAIN_FILE not in {name for name, _ in files}:
            where = "" if self.source.path == "." else f" in {self.source.path}"
            raise _failure(
                f"commit {revision[:12]} has no {MAIN_FILE}{where}",
                "source-empty",
                "see source.path",
            )
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            made = Path(scratch) / "made"
            (made / FOLDER).mkdir(mode=0o700, parents=True)
            for name, blob in files:
                _write(made / name, self._blob(blob))
            target = self.folder / revision
            shutil.rmtree(target, ignore_errors=True)  # left half-made by a crash
            made.rename(target)
            link = Path(scratch) / "link"
            link.symlink_to(revision)
            link.rename(self.current)

    def _files(self, revision: str) -> Iterator[tuple[str, str]]:
        """Name, in the folder that is laid out, and blob of every file that counts."""
        top = "" if self.source.path == "." else self.source.path.strip("/") + "/"
        names = [f"{top}{name}" for name in (MAIN_FILE, LOCK_FILE, f"{FOLDER}/")]
        for line in self._git("ls-tree", "-r", "-z", "--full-tree", revision, "--", *names).split(
            "\0"
        ):
            about, _, path = line.partition("\t")
            mode, kind, blob = about.split(" ") if path else ("", "", "")
            name = path.removeprefix(top)
            in_folder = (
                name.startswith(f"{FOLDER}/") and name.count("/") == 1 and name.endswith(".yaml")
            )
            if (
                kind == "blob"
                and mode in ("100644", "100755")
                and (name in (MAIN_FILE, LOCK_FILE) or in_folder)
            ):
                yield name, blob

    def _blob(self, blob: str) -> bytes:
        return _run(self._repository, "cat-file", "blob", blob)

    def _tidy(self, keep: set[str]) -> None:
        for path in self.folder.iterdir():
            if _REVISION.match(path.name) and path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)

    def _git(self, *words: str) -> str:
        return _git(self._repository, *words)


def _write(file: Path, content: bytes) -> None:
    """On the disk before the link that makes it count is there."""
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _git(repository: Path | None, *words: str) -> str:
    return _run(repository, *words).decode(errors="replace")


def _run(repository: Path | None, *words: str) -> bytes:
    """Raises: WarpError with git's own words."""
    where = ("--git-dir", str(repository)) if repository is not None else ()
    environment = {"HOME": "/root", **os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    try:
        job = subprocess.Popen(
            ("git", *_SAFE, *where, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as failure:
        raise _failure(
            f"git cannot be run: {failure.strerror}", "source-git", "apt install git"
        ) from None
    try:
        out, said = job.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)  # with ssh and the helpers that git has started
        job.communicate()
        raise _failure(f"git {words[0]} took over {TIMEOUT_S:.0f} s", "source-git") from None
    if job.returncode:
        text = " ".join(said.decode(errors="replace").split())[:SAID_MAX]
        raise _failure(
            f"git: {text or f'it ended with {job.returncode} and said nothing'}", "source-git"
        )
    return out


def _failure(
    message: str, code: str, hint: str = "what was applied before stays; it is tried again"
) -> WarpError:
    return WarpError(message, code=code, who="operator", hint=hint)
