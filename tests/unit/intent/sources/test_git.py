"""The YAML out of a git repository: what is laid out, what is refused, with git itself and
signatures of ssh.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.git import git
from warpd.errors import Busy, InvalidIntent, WarpError
from warpd.intent.loader import load, pointer
from warpd.intent.sources.git import Checkout, GitSource
from warpd.service.workspace import Workspace

YAML = "version: 1\nnetworks: {}\n"


class Repository:
    """What the operators push to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        return git(self.folder, *words).strip()

    def commit(self, key: Path | None = None, **files: str) -> str:
        for name, text in (files or {"warp.yaml": YAML}).items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.git("add", "-A")
        signed = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}") if key else ()
        self.git(
            *signed, "commit", "--quiet", "--allow-empty", "-m", "change", *(("-S",) if key else ())
        )
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def checkout(repository: Repository, tmp_path: Path, **fields: Any) -> Checkout:
    return Checkout(GitSource(git=str(repository.folder), **fields), tmp_path / "state")


def key(tmp_path: Path, name: str) -> Path:
    subprocess.run(
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name), check=True
    )
    return tmp_path / name


def signers(tmp_path: Path, *keys: Path) -> str:
    lines = [f"ops@example.com {each.with_suffix('.pub').read_text()}" for each in keys]
    (tmp_path / "signers").write_text("".join(lines))
    return str(tmp_path / "signers")


def laid_out(done: Checkout) -> dict[str, str]:
    top = done.current
    return {
        str(file.relative_to(top)): file.read_text()
        for file in sorted(top.rglob("*"))
        if file.is_file()
    }


def test_what_counts_is_laid_out_and_nothing_else(repository: Repository, tmp_path: Path) -> None:
    others = {"networks.d/deep/b.yaml": "x", "networks.d/c.txt": "x", "README.md": "x"}
    revision = repository.commit(
        **{"warp.yaml": YAML, "networks.d/a.yaml": "networks: {}\n"}, **others
    )
    done = checkout(repository, tmp_path)
    assert done.revision == ""
    pulled = done.pull()
    assert (pulled.revision, pulled.changed, done.revision) == (revision, True, revision)
    assert laid_out(done) == {"warp.yaml": YAML, "networks.d/a.yaml": "networks: {}\n"}
    assert not done.pull().changed


def test_a_new_commit_takes_the_place_of_the_old(repository: Repository, tmp_path: Path) -> None:
    done = checkout(repository, tmp_path)
    for number in range(4):
        revision = repository.commit(**{"warp.yaml": f"{YAML}# {number}\n"})
        assert done.pull().changed
        assert laid_out(done) == {"warp.yaml": f"{YAML}# {number}\n"}
    kept = [path for path in done.folder.iterdir() if len(path.name) == 40]
    assert len(kept) == 2 and done.folder / revision in kept


@pytest.mark.parametrize("ref", ["side", "v1", "v2", "COMMIT"])
def test_branch_tag_and_commit(repository: Repository, tmp_path: Path, ref: str) -> None:
    wanted = repository.commit(**{"warp.yaml": f"{YAML}# wanted\n"})
    repository.git("branch", "side")
    repository.git("tag", "v1")
    repository.git("tag", "-a", "-m", "two", "v2")
    repository.commit(**{"warp.yaml": YAML})
    done = checkout(repository, tmp_path, ref=wanted if ref == "COMMIT" else ref)
    assert done.pull().revision == wanted


def test_a_folder_of_the_repository(repository: Repository, tmp_path: Path) -> None:
    repository.commit(
        **{"sites/fra1/warp.yaml": YAML, "sites/fra1/networks.d/a.yaml": "a", "warp.yaml": "no"}
    )
    done = checkout(repository, tmp_path, path="sites/fra1")
    done.pull()
    assert laid_out(done) == {"networks.d/a.yaml": "a", "warp.yaml": YAML}


