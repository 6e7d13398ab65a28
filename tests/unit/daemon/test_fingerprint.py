"""Which files make the intent, whether they are the same, and when one is being written.

Real files.
"""

from __future__ import annotations

import time
from pathlib import Path

from warpd.daemon.fingerprint import WRITING_MAX_S, being_written, fingerprint, intent_files
from warpd.intent.loader import load


def test_files_of_a_folder_and_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "networks.d").mkdir()
    for name in ("b.yaml", "a.yaml", "a.yaml~", ".a.yaml.swp", ".c.yaml", "d.yml"):
        (tmp_path / "networks.d" / name).touch()
    (tmp_path / "warp.yaml").touch()
    expected = [
        tmp_path / "warp.yaml",
        tmp_path / "networks.d" / "a.yaml",
        tmp_path / "networks.d" / "b.yaml",
    ]
    assert intent_files(tmp_path) == intent_files(tmp_path / "warp.yaml") == expected
    assert [Path(source.file) for source in load(tmp_path).sources] == expected


def test_beside_a_main_file_of_another_name_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "networks.d").mkdir()
    (tmp_path / "networks.d" / "a.yaml").touch()
    main = tmp_path / "candidate.yaml"
    main.touch()
    assert intent_files(main) == [main]
    assert [Path(source.file) for source in load(main).sources] == [main]


def test_a_fingerprint_differs_when_anything_does(tmp_path: Path) -> None:
    path = tmp_path / "warp.yaml"
    seen = {fingerprint([path])}
    path.write_text("one")
    seen.add(fingerprint([path]))
    path.write_text("two")
    seen.add(fingerprint([path]))
    path.rename(tmp_path / "other")
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").rename(path)
    seen.add(fingerprint([path]))
    assert len(seen) == 4 and fingerprint([path]) in seen


def test_a_file_that_somebody_writes(tmp_path: Path) -> None:
    path = tmp_path / "warp.yaml"
    path.write_text("x")
    assert not being_written([path], time.time())
    with path.open("a"):
        assert being_written([path], time.time())
        assert not being_written([path], path.stat().st_mtime + WRITING_MAX_S + 1), (
            "held open for ever: read as it is"
        )
        assert not being_written([path], path.stat().st_mtime - 86_400), "the clock was set back"
    with path.open():
        assert not being_written([path], time.time())
    assert not being_written([tmp_path / "none"], time.time())


def test_git_at_work(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    path = tmp_path / "site" / "warp.yaml"
    path.write_text("x")
    (tmp_path / ".git").mkdir()
    assert not being_written([path], time.time())
    (tmp_path / ".git" / "index.lock").touch()
    assert being_written([path], time.time())
    assert not being_written([path], time.time() + WRITING_MAX_S + 1), "left over from a crash"
    assert not being_written([path], time.time() - 86_400), "and the clock was set back since"
