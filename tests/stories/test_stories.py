"""Play the stories of this folder: each is one scenario that a newcomer reads from top to bottom.

A story is text with three kinds of line between the prose:

    -- warp.yaml --     the lines below, up to the next empty line that a command or another file
                        follows, are written to this file
    $ COMMAND           something happens; the lines below, up to an empty line, are what is shown
    anything else       prose

The commands:

    plan                what `warpctl plan` shows
    apply               what `warpctl apply --yes` does: how many steps, and what is left
    objects KIND        the objects of a kind in the kernel, by key
    lose KIND TEXT      another program deletes the first object of that kind whose key holds TEXT
    foreign KIND NAME   another program makes an object in the root where ours would be
    validate            what is wrong with the YAML

The kernel is the one of `warpd.testing`; the master secret and the day are the same in every run.
`WARPD_WRITE_STORIES=1 pytest tests/stories` writes down what is shown now: read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import world
from warpd.errors import InvalidIntent, render_headline
from warpd.kernel.state import ROOT, Key
from warpd.reconcile.engine import converge
from warpd.reconcile.incremental import planned_run, replan
from warpd.service.commitment import commit
from warpd.service.history import History
from warpd.service.views.render import Paint, plan_text
from warpd.service.views.report import described
from warpd.service.workspace import Workspace
from warpd.store.state_folder import MASTER
from warpd.testing.fake_kernel import FakeKernel

FOLDER = Path(__file__).parent
STORIES = sorted(FOLDER.glob("*.txt"))


class Machine:
    """One gateway of a story."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        state = folder / "state"
        state.mkdir(mode=0o700)
        key = state / MASTER
        key.write_bytes(world.MASTER.reveal())
        key.chmod(0o600)
        self.kernel = FakeKernel()
        self.workspace = Workspace(folder / "warp.yaml", state)

    def run(self, line: str) -> list[str]:
        """What a command shows, line by line."""
        name, *words = line.split()
        commands: dict[str, Callable[..., str]] = {
            "plan": self.plan,
            "apply": self.apply,
            "objects": self.objects,
            "lose": self.lose,
            "foreign": self.foreign,
            "validate": self.validate,
        }
        return [text.rstrip() for text in commands[name](*words).splitlines() if text.strip()]

    def plan(self) -> str:
        read = self.workspace.read()
        target = self.workspace.target(read, create=False)
        run = planned_run(self.kernel, target)
        return plan_text(described(self.workspace, target, run, read), Paint(False))

    def apply(self) -> str:
        with self.workspace.store.writer("story"):
            read = self.workspace.read()
            done = commit(History(self.workspace), read, "story", self.kernel, lambda: None)
            first = planned_run(self.kernel, done.target)
            outcome = converge(self.kernel, lambda: replan(self.kernel, done.target, first), first)
        left = planned_run(self.kernel, done.target).plan
        return f"done {len(outcome.done)}, failed {len(outcome.failed)}, left {len(left.steps)}"

    def objects(self, kind: str) -> str:
        return "\n".join(str(key) for key in sorted(self.kernel.objects) if key.kind == kind)

    def lose(self, kind: str, text: str) -> str:
        keys = [key for key in sorted(self.kernel.objects) if key.kind == kind and text in str(key)]
        del self.kernel.objects[keys[0]]
        return ""

    def foreign(self, kind: str, name: str) -> str:
        self.kernel.foreign[Key(kind, ROOT, name)] = f"{kind} {name} without our alias"
        return ""

    def validate(self) -> str:
        try:
            self.workspace.read()
        except InvalidIntent as failure:
            found = [render_headline(finding) for finding in failure.findings]
            return "\n".join(found).replace(f"{self.folder}/", "")
        return "valid"


def played(text: str, folder: Path) -> str:
    """The story with what is shown now."""
    machine = Machine(folder)
    out: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        out.append(line)
        if line.startswith("-- ") and line.endswith(" --"):
            out += _file(machine, line.strip("- "), lines)
        elif line.startswith("$ "):
            for _old in _until_empty(lines):
                pass
            out += [*machine.run(line[2:]), ""]
    return "\n".join(out).rstrip() + "\n"


def _file(machine: Machine, name: str, lines: Iterator[str]) -> list[str]:
    content = list(_until_empty(lines))
    (machine.folder / name).write_text("\n".join(content) + "\n")
    return [*content, ""]


def _until_empty(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line:
            return
        yield line


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.stem)
def test_story(story: Path, tmp_path: Path) -> None:
    text = story.read_text()
    now = played(text, tmp_path)
    if os.environ.get("WARPD_WRITE_STORIES"):
        story.write_text(now)
    assert now == text


def test_every_story_says_what_it_is_about() -> None:
    assert len(STORIES) >= 5
    for story in STORIES:
        assert story.read_text()[0].isupper(), story.name