def test_symlinks_of_a_repository_are_not_followed(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("root:$6$secret")
    (repository.folder / "networks.d").mkdir()
    (repository.folder / "networks.d" / "a.yaml").symlink_to(tmp_path / "shadow")
    repository.commit()
    done = checkout(repository, tmp_path)
    done.pull()
    assert laid_out(done) == {"warp.yaml": YAML}
    (repository.folder / "warp.yaml").unlink()
    (repository.folder / "warp.yaml").symlink_to(tmp_path / "shadow")
    repository.git("add", "-A")
    repository.git("commit", "--quiet", "-m", "a trap")
    with pytest.raises(WarpError, match=r"has no warp\.yaml"):
        done.pull()
    assert laid_out(done) == {"warp.yaml": YAML}


def test_only_what_is_signed_is_laid_out(repository: Repository, tmp_path: Path) -> None:
    ours, theirs = key(tmp_path, "ours"), key(tmp_path, "theirs")
    good = repository.commit(ours)
    done = checkout(repository, tmp_path, verify=signers(tmp_path, ours))
    assert done.pull().revision == good
    for bad in (None, theirs):
        repository.commit(bad, **{"warp.yaml": f"{YAML}# evil {bad}\n"})
        with pytest.raises(WarpError, match="is not signed by") as failure:
            done.pull()
        assert failure.value.code == "source-unverified"
        assert (done.revision, laid_out(done)) == (good, {"warp.yaml": YAML})
    better = repository.commit(ours, **{"warp.yaml": f"{YAML}# better\n"})
    assert done.pull().revision == better


def test_a_signed_commit_of_before_is_not_replayed(repository: Repository, tmp_path: Path) -> None:
    ours = key(tmp_path, "ours")
    old = repository.commit(ours)
    new = repository.commit(ours, **{"warp.yaml": f"{YAML}# new\n"})
    done = checkout(repository, tmp_path, verify=signers(tmp_path, ours))
    assert done.pull().revision == new
    repository.git("reset", "--quiet", "--hard", old)
    with pytest.raises(WarpError, match="replay"):
        done.pull()
    assert done.revision == new
    plain = checkout(repository, tmp_path)
    assert plain.pull().revision == old


def test_what_one_source_gave_does_not_count_for_another(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit()
    checkout(repository, tmp_path).pull()
    assert checkout(repository, tmp_path, verify=signers(tmp_path)).revision == ""


def test_the_server_is_gone_and_comes_back(repository: Repository, tmp_path: Path) -> None:
    revision = repository.commit()
    done = checkout(repository, tmp_path)
    done.pull()
    repository.folder.rename(tmp_path / "away")
    with pytest.raises(WarpError, match="git: ") as failure:
        done.pull()
    assert failure.value.hint and done.revision == revision
    (tmp_path / "away").rename(repository.folder)
    assert done.pull().revision == revision


def test_one_pull_at_a_time(repository: Repository, tmp_path: Path) -> None:
    repository.commit()
    one, two = checkout(repository, tmp_path), checkout(repository, tmp_path)
    with one._alone(), pytest.raises(Busy):
        two.pull()
    assert two.pull().changed


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% /tmp/x",
        "--upload-pack=touch /tmp/x",
        "fd::7",
        "",
        "relative/path",
        "https://a b",
        "-x@host:path",
    ],
)
def test_urls_that_git_would_run_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="git repository"):
        GitSource(git=url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="process list") as failure:
        GitSource(git="https://ops:hunter2@git.example.com/x.git")
    assert "hunter2" not in str(failure.value)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "warp.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("version: 1\nsource: {git: /srv/x}\nnetworks: {}\n", "unknown-key", "networks"),
        ("version: 1\nsource: {git: /srv/x}\ngateway: {}\n", "unknown-key", "gateway"),
        ("version: 1\nsource: {ref: main}\n", "missing", "source.git"),
        ("version: 1\nsource: {git: /srv/x, reff: main}\n", "unknown-key", "source.reff"),
        ("version: 1\nsource: {git: /srv/x, interval: 1s}\n", "duration", "source.interval"),
        ("version: 1\nsource: {git: /srv/x, path: ../y}\n", "folder", "source.path"),
        ("version: 1\nsource: {git: /srv/x, ref: --all}\n", "git-ref", "source.ref"),
        ("version: 1\nsource: {git: /srv/x, verify: signers}\n", "file-path", "source.verify"),
        ("source: {git: /srv/x}\n", "missing", "version"),
    ],
)
def test_a_pointer_with_mistakes(tmp_path: Path, text: str, code: str, path: str) -> None:
    file = written(tmp_path, text)
    assert pointer(file) is None
    [finding] = load(file).findings
    assert (finding.code, finding.path) == (code, path)
    assert finding.where is not None and finding.where.line >= 1


def test_a_repository_cannot_point_on(repository: Repository, tmp_path: Path) -> None:
    repository.commit(**{"warp.yaml": "version: 1\nsource: {git: /srv/elsewhere}\n"})
    workspace = Workspace(
        written(tmp_path, f"version: 1\nsource: {{git: {repository.folder}}}\n"), tmp_path / "state"
    )
    assert workspace.checkout is not None
    workspace.checkout.pull()
    with pytest.raises(InvalidIntent) as failure:
        workspace.read()
    assert [finding.code for finding in failure.value.findings] == ["source-here"]


def test_a_workspace_reads_what_was_pulled_and_edits_nothing(
    repository: Repository, tmp_path: Path
) -> None:
    text = "version: 1\nnetworks:\n  a: {type: secure-internet, endpoints: {x: {type: mobile}}}\n"
    workspace = Workspace(
        written(tmp_path, f"version: 1\nsource: {{git: {repository.folder}}}\n"), tmp_path / "state"
    )
    assert workspace.checkout is not None
    with pytest.raises(InvalidIntent) as failure:
        workspace.read()
    assert [finding.code for finding in failure.value.findings] == ["source-not-pulled"]
    repository.commit(**{"warp.yaml": text})
    workspace.checkout.pull()
    assert list(workspace.read().intent.networks) == ["a"]
    with pytest.raises(WarpError, match="would be lost"):
        workspace.to_edit()
