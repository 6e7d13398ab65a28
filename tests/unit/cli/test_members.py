"""Members of a group, who are not root: what they may edit, and what they are told."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from warpd.allocation.model import Allocations
from warpd.cli import asking
from warpd.errors import WarpError
from warpd.service import edits
from warpd.service.doctor import examine
from warpd.service.edits import Edit
from warpd.service.workspace import Workspace, require_root
from warpd.store.state_folder import Store

UID, GROUP, OTHER = 61010, 61001, 61002
TEXT = """\
version: 1
networks:
  web: {type: secure-internet, expected_users: 6, endpoints: {a: {type: mobile}}}
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def as_member(work: Callable[[], str], *groups: int) -> str:
    """What a function returns in a child of another user, who is in these groups."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups(groups)
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)
        try:
            answer = work()
        except WarpError as failure:
            answer = f"refused: {failure}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return answer


@pytest.fixture
def config() -> Iterator[Path]:
    """`warp.yaml` of root and the group, in a folder in which the group may write."""
    folder = Path(tempfile.mkdtemp(prefix="warpd-members-"))
    Store(folder / "state").write_allocations(Allocations())
    path = folder / "warp.yaml"
    path.write_text(TEXT)
    path.chmod(0o664)
    folder.chmod(0o775)
    os.chown(folder, 0, GROUP)
    os.chown(path, 0, GROUP)
    yield path
    shutil.rmtree(folder)


def added(config: Path) -> str:
    """Add an endpoint, as `warpctl endpoint add`; returns the warnings."""
    workspace = Workspace(config, config.parent / "state")
    edit = Edit("add_endpoint", "web", "b", {"type": "mobile"})
    [draft] = edits.edited(edits.opened(workspace), edit).drafts.values()
    edits.checked(workspace, draft, asking.readable_allocations(workspace))
    return "\n".join(finding.message for finding in edits.write(draft))


@needs_root
def test_a_member_of_the_files_group_edits_it_and_is_told_whose_it_is_now(config: Path) -> None:
    told = as_member(lambda: added(config), GROUP)
    assert told == f"it belongs to uid {UID} now (it was uid 0's)"
    seen = config.stat()
    assert (seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)) == (UID, GROUP, 0o664)
    assert "b: {type: mobile}" in config.read_text()
    assert not [name for name in os.listdir(config.parent) if name.startswith(".")]


@needs_root
def test_no_other_group_gets_the_rights_of_one_that_cannot_be_kept(config: Path) -> None:
    os.chown(config, 0, OTHER)
    told = as_member(lambda: added(config), GROUP)
    assert f"its group (gid {OTHER}) has no rights any more" in told
    seen = config.stat()
    assert (seen.st_gid, stat.S_IMODE(seen.st_mode)) == (UID, 0o604)


@needs_root
def test_root_keeps_owner_group_and_mode(config: Path) -> None:
    os.chown(config, UID, OTHER)
    assert added(config) == ""
    seen = config.stat()
    assert (seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)) == (UID, OTHER, 0o664)


def checks() -> str:
    found = examine(None, Allocations(), lambda _host, _devices: ())
    return "\n".join(f"{item.state} {item.name}: {item.text}; {item.hint}" for item in found)


@needs_root
def test_doctor_does_not_blame_the_kernel_for_a_users_rights() -> None:
    text = as_member(checks)
    assert "warn rights: not root, and warpd does not answer; root may look; for members" in text
    assert "fail kernel: not looked at: " in text and "needs netlink" not in text
    assert text.count("warpd-read and warpd") == 2


@needs_root
def test_a_refusal_names_the_groups_or_says_that_none_permits_it(config: Path) -> None:
    state = config.parent / "state"

    def read() -> str:
        return str(Workspace(config, state).store.read_allocations())

    told = as_member(read)
    assert "Permission denied" in told and "members of the groups warpd-read and warpd" in told

    def only_root() -> str:
        require_root("destroy")
        return ""

    assert "no group permits it" in as_member(only_root, GROUP)
