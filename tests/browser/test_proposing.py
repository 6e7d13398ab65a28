"""A YAML that comes from git: a change from the browser becomes a branch on a git server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import YAML, Gateway, Visit, poll, started
from tests.git import git
from tests.propose_unit import propose_unit


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands on the git server."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "warp.yaml").write_text(YAML.read_text())
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "as it is")
    return folder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gw")
    (folder / "propose").mkdir()
    (folder / "propose" / "settings.yaml").write_text(f"repository: {repository}\n")
    text = f"version: 1\nsource: {{git: {repository}, interval: 5s}}\n"
    (folder / "warp.yaml").write_text(text)
    with propose_unit(folder), started(folder) as made:
        yield made


def test_a_change_from_the_browser_is_a_branch_and_counts_once_it_is_merged(
    visit: Callable[..., Visit], gateway: Gateway, repository: Path
) -> None:
    before = (repository / "warp.yaml").read_text()
    window = visit()
    window.sign_in("operator", "olga")
    window.go("/change/endpoints?network=corp")
    window.page.fill("[name=endpoints]", "from-the-browser")
    window.press("Review")
    window.page.fill("[name=message]", "Give Olga a tablet")
    assert window.page.get_by_role("button", name="Apply").count() == 0
    window.picture("light-propose")
    window.press("Push a branch")
    window.page.wait_for_selector("h1:has-text('Proposed')")
    window.picture("light-proposed")
    branch = window.page.inner_text("main code")
    assert branch.startswith("warpd/")
    assert git(repository, "log", "-1", "--format=%an|%s", branch) == "olga|Give Olga a tablet\n"
    changed = git(repository, "diff", "--numstat", "main", branch).split()
    assert changed[1:] == ["0", "warp.yaml"] and int(changed[0]) <= 3
    assert (repository / "warp.yaml").read_text() == before
    git(repository, "merge", "-q", "--ff-only", branch)
    poll(lambda: exists(gateway, "from-the-browser"), "what was merged was not applied")
    assert window.complaints == []


def exists(gateway: Gateway, name: str) -> bool:
    rows = gateway.ask("GET", "/v1/networks/corp/endpoints")["endpoints"]
    return any(row["name"] == name for row in rows)
