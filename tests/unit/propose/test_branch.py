"""Proposed changes as branches: pushed by real git to a repository with the hooks of a forge."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.git import ENVIRONMENT, git
from warpd.propose.branch import UnitFolders
from warpd.propose.main import answer_to
from warpd.propose.settings import read_remote
from warpd.service.edits import Draft
from warpd.service.patch import patch_of

YAML = "version: 1\r\nnetworks: {}   # none yet\r\n"
HOOK = """\
#!/bin/sh
cat >"$GIT_DIR/pushed"
i=0
while [ "$i" -lt "${GIT_PUSH_OPTION_COUNT:-0}" ]; do
  eval "printf '%s\\n' \\"\\$GIT_PUSH_OPTION_$i\\"" >>"$GIT_DIR/options"
  i=$((i + 1))
done
echo "To create a merge request, visit:" >&2
echo "  https://git.example.com/net/gateway/-/merge_requests/7" >&2
"""


@dataclass
class Forge:
    """A bare repository with a hook, and what warpd-propose has of this machine."""

    folder: Path
    settings: str = ""

    @property
    def bare(self) -> Path:
        return self.folder / "gateway.git"

    def ask(self, request: Any) -> dict[str, Any]:
        """What `warpd-propose` answers."""
        raw = request if isinstance(request, bytes) else json.dumps(request).encode()
        return answer_to(io.BytesIO(raw + b"\n"), self._folders())

    def ask_process(self, request: dict[str, Any]) -> dict[str, Any]:
        """The same by a process, started as its unit does."""
        folders = self._folders()
        done = subprocess.run(
            (sys.executable, "-m", "warpd.propose.main"),
            env={
                **ENVIRONMENT,
                "PYTHONPATH": ":".join(sys.path),
                "CREDENTIALS_DIRECTORY": str(folders.credentials),
                "STATE_DIRECTORY": str(folders.state),
            },
            input=json.dumps(request).encode() + b"\n",
            capture_output=True,
            check=False,
            timeout=120,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == ("error" in answer)
        return answer

    def _folders(self) -> UnitFolders:
        folders = UnitFolders(self.folder / "credentials", self.folder / "state")
        folders.credentials.mkdir(exist_ok=True)
        text = f"repository: {self.bare}\ncommitter: Gateway One <gw1@example.com>\n"
        (folders.credentials / "propose_settings.yaml").write_text(text + self.settings)
        return folders

    def show(self, what: str) -> str:
        return git(self.bare, "cat-file", "blob", what)

    @property
    def options(self) -> list[str]:
        file = self.bare / "options"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    made = Forge(tmp_path)
    work = tmp_path / "work"
    git(tmp_path, "init", "-q", "-b", "main", str(work))
    (work / "site").mkdir()
    (work / "site" / "warp.yaml").write_bytes(YAML.encode())
    (work / ".gitattributes").write_text("*.yaml -text filter=none-here\n")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "as it is")
    git(work, "clone", "-q", "--bare", ".", str(made.bare))
    git(made.bare, "config", "receive.advertisePushOptions", "true")
    hook = made.bare / "hooks" / "post-receive"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    return made


def change(before: str = YAML, after: str = YAML + "gateway: {}\r\n") -> dict[str, str]:
    draft = Draft(Path("warp.yaml"), before.encode(), after.encode())
    patch = patch_of([("site/warp.yaml", draft)], "anna (web)", "Add a gateway", 1.0)
    return {"name": "0123abcd", "title": "Add a gateway", "patch": patch}


def test_a_change_becomes_a_branch_on_top_of_what_is_there_now(forge: Forge) -> None:
    answer = forge.ask_process(change())
    assert answer["branch"] == "warpd/0123abcd"
    assert answer["url"] == "https://git.example.com/net/gateway/-/merge_requests/7"
    assert forge.show("warpd/0123abcd:site/warp.yaml") == YAML + "gateway: {}\r\n"
    log = ("log", "--format=%an|%cn <%ce>|%s")
    assert git(forge.bare, *log, "main..warpd/0123abcd") == (
        "anna|Gateway One <gw1@example.com>|Add a gateway\n"
    )
    assert forge.show("main:site/warp.yaml") == YAML
    again = forge.ask(change(after=YAML + "gateway: {mtu: 1400}\r\n"))
    assert again["branch"] == "warpd/0123abcd"
    assert "1400" in forge.show("warpd/0123abcd:site/warp.yaml")


def test_gitlab_is_asked_for_a_merge_request_by_push_options(forge: Forge) -> None:
    forge.settings = "forge: gitlab\nprefix: vpn/\n"
    assert forge.ask(change())["branch"] == "vpn/0123abcd"
    assert forge.options == [
        "merge_request.create",
        "merge_request.target=main",
        "merge_request.title=Add a gateway",
        "merge_request.remove_source_branch",
    ]


def test_gitea_is_asked_for_a_pull_request_by_agit(forge: Forge) -> None:
    forge.settings = "forge: gitea\n"
    assert forge.ask(change())["branch"] == "warpd/0123abcd"
    assert forge.options == ["topic=warpd/0123abcd", "title=Add a gateway", "force-push=true"]
    assert (forge.bare / "pushed").read_text().split()[2] == "refs/for/main"


def test_a_change_that_does_not_fit_is_refused_and_the_next_one_goes(forge: Forge) -> None:
    old = change("version: 1\r\nsomething: else\r\n", "version: 1\r\nsomething: new\r\n")
    answer = forge.ask_process(old)
    assert answer["code"] == "push" and "does not fit main any more" in answer["error"]
    assert "make the change again" in answer["hint"]
    assert forge.ask(change())["branch"] == "warpd/0123abcd"


def test_a_server_that_is_not_there_is_told(forge: Forge) -> None:
    forge.bare.rename(forge.folder / "moved")
    answer = forge.ask(change())
    assert answer["code"] == "push" and "gateway.git" in answer["error"]


@pytest.mark.parametrize(
    "name", ["../../etc", "-x", "a b", "UPPER", "", "x" * 65, "head~1", "a/b", "a.lock"]
)
def test_a_name_is_never_an_option_or_another_branch(forge: Forge, name: str) -> None:
    assert forge.ask({**change(), "name": name})["code"] == "bad-request"
    assert not (forge.bare / "pushed").exists()


@pytest.mark.parametrize("request_", [b"", b"[]", b"{}", b"\xff", b'{"name": 1}'])
def test_what_is_no_request_is_refused(forge: Forge, request_: bytes) -> None:
    assert forge.ask(request_)["code"] == "bad-request"


@pytest.mark.parametrize(
    "settings",
    [
        "forge: github\n",
        "prefix: ../\n",
        "committer: nobody\n",
        "token: secret\n",
        "repository: https://u:pw@example.com/x\n",
    ],
)
def test_wrong_settings_are_named_and_no_value_is_shown(forge: Forge, settings: str) -> None:
    forge.settings = settings
    answer = forge.ask(change())
    assert "settings.yaml" in answer["error"] and settings.split(":")[0] in answer["error"]
    assert "pw@" not in answer["error"]


def test_the_example_is_sound() -> None:
    folder = Path(__file__).parents[3] / "examples" / "propose"
    assert read_remote(folder / "settings.yaml").forge == "gitlab"


def test_the_token_of_a_server_is_in_no_command_line_and_no_config(forge: Forge) -> None:
    (forge.folder / "credentials").mkdir()
    (forge.folder / "credentials" / "propose_token").write_text("s3cret-t0ken\n")
    assert forge.ask(change())["branch"]
    kept = b"".join(
        path.read_bytes() for path in (forge.folder / "state").rglob("*") if path.is_file()
    )
    assert b"s3cret-t0ken" not in kept
