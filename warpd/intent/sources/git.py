"""A git repository as the source of the YAML: fetched, verified and laid out as plain files.

The other parts of warpd read these files as they read a YAML in /etc.

    STATE/source/KEY/repo.git    what git has fetched
    STATE/source/KEY/REVISION/   warp.yaml, warp.lock.yaml and networks.d/*.yaml of an accepted
                                 commit
    STATE/source/KEY/current     symlink to the commit that counts; replaced atomically

KEY is a hash of the source's settings. So a commit of one repository is never taken for one of
another, nor a commit that was accepted without `verify` for a verified one. Only regular files of
these names are laid out: a symlink in a repository could name any file of this machine, and an
error message would show its lines.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from warpd.errors import Busy, WarpError
from warpd.intent.file_names import FOLDER, LOCK_FILE, MAIN_FILE
from warpd.intent.git_command import GitCommand, GitOutput
from warpd.intent.source import Pulled, SourceSettings
from warpd.intent.types import FilePath, Folder, GitRef, GitUrl, Interval, seconds_of

TARGET: Final = "refs/warpd/wanted"
REGULAR_MODES: Final = ("100644", "100755")  # of git's trees; 120000 is a symlink
_REVISION = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_HINT: Final = "what was applied before stays; it is tried again"


class GitSource(SourceSettings):
    """A git repository that the YAML is pulled from."""

    KEY: ClassVar[str] = "git"

    git: GitUrl = Field(
        description=(
            "The repository: https://, ssh://, git@host:path or a path here; no password in it."
        )
    )
    ref: GitRef = Field("main", description="The branch, tag or commit that is applied.")
    path: Folder = Field(".", description="The folder of the repository that holds warp.yaml.")
    interval: Interval = Field(
        "60s", description="How often the repository is fetched: a number and s, m, h or d."
    )
    verify: FilePath | None = Field(
        None,
        description=(
            "A file of allowed signers (ssh-keygen(1)): only commits that one of them signed are"
            " applied, and never an older one than before."
        ),
    )

    def open(self, state: Path) -> Checkout:
        return Checkout(self, state)


class Checkout:
    """The folders of one source on this machine."""

    def __init__(self, source: GitSource, state: Path) -> None:
        self.source = source
        self.kind, self.origin = source.KEY, source.git
        self.folder_in_origin = source.path
        self.interval_s = seconds_of(source.interval)
        settings = "\0".join((source.git, source.ref, source.path, source.verify or ""))
        self.folder = state / "source" / hashlib.sha256(settings.encode()).hexdigest()[:16]
        self.current = self.folder / "current"
        self._repository = self.folder / "repo.git"

    @property
    def revision(self) -> str:
        """The commit that is laid out; "" before the first pull.

        Raises:
            OSError: the state folder cannot be read.
        """
        try:
            return os.readlink(self.current)
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def pull(self) -> Pulled:
        """Fetch, verify and lay out the wanted commit. On a failure the previous one stays.

        Raises:
            Busy: another warpd pulls at this moment.
            WarpError: git failed (the message contains its output), the commit is not verified, or
                it contains no YAML.
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
            _run(None, "init", "--quiet", "--bare", str(self._repository))
        ref = self.source.ref
        # Not every server lets a client fetch a commit by its hash, so all branches are fetched.
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
                text, "source-unverified", "it is not applied; sign it, or fix the file of signers"
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
        """Yield the files of a commit that are laid out: the name in that folder, and the blob."""
        top = "" if self.source.path == "." else self.source.path.strip("/") + "/"
        names = [f"{top}{name}" for name in (MAIN_FILE, LOCK_FILE, f"{FOLDER}/")]
        listing = self._git("ls-tree", "-r", "-z", "--full-tree", revision, "--", *names)
        for line in listing.split("\0"):
            about, _, path = line.partition("\t")
            if not path:
                continue
            mode, kind, blob = about.split(" ")
            name = path.removeprefix(top)
            if kind == "blob" and mode in REGULAR_MODES and _is_part(name):
                yield name, blob

    def _blob(self, blob: str) -> bytes:
        return _run(self._repository, "cat-file", "blob", blob).out

    def _tidy(self, keep: set[str]) -> None:
        for path in self.folder.iterdir():
            if _REVISION.match(path.name) and path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)

    def _git(self, *words: str) -> str:
        return _run(self._repository, *words).text


def _is_part(name: str) -> bool:
    """Whether a path in the source's folder is one of a file of the configuration."""
    if name in (MAIN_FILE, LOCK_FILE):
        return True
    folder, _, file = name.partition("/")
    return folder == FOLDER and "/" not in file and file.endswith(".yaml")


def _write(file: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk: the link to it must not come first."""
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _run(repository: Path | None, *words: str) -> GitOutput:
    """Raises: WarpError: git failed."""
    options = ("--git-dir", str(repository)) if repository is not None else ()
    return GitCommand(options, code="source-git", hint=_HINT).run(*words)


def _failure(message: str, code: str, hint: str = _HINT) -> WarpError:
    return WarpError(message, code=code, who="operator", hint=hint)
