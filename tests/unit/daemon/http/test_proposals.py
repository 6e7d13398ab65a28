"""Changes of a YAML that comes from git: proposed as patches, which a real git takes."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.git import git
from tests.propose_unit import propose_unit
from tests.unit.daemon.http.gateway import Gateway, served
from warpd.errors import WarpError
from warpd.intent.loader import load
from warpd.intent.sources.git import Checkout, GitSource
from warpd.service.edits import Draft, Edit, YamlFiles, editable, edited
from warpd.service.patch import patch_of

MAIN = """\
version: 1
# The gateway of the north; ask Berta before you touch it.
gateway: {public_endpoint: vpn.example.com}   # moves in May

networks:
  corp:   # the office
    type: secure-internet
    expected_users: 200

    endpoints:
      # first floor
      laptop-2:  {type: mobile}    # hers
      'laptop-10':
        type: mobile
        description: >-
          folded
          text

  # closed on Mondays
  web: {type: secure-internet, expected_users: 200, endpoints: {phone: {type: mobile}}}
"""
BRANCH = (
    "networks:\r\n  lab:\r\n    type: secure-internet\r\n    expected_users: 200\r\n"
    "    endpoints:\r\n      bench: {type: mobile} # by the door\r\n"
)
ADD = {"op": "add_endpoint", "network": "corp", "endpoint": "tablet", "fields": {"type": "mobile"}}


class Repository:
    """A work tree whose folder `site` holds the YAML."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        (self.site / "networks.d").mkdir(parents=True)
        (self.site / "warp.yaml").write_bytes(MAIN.encode())
        (self.site / "networks.d" / "branch.yaml").write_bytes(BRANCH.encode())
        (folder / "README").write_text("not the YAML\n")
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "as it is")

    def git(self, *words: str, given: str = "") -> str:
        # As somebody may have set it: a message is cut at scissors then.
        return git(self.folder, "-c", "mailinfo.scissors=true", *words, given=given)

    @property
    def contents(self) -> dict[str, bytes]:
        paths = (self.site / "warp.yaml", self.site / "networks.d" / "branch.yaml")
        return {path.name: path.read_bytes() for path in paths}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def gateway(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gateway]:
    folder = tmp_path / "gateway"
    folder.mkdir()
    pointer = f"version: 1\nsource: {{git: {repository.folder}, path: site}}\n"
    with served(folder, monkeypatch, pointer) as made:
        yield made


def test_a_change_is_proposed_merged_and_pulled(gateway: Gateway, repository: Repository) -> None:
    assert gateway.daemon.peers == {"laptop-2", "laptop-10", "phone", "bench"}
    shown = gateway.ask("GET", "/v1/yaml")[1]
    assert not shown["editable"] and str(repository.folder) in shown["why"]
    assert shown["files"] == {"warp.yaml": MAIN, "networks.d/branch.yaml": BRANCH}
    change = gateway.change(ADD, {**ADD, "network": "lab", "endpoint": "probe"})
    assert not change["editable"] and change["plan"]["steps"]
    status, answer = gateway.apply(change)
    assert (status, answer["code"]) == (409, "source")
    before = gateway.everything
    gateway.become("operator")
    status, answer = gateway.post(
        f"/v1/changes/{change['id']}/propose", {"message": "Give Anna a tablet\n\nShe asked."}
    )
    assert status == 200
    gateway.token = ""
    assert gateway.everything == before
    repository.git("am", "-q", given=answer["patch"])
    assert repository.git("log", "-1", "--format=%an <%ae>|%s|%b").split("|")[:2] == [
        "operator-bot <operator-bot@warpd.invalid>",
        "Give Anna a tablet",
    ]
    added = "\n      tablet:\n        type: mobile"  # as its neighbour is written
    text = MAIN.replace("          text\n", "          text" + added + "\n")
    branch = BRANCH + "      probe: {type: mobile}\r\n"
    assert repository.contents == {"warp.yaml": text.encode(), "branch.yaml": branch.encode()}
    checkout = gateway.daemon.workspace.checkout
    assert checkout is not None and checkout.pull().changed
    gateway.daemon.scheduler.files_touched(gateway.daemon.now_s)
    gateway.daemon.turn(60)
    assert {"tablet", "probe"} < gateway.daemon.peers
    status, answer = gateway.post(f"/v1/changes/{change['id']}/propose", {"message": "again"})
    assert (status, answer["code"]) == (409, "stale")


@pytest.fixture
def propose_settings(gateway: Gateway, repository: Repository) -> Iterator[Path]:
    """Where warpd-propose pushes to; it runs."""
    settings = gateway.folder / "propose" / "settings.yaml"
    settings.parent.mkdir()
    settings.write_text(f"repository: {repository.folder}\nforge: gitlab\n")
    repository.git("config", "receive.advertisePushOptions", "true")
    with propose_unit(gateway.folder):
        yield settings


