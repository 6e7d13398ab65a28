"""Every way in which people and programs change files: applied exactly once each, and what is
broken or half there never.

What a change does to the kernel is one step: the keepalive of one peer. Printed: patterns, applied,
deletions.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import world
from tests.live.daemon import Daemon
from warpd.kernel.linux.live_kernel import LiveKernel


def text(keepalive: int) -> str:
    """Two networks, so that the first half of the file is valid and lacks one."""
    networks = {"first": world.network(1), "second": world.network(1)}
    next(iter(networks["first"]["endpoints"].values()))["keepalive"] = keepalive
    rows = [f"  {name}: {json.dumps(body)}\n" for name, body in networks.items()]
    return "version: 1\nnetworks:\n" + "".join(rows)


class Site:
    """Where the file is: a plain folder, a mount of a container, a work tree of git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "warp.yaml"
        self._count = 0

    def rename(self, new: str) -> None:
        (self.folder / "beside").write_text(new)
        (self.folder / "beside").rename(self.file)

    def in_place(self, new: str) -> None:
        self.file.write_text(new)

    def truncate_then_write(self, new: str) -> None:
        """Half of it is there for a while, and is valid."""
        half = new.index("  second:")
        with self.file.open("w") as file:
            time.sleep(0.2)
            file.write(new[:half])
            file.flush()
            time.sleep(0.3)
            file.write(new[half:])

    def delete_and_come_back(self, new: str) -> None:
        self.file.unlink()
        time.sleep(0.2)
        self.file.write_text(new)

    def replace_as_nfs(self, new: str) -> None:
        """The old file keeps a name while somebody has it open."""
        old = self.folder / ".nfs0001"
        with self.file.open():
            self.file.rename(old)
            (self.folder / "incoming").write_text(new)
            (self.folder / "incoming").rename(self.file)
        old.unlink()

    def from_elsewhere(self, new: str) -> None:
        """mv from another file system: created, filled, its times set back."""
        outside = Path("/dev/shm") / f"incoming-{os.getpid()}"
        outside.write_text(new)
        shutil.move(outside, self.file)

    def sed(self, new: str) -> None:
        """An editor that works on a copy; then a look at it, and a change of mode."""
        self.rename(new)
        self.file.chmod(0o600)
        self.file.read_text()
        self.file.chmod(0o644)

    def broken_first(self, new: str) -> None:
        self.file.write_text(new.replace("type:", "typ\t:"))
        time.sleep(0.3)
        self.rename(new)

    def half_first(self, new: str) -> None:
        self.rename(new[: len(new) // 2])
        time.sleep(0.3)
        self.in_place(new)

    def symlink_swap(self, new: str) -> None:
        """As Kubernetes updates a volume: a new folder, and ..data renamed onto it."""
        self._count += 1
        folder = self.folder / f"..{self._count}"
        folder.mkdir()
        (folder / "warp.yaml").write_text(new)
        (self.folder / "..tmp").symlink_to(folder.name)
        (self.folder / "..tmp").rename(self.folder / "..data")
        if not self.file.is_symlink():
            self.file.unlink()
            self.file.symlink_to("..data/warp.yaml")

    def back_to_plain(self, new: str) -> None:
        (self.folder / "plain").write_text(new)
        (self.folder / "plain").replace(self.file)

    def checkout(self, new: str) -> None:
        """git unlinks and creates, under its lock."""
        run = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(self.folder)]
        if not (self.folder / ".git").exists():
            subprocess.run([*run, "init", "-q", "-b", "main"], check=True)
        subprocess.run([*run, "checkout", "-q", "-B", "next"], check=True, capture_output=True)
        before = self.file.read_text()
        blob = subprocess.run(
            [*run, "hash-object", "-w", "--stdin"],
            input=new,
            text=True,
            capture_output=True,
            check=True,
        )
        subprocess.run([*run, "add", "warp.yaml"], check=True)
        subprocess.run(
            [*run, "update-index", "--cacheinfo", f"100644,{blob.stdout.strip()},warp.yaml"],
            check=True,
        )
        tree = subprocess.run(
            [*run, "write-tree"], text=True, capture_output=True, check=True
        ).stdout.strip()
        commit = subprocess.run(
            [*run, "commit-tree", tree, "-m", "x"], text=True, capture_output=True, check=True
        )
        assert self.file.read_text() == before
        subprocess.run([*run, "reset", "-q", "--hard", commit.stdout.strip()], check=True)


PATTERNS: tuple[Callable[[Site, str], None], ...] = (
    Site.rename,
    Site.in_place,
    Site.truncate_then_write,
    Site.delete_and_come_back,
    Site.replace_as_nfs,
    Site.from_elsewhere,
    Site.sed,
    Site.broken_first,
    Site.half_first,
)
IN_OTHER_PLACES: tuple[Callable[[Site, str], None], ...] = (
    Site.symlink_swap,
    Site.back_to_plain,
    Site.checkout,
)


def sequence(count: int) -> Iterator[Callable[[Site, str], None]]:
    dice = random.Random(5)
    for _ in range(count):
        yield dice.choice((*PATTERNS, *PATTERNS, *IN_OTHER_PLACES))


@pytest.mark.parametrize("count", [40, pytest.param(500, marks=pytest.mark.long)])
def test_every_change_is_applied_once(
    gateway: LiveKernel, tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    site = Site(folder)
    state = tmp_path / "run"
    state.mkdir()
    with Daemon(
        folder, text(1), interval_s=600, log=state / "log", state=state / "state"
    ) as daemon:
        before = len(daemon.lines("intent applied"))
        took = []
        for number, pattern in enumerate(sequence(count)):
            pattern(site, text(2 + number % 2000))
            done = time.time()
            daemon.wait(
                lambda want=before + number + 1: len(daemon.lines("intent applied")) >= want,
                f"{number}: {pattern.__name__}",
                20,
            )
            took.append(time.time() - done)
        time.sleep(1.5)  # whatever would be applied twice
        applied = len(daemon.lines("intent applied")) - before
        deleted = len(daemon.lines("delete"))
        passes = daemon.lines("pass")[1:]
        took.sort()
        with capsys.disabled():
            print(
                f"\n  {count} changes of files: applied {applied}, passes with steps"
                f" {len(passes)},",
                end="",
            )
            print(
                f" deletions {deleted}; seconds until applied p50 {took[len(took) // 2]:.2f}, max"
                f" {took[-1]:.2f}"
            )
        assert applied == count and len(passes) == count and deleted == 0
        assert all(line["steps"] == 1 for line in passes)
        assert daemon.alive()
