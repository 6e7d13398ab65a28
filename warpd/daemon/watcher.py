"""Triggers from the file system: changes near the files of the intent, and network namespaces.

Folders are watched, never files: editors rename, git unlinks and creates, mounts of containers swap
symlinks. Every folder that holds the file, or a symlink on the way to it, counts. What a trigger
means is not decided here: `fingerprint` says whether the files are still the same, and whether
somebody is writing them.

watchdog tells of a file that is moved out of a watched folder half a second late: it waits for the
other half of the rename (`InotifyMoveEventGrouper`, its issue 390). A rename inside a folder, which
is how editors, git and mounts change files, is told at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from warpd.daemon.fingerprint import intent_files
from warpd.intent.file_names import FOLDER

NETNS_FOLDER: Final = "/run/netns"
_READING = frozenset({"opened", "closed_no_write"})  # events that our own reading causes
_SYMLINKS_MAX: Final = 40


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
    """Calls `files` for changes near the files, and `namespaces` for network namespaces that come
    and go; on watchdog's thread.
    """

    def __init__(
        self, config: Path, files: Callable[[], None], namespaces: Callable[[], None]
    ) -> None:
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # what a lease that somebody breaks sends
        self._config = config
        self._observer = Observer()
        self._files, self._namespaces = Handler(files), Handler(namespaces)
        self._watched: dict[str, tuple[Any, tuple[int, int]]] = {}

    def start(self) -> None:
        self._observer.start()
        self.follow()

    def stop(self) -> None:
        self._observer.stop()
        self._observer.join()

    def follow(self) -> None:
        """Watch what there is to watch now: called again after each full observation and when
        files change, as folders come, go and are replaced.
        """
        main = intent_files(self._config)[0]
        folders = {
            *folders_of(main),
            *folders_of(main.parent / FOLDER / "any.yaml"),
            str(main.absolute().parent.parent),
        }
        wanted = dict.fromkeys(folders, self._files)
        wanted[NETNS_FOLDER] = self._namespaces
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
                ):  # gone again, or no more inotify watches: the periodic resync remains
                    self._watched[folder] = (
                        self._observer.schedule(wanted[folder], folder),
                        identity,
                    )


class Handler(FileSystemEventHandler):
    """Calls `changed` for every event but those of our own reading, on watchdog's thread."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in _READING:
            self._changed()


def _identity(folder: str) -> tuple[int, int]:
    try:
        seen = os.stat(folder)
        return seen.st_dev, seen.st_ino
    except OSError:
        return 0, 0