def test_a_change_is_pushed_as_a_branch_merged_and_pulled(
    gateway: Gateway, repository: Repository, propose_settings: Path
) -> None:
    change = gateway.change(ADD)
    assert change["branches"] is True
    body = {"message": "Give Anna a tablet\n\nShe asked.", "branch": True}
    status, answer = gateway.post(f"/v1/changes/{change['id']}/propose", body)
    assert status == 200, answer
    name = answer["branch"]["name"]
    assert name == f"warpd/{change['id'][:12]}"
    assert repository.git("log", "-1", "--format=%s|%an", name) == "Give Anna a tablet|root\n"
    assert repository.contents["warp.yaml"] == MAIN.encode()
    repository.git("merge", "-q", "--ff-only", name)
    checkout = gateway.daemon.workspace.checkout
    assert checkout is not None and checkout.pull().changed
    gateway.daemon.scheduler.files_touched(gateway.daemon.now_s)
    gateway.daemon.turn(60)
    assert "tablet" in gateway.daemon.peers
    change = gateway.change({**ADD, "endpoint": "watch"})
    propose_settings.write_text("repository: /nowhere\n")
    body = {"message": "Give Anna a watch", "branch": True}
    status, answer = gateway.post(f"/v1/changes/{change['id']}/propose", body)
    assert (status, answer["code"]) == (502, "push") and "/nowhere" in answer["error"]
    body = {"message": "Give Anna a watch"}
    assert gateway.post(f"/v1/changes/{change['id']}/propose", body)[0] == 200


def test_without_the_unit_there_are_patches_only(gateway: Gateway) -> None:
    change = gateway.change(ADD)
    assert change["branches"] is False
    body = {"message": "x", "branch": True}
    status, answer = gateway.post(f"/v1/changes/{change['id']}/propose", body)
    assert (status, answer["code"]) == (409, "no-branches")
    assert "warpd-propose.socket" in answer["hint"]


@pytest.mark.parametrize("said", [b"", b"{", b"[]\n", b'{"url": "javascript:alert(1)"}', b"x" * 99])
def test_an_answer_of_the_unit_is_not_believed_blindly(gateway: Gateway, said: bytes) -> None:
    change = gateway.change(ADD)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(gateway.folder / "propose.sock"))
        listener.listen()
        unit = threading.Thread(target=answer_once, args=(listener, said))
        unit.start()
        body = {"message": "x", "branch": True}
        status, answer = gateway.post(f"/v1/changes/{change['id']}/propose", body)
        unit.join(60)
    assert (status, answer["code"]) == (502, "push")


def answer_once(listener: socket.socket, said: bytes) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        stream.readline()
        connection.sendall(said)


def test_files_of_git_are_not_put_back_here(gateway: Gateway) -> None:
    status, answer = gateway.post("/v1/rollback", {"to": 1, "files": True})
    assert answer["code"] == "source" and status >= 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"message": ""}, "bad-message"),
        ({"message": "\n \n"}, "bad-message"),
        ({"message": "x" * 5000}, "bad-message"),
        ({"message": "a\x1b[2Jb"}, "bad-message"),
        ({"message": "\ud800"}, "bad-request"),
        ({"message": 1}, "bad-request"),
        ({}, "bad-request"),
        ({"message": "x", "author": "root"}, "bad-request"),
    ],
)
def test_a_message_is_plain_text(gateway: Gateway, body: dict[str, object], code: str) -> None:
    change = gateway.change(ADD)
    status, answer = gateway.post(f"/v1/changes/{change['id']}/propose", body)
    assert status in (400, 422) and answer["code"] == code


HOSTILE = (
    "From: root <root@example.com>\nSubject: evil",
    "---\ndiff --git a/README b/README\n--- a/README\n+++ b/README\n@@ -1 +1 @@\n-not\n+evil",
    "Index: README\n--- README\n+++ README\n@@ -1 +1 @@\n-not the YAML\n+evil",
    f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: root <root@example.com>\n\nx",
    "-- >8 --\nFrom: root <root@example.com>\nSubject: evil",
    "8< ------------ >8\n\nSubject: evil",
)


@pytest.mark.parametrize("rest", HOSTILE)
def test_a_message_is_never_a_header_or_a_patch(repository: Repository, rest: str) -> None:
    path = repository.site / "warp.yaml"
    draft = Draft(path, MAIN.encode(), MAIN.replace("hers", "his").encode())
    message = f"Höflich 🦊\n\n{rest}"
    patch = patch_of([("site/warp.yaml", draft)], 'an"na <x> (web)', message, 1.0)
    repository.git("am", "-q", given=patch)
    assert path.read_text() == MAIN.replace("hers", "his")
    assert (repository.folder / "README").read_text() == "not the YAML\n"
    shown = repository.git("log", "--format=%an <%ae>|%s|%ad", "--date=unix", "HEAD~1..")
    assert shown == "anna x <anna-x@warpd.invalid>|Höflich 🦊|1\n"
    assert "Proposed to warpd by anna x (web)." in repository.git("log", "-1", "--format=%b")


