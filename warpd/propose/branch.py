"""A patch as a branch of a remote repository.

The clone in the state folder is only a cache: what is pushed is the target branch as it is now, and
the patch on top of it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from warpd.errors import Busy, WarpError
from warpd.intent.git_command import GitCommand
from warpd.propose.settings import HINT, RemoteSettings
from warpd.service.unit_settings import credential
from warpd.store.file_lock import take

FETCHED: Final = "refs/warpd/target"
OUTPUT_MAX: Final = 2000  # characters of what the server says that are handed on
TIMEOUT_S: Final = 40.0  # of one command of git; a push takes three to five
PATIENCE_S: Final = 40.0
TITLE_MAX: Final = 200
KEY, KNOWN_HOSTS, TOKEN = "key", "known_hosts", "token"  # files beside settings.yaml
# Files are laid out as they are in the repository: no filter, no other line ends, no links.
_PLAIN: Final = (
    "-c",
    "core.autocrlf=false",
    "-c",
    "core.symlinks=false",
    "-c",
    "core.attributesFile=/dev/null",
    "-c",
    "commit.gpgSign=false",
    "-c",
    "submodule.recurse=false",
)
_NAME: Final = re.compile(r"[0-9a-z]{4,64}")
_WEB_ADDRESS: Final = re.compile(r"https?://[^\s\x00-\x1f<>\"']{3,500}")
_REMOTE: Final = "remote:"


@dataclass(frozen=True, slots=True)
class Proposed:
    """A branch that was pushed.

    - `branch`: its name; where the forge keeps none, that of the request.
    - `url`: of the merge request, or of the page that makes one; "" where the server names none.
    - `server_output`: what the server wrote.
    """

    branch: str
    url: str
    server_output: str


@dataclass(frozen=True, slots=True)
class UnitFolders:
    """The folders of this machine: credentials (read), and the clone (written)."""

    credentials: Path
    state: Path

    def credential(self, name: str) -> Path:
        """A file of the credentials, whether it is there or not."""
        return credential(self.credentials, "propose", name)


def push(
    settings: RemoteSettings, folders: UnitFolders, name: str, title: str, patch: bytes
) -> Proposed:
    """Push the patch as a branch called by the prefix of the settings and `name`.

    The same change proposed again replaces its branch.

    Raises:
        WarpError: git failed: the server cannot be reached or refuses, or the patch does not fit
            the target branch any more.
    """
    if not _NAME.fullmatch(name):
        raise WarpError(f"{name[:70]!r} is no name of a change", code="bad-request", who="operator")
    clone = folders.state / "clone"
    folders.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folders.state / "lock").open("w") as lock:
        if not take(lock.fileno(), PATIENCE_S):
            raise Busy("another change is being pushed", hint="try again in a moment")
        git = GitCommand(_PLAIN, _environment(settings, folders), "push", HINT, TIMEOUT_S)
        _check_out(git, settings, clone)
        _commit(git, settings, clone, patch)
        words, branch = _refspec(settings, name, title)
        git_output = git.run("push", *words, folder=clone)
    server_output = "\n".join(_remote_lines(git_output.errors))[:OUTPUT_MAX]
    found = _WEB_ADDRESS.search(server_output)
    return Proposed(branch, found[0] if found else "", server_output)


def _check_out(git: GitCommand, settings: RemoteSettings, clone: Path) -> None:
    """Lay out the target branch as the server has it now.

    Raises:
        WarpError: the server cannot be reached, or has no such branch.
    """
    if not (clone / ".git" / "HEAD").exists():
        git.run("init", "--quiet", str(clone))
    refs = f"+refs/heads/{settings.target}:{FETCHED}"
    words = ("--quiet", "--no-tags", "--no-recurse-submodules", "--", settings.repository, refs)
    git.run("fetch", *words, folder=clone)
    if (clone / ".git" / "rebase-apply").exists():  # a patch that did not fit
        git.run("am", "--quit", folder=clone)
    git.run("checkout", "--quiet", "--force", "--detach", FETCHED, folder=clone)


def _commit(git: GitCommand, settings: RemoteSettings, clone: Path, patch: bytes) -> None:
    try:
        git.run("am", "--quiet", "--3way", "--keep-cr", "--no-scissors", given=patch, folder=clone)
    except WarpError as failure:
        text = f"the change does not fit {settings.target} any more: {failure.message}"
        hint = "make the change again; what is merged meanwhile has to be pulled first"
        raise WarpError(text, code="push", who="operator", hint=hint) from None


def _refspec(settings: RemoteSettings, name: str, title: str) -> tuple[list[str], str]:
    """Words for `git push`, and the name of the branch.

    Sources: GitLab's documentation, "Push options for merge requests"; Gitea's and Forgejo's,
    "AGit workflow": `refs/for/TARGET` with the options `topic`, `title` and `force-push`.
    """
    branch = settings.prefix + name
    options: Mapping[str, str] = {}
    target = f"refs/heads/{branch}"
    title = " ".join(title.split())[:TITLE_MAX]
    if settings.forge == "gitlab":
        options = {
            "merge_request.create": "",
            "merge_request.target": settings.target,
            "merge_request.title": title,
            "merge_request.remove_source_branch": "",
        }
    elif settings.forge == "gitea":
        target = f"refs/for/{settings.target}"
        options = {"topic": branch, "title": title, "force-push": "true"}
    words = [word for key, value in options.items() for word in ("-o", _option(key, value))]
    return [*words, "--force", "--", settings.repository, f"HEAD:{target}"], branch


def _option(key: str, value: str) -> str:
    return f"{key}={value}" if value else key


def _environment(settings: RemoteSettings, folders: UnitFolders) -> dict[str, str]:
    """What git is told by its environment (git(1), "Environment Variables").

    Nothing of this machine's git configuration counts, and only our key opens the server.
    """
    made = {
        "HOME": str(folders.state),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_COMMITTER_NAME": settings.committer_name,
        "GIT_COMMITTER_EMAIL": settings.committer_email,
        "GIT_SSH_COMMAND": shlex.join(_ssh(folders)),
    }
    token = folders.credential(TOKEN)
    if token.exists():
        # The helper prints what git asks for; the token is in no command line.
        command = (
            f"!f() {{ echo username=warpd; echo password=$(cat {shlex.quote(str(token))}); }}; f"
        )
        made |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "credential.helper",
            "GIT_CONFIG_VALUE_0": command,
        }
    return made


def _ssh(folders: UnitFolders) -> Iterator[str]:
    yield from ("ssh", "-F", "none", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes")
    key, hosts = folders.credential(KEY), folders.credential(KNOWN_HOSTS)
    if key.exists():
        yield from ("-i", str(key), "-oIdentitiesOnly=yes")
    if hosts.exists():
        yield f"-oUserKnownHostsFile={hosts}"


def _remote_lines(errors: str) -> Iterator[str]:
    """What the server's hooks have said, without what is no text."""
    for line in errors.splitlines():
        if line.startswith(_REMOTE):
            yield "".join(char for char in line.removeprefix(_REMOTE) if char.isprintable()).strip()
