"""The files that make the intent: told when something happens near them, and read only when nobody
is writing them.

Folders are watched, never files: editors rename, git unlinks and creates, mounts of containers swap
symlinks. Every folder that holds the file, or a symlink on the way to it, counts. What a trigger
means is not decided here: `mark` says whether the files are still the same, `being_written` whether
to wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from warpd.intent.loader import FOLDER, MAIN_FILE

NETNS_FOLDER: Final = "/run/netns"
WRITING_MAX_S: Final = (
    10.0  # a file that is held open, and that nobody has written to for so long, is read as it is
)
_LOOKED = frozenset({"opened", "closed_no_write"})  # what our own reading causes
_SYMLINKS_MAX: Final = 40
# watchdog holds a rename back for half a second, to tell of both its halves as one; to us each says
# enough. Where it says so: since version 7, and before.
_HELD_BACK: Final = (
    ("inotify_move_event_grouper", "InotifyMoveEventGrouper"),
    ("inotify_buffer", "InotifyBuffer"),
)

Mark = tuple[tuple[str, int, int, int, int, int], ...]


def files_of(config: Path) -> list[Path]:
    """The main file, and those beside it, by name."""
    main = config / MAIN_FILE if config.is_dir() else config
    with contextlib.suppress(OSError):
        return [
            main,
            *sorted(path for path in (main.parent / FOLDER).iterdir() if path.suffix == ".yaml"),
        ]
    return [main]


def mark(paths: Iterable[Path]) -> Mark:
    """Equal when the files are the same: same places, inodes, sizes and times."""
    out = []
    for path in paths:
        try:
            seen = path.stat()
            out.append(
                (
                    str(path),
                    seen.st_dev,
                    seen.st_ino,
                    seen.st_size,
                    seen.st_mtime_ns,
                    seen.st_ctime_ns,
                )
            )
        except OSError as failure:
            out.append((str(path), -1, failure.errno or 0, 0, 0, 0))
    return tuple(out)


def being_written(paths: Iterable[Path], now_s: float) -> bool:
    """Whether somebody has one of these files open for writing, or git is at work on their folder.

    The kernel knows: it grants a read lease only on a file that nobody has open for writing
    (fcntl(2)). File systems without leases (NFS) say nothing. `now_s` is seconds since the epoch.
    """
    return any(_is_open(path, now_s) for path in paths) or any(
        _git_at_work(path, now_s) for path in list(paths)[:1]
    )


def _is_open(path: Path, now_s: float) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if now_s - os.fstat(fd).st_mtime > WRITING_MAX_S:
            return False
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as failure:
        return failure.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False


def _git_at_work(path: Path, now_s: float) -> bool:
    """git holds index.lock while it writes a work tree; one that is left over from a crash is old."""
    for folder in path.resolve().parents:
        with contextlib.suppress(OSError):
            if (folder / ".git").exists():
                return now_s - (folder / ".git" / "index.lock").stat().st_mtime < WRITING_MAX_S
    return False


def folders_of(path: Path) -> frozenset[str]:
    """Every folder in which a change could make `path` mean another file."""
    return frozenset(_folders(Path(os.path.abspath(path))))


def _folders(path: Path, left: int = _SYMLINKS_MAX) -> Iterator[str]:
    """The folder of the path, and of each symlink on the way."""
    here = Path(path.anchor)
    for part in path.parts[1:]:
        step = here / part
        if left and step.is_symlink():
            yield str(here)
            rest = path.parts[len(step.parts) :]
            yield from _folders(
                Path(os.path.normpath(here / os.readlink(step) / Path(*rest))), left - 1
            )
            return
        here = step
    yield str(path.parent)


class Watcher:
    """Tells of changes near the files, and of network namespaces that come and go."""

    def __init__(self, config: Path, files: Callable[[], None], rooms: Callable[[], None]) -> None:
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # what a lease that somebody breaks sends
        self._config = config
        for module, name in _HELD_BACK:
            with contextlib.suppress(
                ImportError
            ):  # elsewhere in yet another version: `scheduler` looks again by the clock
                getattr(importlib.import_module(f"watchdog.observers.{module}"), name).delay = 0.0
        self._observer = Observer()
        self._files, self._rooms = _Told(files), _Told(rooms)
        self._watched: dict[str, tuple[Any, tuple[int, int]]] = {}

    def start(self) -> None:
        self._observer.start()
        self.follow()

    def stop(self) -> None:
        self._observer.stop()
        self._observer.join()

    def follow(self) -> None:
        """Watch what there is to watch now: called again after each look, as folders come, go and
        are replaced.
        """
        main = files_of(self._config)[0]
        folders = {
            *folders_of(main),
            *folders_of(main.parent / FOLDER / "any.yaml"),
            str(main.absolute().parent.parent),
        }
        wanted = dict.fromkeys(folders, self._files)
        wanted[NETNS_FOLDER] = self._rooms
        alive = {emitter.watch for emitter in self._observer.emitters if emitter.is_alive()}
        lost = [
            folder
            for folder, (watch, seen) in self._watched.items()
            if folder not in wanted
            or seen != _identity(folder)
            or watch not in alive  # its thread ends with the folder
        ]
        for folder in lost:
            watch, _ = self._watched.pop(folder)
            with contextlib.suppress(KeyError, OSError):
                self._observer.unschedule(watch)
        for folder in wanted.keys() - self._watched.keys():
            identity = _identity(folder)
            if identity != (0, 0):
                with contextlib.suppress(
                    OSError
                ):  # gone again, or no more inotify watches: the periodic look remains
                    self._watched[folder] = (
                        self._observer.schedule(wanted[folder], folder),
                        identity,
                    )


class _Told(FileSystemEventHandler):
    """Called on watchdog's thread."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in _LOOKED:
            self._tell()


def _identity(folder: str) -> tuple[int, int]:
    try:
        seen = os.stat(folder)
        return seen.st_dev, seen.st_ino
    except OSError:
        return 0, 0