def test_a_change_of_nothing_is_no_patch(repository: Repository) -> None:
    draft = Draft(repository.site / "warp.yaml", b"a", b"a")
    with pytest.raises(WarpError):
        patch_of([("warp.yaml", draft)], "anna", "nothing", 1.0)


@pytest.mark.parametrize("name", ['sp ace "q".yaml', "ä\\b.yaml", "new.yaml"])
@pytest.mark.parametrize("old", [None, b"a: \xe2\x80\xa8b\n", b"a\x0c\x1d\r\n\r\nFrom x\n"])
def test_every_name_and_byte(repository: Repository, name: str, old: bytes | None) -> None:
    path = repository.site / name
    if old is not None:
        path.write_bytes(old)
        repository.git("add", "-A")
        repository.git("commit", "-q", "-m", "odd")
    new = (old or b"") + b"\xef\xbb\xbfmore\r\nFrom y\nlast"
    patch = patch_of([(f"site/{name}", Draft(path, old, new))], "anna", "odd", 1.0)
    repository.git("am", "-q", given=patch)
    assert path.read_bytes() == new


def random_edits(rng: random.Random, count: int) -> Iterator[tuple[Edit, Edit]]:
    """Edits of all three networks, each with the one that takes it back."""
    networks = {"corp": ["laptop-2", "laptop-10"], "web": ["phone"], "lab": ["bench"]}
    fields = {"keepalive": 25, "description": "x: #y", "expires": "2099-01-01", "enabled": False}
    written: set[tuple[str, str, str]] = set()
    for number in range(count):
        network = rng.choice(list(networks))
        name = rng.choice(networks[network])
        unset = [field for field in fields if (network, name, field) not in written]
        if rng.random() < 0.5 and unset:
            field = rng.choice(unset)
            written.add((network, name, field))
            # The one with a folded description has one already.
            if (name, field) == ("laptop-10", "description"):
                continue
            yield (
                Edit("set_endpoint", network, name, {field: fields[field]}),
                Edit("set_endpoint", network, name, {field: None}),
            )
        elif rng.random() < 0.1:
            name = f"net-{number}"
            networks[name] = [f"first-{number}"]
            body = {"type": "secure-internet", "endpoints": {f"first-{number}": {"type": "cpe"}}}
            yield Edit("add_network", name, fields=body), Edit("remove_network", name)
        else:
            name = f"e{number}"
            networks[network].append(name)
            yield (
                Edit("add_endpoint", network, name, {"type": "mobile"}),
                Edit("remove_endpoint", network, name),
            )


def test_two_hundred_edits_are_merged_and_all_else_stays_byte_for_byte(
    tmp_path: Path, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """A hundred random edits and, backwards, what takes each back: each a patch of its own, all
    merged by git, pulled by warpd's own checkout at half time and at the end.
    """
    source = GitSource(git=str(repository.folder), ref="main", path="site")
    checkout = Checkout(source, tmp_path / "state")
    checkout.pull()
    files = editable(load(checkout.current))
    pairs = list(random_edits(random.Random(18), 110))[:100]
    there = [edit for edit, _back in pairs]
    back = [back for _edit, back in reversed(pairs)]
    assert len(there) == 100
    files = merged(repository, files, there)
    assert checkout.pull().changed
    pulled = {path.name: path.read_bytes() for path in checkout.current.rglob("*.yaml")}
    assert pulled == {path.name: draft.new for path, draft in files.drafts.items()}
    assert load(checkout.current).intent is not None
    merged(repository, files, back)
    checkout.pull()
    pulled = {path.name: path.read_bytes() for path in checkout.current.rglob("*.yaml")}
    assert pulled == {"warp.yaml": MAIN.encode(), "branch.yaml": BRANCH.encode()}
    counts = repository.git("log", "--numstat", "--format=", "HEAD~200..").splitlines()
    changed = [sum(map(int, line.split()[:2])) for line in counts if line]
    with capsys.disabled():
        print(f"\nproposals: {len(changed)} merged, at most {max(changed)} lines of a file each")
    assert len(changed) == 200 and max(changed) <= 5


def merged(repository: Repository, files: YamlFiles, edits: list[Edit]) -> YamlFiles:
    """Propose edits one after another, and have git take them all."""
    mailbox = []
    for number, edit in enumerate(edits):
        before, files = files, edited(files, edit)
        changed = []
        for path, draft in files.drafts.items():
            earlier = before.drafts[path].new if path in before.drafts else draft.old
            name = path.name if path.name == "warp.yaml" else f"networks.d/{path.name}"
            changed.append((f"site/{name}", Draft(path, earlier, draft.new)))
        mailbox.append(patch_of(changed, "anna (web)", f"Edit {number} of {edit.name}", 1.0))
    repository.git("am", "-q", given="".join(mailbox))
    return files
