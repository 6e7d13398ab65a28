"""The state folder: allocations, the master secret, config versions, and the lock of whoever
writes.

Lives here: files and nothing else. A file is replaced whole (written beside, synced, renamed,
folder synced), so a crash at any byte leaves the old one or the new one; only the logs of exports
and events are appended to. Reading creates nothing. An absent file is an empty answer (absent
allocations come from the history), a broken one is an error and never taken for an empty one. What
the kernel holds is never written here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

from warpd.allocation import state_json
from warpd.allocation.model import Allocations
from warpd.errors import Busy, WarpError
from warpd.keys import derivation
from warpd.keys.derivation import KEY_BYTES, Secret
from warpd.store import export_log, file_lock
from warpd.store.atomic_file import put, sync_folder, write_synced

ALLOCATIONS: Final = "allocations.json"
ALLOCATIONS_BEFORE: Final = "grants.json"  # their former name: read, and replaced by the next write
VERSIONS: Final = "configs.json"
MASTER: Final = "master.key"
MASKED: Final = "configs"
HISTORY: Final = "history"  # what was applied, a document each
IN_FORCE: Final = "in-force.json"  # which of them is
LOCK: Final = "lock"
DAEMON_LOCK: Final = "daemon.lock"
CREDENTIAL: Final = "warpd.master"
FORMAT: Final = 1
_KEY_FILE_MAX: Final = 4096  # bytes; more than any way to write 32 of them


class VersionedConfig(Protocol):
    """A client config, as far as the store needs to know."""

    @property
    def network(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def first_names(self) -> tuple[str, str] | None: ...
    def digest(self) -> str: ...
    def masked(self) -> Mapping[str, Any]: ...
    def numbered(self, version: int) -> Self: ...


Stamp = tuple[
    int, int, int, int
]  # inode, bytes, and times: another one when a file was written anew

Config = TypeVar("Config", bound=VersionedConfig)
Parsed = TypeVar("Parsed")


def identity(config: VersionedConfig) -> tuple[str, str]:
    """The names that an endpoint's versions go by: those it had first, so that a new name takes its
    history along.
    """
    return config.first_names or (config.network, config.endpoint)


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """One distinct config of one endpoint: a number from 1, and the day it was first seen."""

    version: int
    date: str
    digest: str
    exported: bool


@dataclass(frozen=True, slots=True)
class Versions:
    """Every config version on record, by `NETWORK/NAME`, oldest first."""

    configs: Mapping[str, tuple[ConfigVersion, ...]]

    def of(self, network: str, endpoint: str, digest: str = "") -> dict[str, Any]:
        """For `status` and `show`.

        If `digest` is given, the config with this digest is described, even if it is not on record.
        """
        rows = self.configs.get(f"{network}/{endpoint}", ())
        last = (
            next((row for row in reversed(rows) if row.digest == digest), None)
            if digest
            else (rows[-1:] or (None,))[0]
        )
        number = last.version if last else len(rows) + 1
        return {"config_version": number, "config_exported": last is not None and last.exported}


class MasterUnusable(WarpError):
    """The master secret is not where it should be, is none, or others can read it."""

    who = "operator"


class Store:
    """One state folder.

    Methods that write are called inside `writer` or `writer_if_possible`.
    """

    def __init__(self, state_dir: Path) -> None:
        self.folder = Path(state_dir)
        self._writer = state_json.Writer()
        self._allocations: tuple[Stamp | None, Allocations] | None = None  # as last read or written
        self._locked_in: os.stat_result | None = None  # the folder in which the lock is held
        self._made = False  # whether the folder was there, or was made here
        self._daemon_lock_fd: int | None = None  # descriptor of the daemon's lock

    # allocations

    def read_allocations(self) -> Allocations:
        """The allocations; where their file is lost, those of what was applied last.

        The same object as before while the file is unchanged.

        Raises:
            WarpError: they cannot be read.
        """
        for name in (ALLOCATIONS, ALLOCATIONS_BEFORE):
            stamp = self.stamp(name)
            if stamp is not None:
                return self._allocations_in(name, stamp, state_json.from_json)
        return self._allocations_on_record()

    def _allocations_in(
        self, name: str, stamp: Stamp, parse: Callable[[str], Allocations]
    ) -> Allocations:
        """Those in this document, read again only when its stamp is another one."""
        if self._allocations is not None and self._allocations[0] == stamp:
            return self._allocations[1]
        text = self._read(name)
        if text is None:
            return Allocations({})
        self._allocations = stamp, self._parse(name, text, parse)
        return self._allocations[1]

    def _allocations_on_record(self) -> Allocations:
        pointer = self._read(IN_FORCE)
        number = (
            self._parse(IN_FORCE, pointer, lambda text: int(json.loads(text)["number"]))
            if pointer is not None
            else 0
        )
        name = record_name(number)
        stamp = self.stamp(name) if number else None
        if stamp is None:
            return Allocations({})
        return self._allocations_in(name, stamp, _record_allocations)

    def write_allocations(self, allocations: Allocations) -> None:
        """Replace the file, where it does not hold these already; one of the former name goes.

        Raises:
            WarpError: the folder takes no writes.
        """
        is_written = (
            self._allocations is not None
            and self._allocations[1] is allocations
            and self._allocations[0] == self.stamp(ALLOCATIONS)
        )
        if not is_written:
            self._write(ALLOCATIONS, self.allocations_text(allocations))
            self._allocations = self.stamp(ALLOCATIONS), allocations
        if self.stamp(ALLOCATIONS_BEFORE) is not None:
            self.remove_file(ALLOCATIONS_BEFORE)

    def allocations_text(self, allocations: Allocations) -> str:
        return self._writer.text(allocations)

    # the master secret

    def master_key(self, create: bool, path: Path | None = None) -> Secret | None:
        """The master secret: from `path` if given, a systemd credential, or the folder; None when
        there is none yet.

        Raises:
            WarpError: it is unreadable, malformed or readable by others; or `path` is given and not
            there.
        """
        if path is not None:
            found = _read_key(path, shared=stat.S_IRWXO)
            if found is None:
                hint = (
                    "mount it, or drop `gateway.master_key_file` to use the one in the state folder"
                )
                raise MasterUnusable(f"{path}: no such file", code="master-missing", hint=hint)
            return found
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if credentials:
            found = _read_key(Path(credentials) / CREDENTIAL, shared=stat.S_IRWXO)
            if found is not None:
                return found
        own = _read_key(self.folder / MASTER, shared=stat.S_IRWXO | stat.S_IRWXG)
        return self._make_master() if own is None and create else own

    def _make_master(self) -> Secret | None:
        """Never replaces one that another process made meanwhile: link() fails where rename() would
        not.
        """
        target = self.folder / MASTER
        beside = self.folder / f".{MASTER}.{os.getpid()}"
        with _translate_oserror(target):
            self._make_folder()
            write_synced(beside, secrets.token_bytes(KEY_BYTES))
            try:
                with contextlib.suppress(FileExistsError):
                    os.link(beside, target)
            finally:
                os.unlink(beside)
            sync_folder(self.folder)
        return _read_key(target, shared=stat.S_IRWXO | stat.S_IRWXG)

    # config versions

    def versions(self) -> Versions:
        """Raises: WarpError when they cannot be read."""
        text = self._read(VERSIONS)
        return Versions({}) if text is None else self._parse(VERSIONS, text, _versions_from_json)

    def versioned(
        self, config: Config, formatter: Callable[[Config], str], exported: bool = True
    ) -> tuple[Config, str]:
        """The config with its number, and its text; a config not seen before gets the next number,
        dated today.
        """
        versions = self.versions()
        name, digest = "/".join(identity(config)), config.digest()
        rows = versions.configs.get(name, ())
        row = next((row for row in rows if row.digest == digest), None)
        if row is None:
            row = ConfigVersion(
                len(rows) + 1, datetime.now(UTC).date().isoformat(), digest, exported
            )
            rows = (*rows, row)
        elif exported and not row.exported:
            new = dataclasses.replace(row, exported=True)
            at = rows.index(row)
            rows = (*rows[:at], new, *rows[at + 1 :])
        numbered = config.numbered(row.version)
        text = formatter(numbered)
        self._keep_masked(config, row.version)
        self._write(VERSIONS, _versions_to_json({**versions.configs, name: rows}))
        return numbered, text

    def history(self, network: str, endpoint: str) -> list[dict[str, Any]]:
        rows = self.versions().configs.get(f"{network}/{endpoint}", ())
        name = f"{network}/{endpoint}"
        exports = [row for row in export_log.rows(self.export_log_text()) if row.known_as == name]
        return [
            {
                "version": row.version,
                "date": row.date,
                "exported": row.exported,
                "exports": [
                    {"time": each.time, "user": each.user, "format": each.style}
                    for each in exports
                    if each.version == row.version
                ],
            }
            for row in rows
        ]

    def masked(self, network: str, endpoint: str, version: int) -> Mapping[str, Any]:
        """What a version said, secrets as fingerprints.

        Raises:
            WarpError: there is no such version on record, or its values were not kept.
        """
        kept = self._masked(network, endpoint)
        if str(version) not in kept:
            text = f"version {version} of {network}/{endpoint} is not on record"
            hint = f"versions on record: {', '.join(kept) or 'none'}"
            raise WarpError(text, code="version-unknown", who="operator", hint=hint)
        return kept[str(version)]

    def _masked(self, network: str, endpoint: str) -> dict[str, Mapping[str, Any]]:
        text = self._read(_masked_file(network, endpoint))
        return (
            {}
            if text is None
            else self._parse(_masked_file(network, endpoint), text, _masked_from_json)
        )

    def _keep_masked(self, config: VersionedConfig, version: int) -> None:
        """A file an endpoint: the list of versions, which every look reads, stays small."""
        kept = {**self._masked(*identity(config)), str(version): config.masked()}
        text = json.dumps({"version": FORMAT, "configs": kept})
        self._write(_masked_file(*identity(config)), text + "\n")

    def log_export(
        self, config: VersionedConfig, version: int, style: str, user: str, reason: str = ""
    ) -> str:
        """Write down who took which version, when, in which format and why.

        Returns:
            The chain of the log of exports up to this one.

        Raises:
            WarpError: it cannot be written down.
        """
        time = datetime.now(UTC).isoformat(timespec="seconds")
        names: dict[str, Any] = {
            "network": config.network,
            "endpoint": config.endpoint,
            "version": version,
        }
        if config.first_names is not None:
            names["known_as"] = "/".join(config.first_names)
        if reason:
            names["reason"] = reason
        path = self.folder / export_log.FILE
        with _translate_oserror(path):
            self._make_folder()
            return export_log.append(path, {"time": time, "user": user, **names, "format": style})

    def export_log_text(self) -> str:
        """The log of exports, for `export_log`. Raises: WarpError when it cannot be read."""
        return self._read(export_log.FILE) or ""

    def delivered(self) -> dict[str, str]:
        """By `NETWORK/NAME` (first names), the digest of the config that was exported last: what
        the device has.
        """
        configs = self.versions().configs
        out = {name: row.digest for name, rows in configs.items() for row in rows if row.exported}
        for export in export_log.rows(self.export_log_text()):
            name, version = export.known_as, export.version
            row = next((row for row in configs.get(name, ()) if row.version == version), None)
            if row is not None:
                out[name] = row.digest
        return out

    # the lock

    @contextlib.contextmanager
    def writer(self, command: str, patience_s: float = 0.0) -> Iterator[None]:
        """Be the only writer of this folder.

        The kernel's lock counts, the file's text only tells who it is.

        Raises:
            Busy: another process is, and still was after `patience_s` seconds.
            WarpError: the folder takes no writes.
        """
        with self.writer_if_possible(command, patience_s) as obstacle:
            if obstacle is not None:
                raise _refused(command, obstacle)
            yield

    @contextlib.contextmanager
    def writer_if_possible(
        self, command: str, patience_s: float = 0.0, make: bool = True
    ) -> Iterator[WarpError | None]:
        """As `writer`, for whoever takes access away or restores a guard: a folder that takes no
        writes stops neither.

        Yields why the folder takes no writes, None while none is known. The lock is held all the
        same where its file can be read (flock(2) asks for no right to write); without its file, two
        processes could be at work, each of which only takes away. With `make` false a folder that
        is gone is not made anew.

        Raises:
            Busy: another process is the writer, and still was after `patience_s` seconds.
        """
        path = self.folder / LOCK
        self._locked_in = None
        fd, obstacle = self._open_lock(path, make)
        if fd is None:
            yield obstacle
            return
        try:
            try:
                _flock(fd, path, patience_s)
            except WarpError as failure:
                if isinstance(failure, Busy):
                    raise
                obstacle = obstacle or failure
            _sign(path, fd, command)
            try:
                yield obstacle
            finally:
                _sign(path, fd, None)
        finally:
            self._locked_in = None
            os.close(fd)

    def announce_daemon(self) -> None:
        """Hold a lock until this process ends, which shows that a daemon uses this folder.

        A failure is ignored.

        The descriptor is open for reading alone: one that is open for writing would keep the disk
        from being mounted read-only.
        """
        path, fd = self.folder / DAEMON_LOCK, self._daemon_lock_fd
        if fd is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return
            # The file was removed: an open one without a name keeps its disk writable, too.
            os.close(fd)
            self._daemon_lock_fd = None
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self._daemon_lock_fd = fd
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def has_daemon(self) -> bool:
        """Whether a daemon says that it is at work here."""
        try:
            fd = os.open(self.folder / DAEMON_LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(fd)
        return False

    def _open_lock(self, path: Path, make: bool) -> tuple[int | None, WarpError | None]:
        """The open lock file, None where there is none and none can be made; and why the folder
        takes no writes.

        It is open for reading, which is all that flock(2) asks for: see `announce_daemon`.
        """
        obstacle: WarpError | None = None
        try:
            with _translate_oserror(path):
                self._made, self._locked_in = not make, None
                self._make_folder()
                self._locked_in = self.folder.stat()
                self._close_folder()
                os.close(
                    os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                )
        except WarpError as failure:
            obstacle = _takes_no_writes(self.folder, failure)
        try:
            with _translate_oserror(path):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), obstacle
        except WarpError as failure:
            return None, obstacle or failure

    def obstacle(self) -> str:
        """What is known to keep anybody from writing here, without a write: "gone", "read-only",
        "full", or "".
        """
        try:
            seen = os.statvfs(self.folder)
        except OSError:
            return "gone"
        if seen.f_flag & os.ST_RDONLY:
            return "read-only"
        return "full" if not seen.f_bfree or (seen.f_files and not seen.f_ffree) else ""

    # documents that others give a shape (history, what waits for a confirmation)

    def document(self, name: str) -> str | None:
        """Raises: WarpError when it cannot be read."""
        return self._read(name)

    def documents(self, folder: str) -> list[str]:
        """Names of what `keep` wrote there, sorted."""
        path = self.folder / folder
        with _translate_oserror(path), contextlib.suppress(FileNotFoundError):
            return sorted(
                f"{folder}/{name}" for name in os.listdir(path) if not name.startswith(".")
            )
        return []

    def stamp(self, name: str) -> Stamp | None:
        """Another one when the document was written anew; None when it is not there."""
        path = self.folder / name
        with _translate_oserror(path), contextlib.suppress(FileNotFoundError):
            seen = path.stat()
            return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
        return None

    def write_file(self, name: str, text: str) -> None:
        self._write(name, text)

    def replace_file(self, name: str, text: str) -> None:
        """As `write_file`, whatever stands there now."""
        path = self.folder / name
        with _translate_oserror(path):
            self._make_folder()
            put(path, text.encode())

    def rename_file(self, name: str, to: str) -> None:
        """Give a document another name, whatever stands in it."""
        path = self.folder / name
        with _translate_oserror(path):
            os.rename(path, self.folder / to)
            sync_folder(self.folder)

    def remove_file(self, name: str) -> None:
        path = self.folder / name
        with _translate_oserror(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            sync_folder(path.parent)

    # files

    def _make_folder(self) -> None:
        """Make the folder once.

        If it disappears during a write, somebody else will put it back: a new one would be in the
        way.

        Raises:
            OSError: another one has its name since the lock was taken.
        """
        if not self._made:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._made = True
        if self._locked_in is not None and not os.path.samestat(
            self._locked_in, self.folder.stat()
        ):
            raise FileNotFoundError(
                errno.ENOENT, "was replaced while it was written to", str(self.folder)
            )

    def _close_folder(self) -> None:
        """A folder that was made by hand, or unpacked from a backup, may be open to others."""
        mode = stat.S_IMODE(self.folder.stat().st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            self.folder.chmod(mode & stat.S_IRWXU)

    def _read(self, name: str) -> str | None:
        path = self.folder / name
        with _translate_oserror(path):
            try:
                return path.read_text(encoding="utf-8")
            except FileNotFoundError:
                return None
            except UnicodeDecodeError:
                raise _broken(path, "not UTF-8") from None

    def _parse(self, name: str, text: str, parse: Callable[[str], Parsed]) -> Parsed:
        try:
            return parse(text)
        except ValueError as failure:
            raise _broken(self.folder / name, str(failure)) from None

    def _write(self, name: str, text: str) -> None:
        """Replace a file; the same text again writes nothing."""
        if self._read(name) == text:
            return
        path = self.folder / name
        with _translate_oserror(path):
            self._make_folder()
            if path.parent != self.folder:
                path.parent.mkdir(mode=0o700, exist_ok=True)
            put(path, text.encode())


def _flock(fd: int, path: Path, patience_s: float) -> None:
    """Raises: Busy, and who is at work; WarpError where there are no locks."""
    try:
        is_taken = file_lock.take(fd, patience_s)
    except OSError as failure:
        raise WarpError(
            f"{path}: {failure.strerror}", code="state-unwritable", who="operator"
        ) from failure
    if not is_taken:
        hint = "wait until it has finished, then try again"
        raise Busy(_owner(os.pread(fd, 4096, 0)), hint=hint)


def _sign(path: Path, locked: int, command: str | None) -> None:
    """Say who holds the lock; None: nobody.

    Only for people: where nothing can be written, the lock holds without it.
    """
    since = datetime.now(UTC).isoformat(timespec="seconds")
    text = (
        json.dumps({"pid": os.getpid(), "command": command, "since": since})
        if command is not None
        else ""
    )
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.path.samestat(os.fstat(fd), os.fstat(locked)):
                os.ftruncate(fd, 0)
                os.pwrite(fd, text.encode(), 0)
        finally:
            os.close(fd)


def _owner(text: bytes) -> str:
    try:
        owner = json.loads(text)
        return f"{owner['command']} (process {owner['pid']}) is at work since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "another warpd or warpctl is at work"


@contextlib.contextmanager
def _translate_oserror(path: Path) -> Iterator[None]:
    """An errno of the file system, as an error that names the file."""
    try:
        yield
    except OSError as failure:
        hint = (
            "root may read and write it; members of the groups warpd-read and warpd do what"
            " warpctl asks warpd (status, plan, apply), or name another folder with --state-dir"
            if failure.errno == errno.EACCES
            else ""
        )
        raise WarpError(
            f"{failure.filename or path}: {failure.strerror}",
            code="state-unusable",
            who="operator",
            hint=hint,
        ) from failure


def _refused(command: str, why: WarpError) -> WarpError:
    """Say that a command has done nothing, because it could not have written it down."""
    text = f"{command} did nothing, because it has to write down what it does: {why.message}"
    return WarpError(text, code=why.code, who=why.who, hint=why.hint)


def _takes_no_writes(folder: Path, why: WarpError) -> WarpError:
    """Name the folder that takes no writes, rather than the file of the lock in it."""
    cause = why.__cause__
    reason = cause.strerror if isinstance(cause, OSError) else why.message
    hint = why.hint or f"make {folder} writable: mounted, not read-only, with free space"
    return WarpError(
        f"the state folder {folder} takes no writes: {reason}",
        code=why.code,
        who=why.who,
        hint=hint,
    )


def _broken(path: Path, why: str) -> WarpError:
    hint = "restore it from a backup"
    if path.name == ALLOCATIONS:
        hint += ", or remove it: the history tells the allocations of what was applied last"
    return WarpError(f"{path} is damaged: {why}", code="state-broken", who="operator", hint=hint)


def _read_key(path: Path, shared: int) -> Secret | None:
    """32 bytes, raw or in base64; None when there is no such file.

    `shared`: mode bits that must not be set.
    """
    with _translate_oserror(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            mode = os.fstat(fd).st_mode
            raw = file.read(_KEY_FILE_MAX) if stat.S_ISREG(mode) else b""
    if stat.S_ISREG(mode) and mode & shared:
        raise MasterUnusable(
            f"{path}: others can read it", code="master-shared", hint=f"chmod 600 {path}"
        )
    key = raw if len(raw) == KEY_BYTES else _from_base64(raw)
    if key is None or key == bytes(KEY_BYTES):
        hint = "32 bytes, raw or in base64: head -c 32 /dev/urandom"
        raise MasterUnusable(f"{path} holds no master secret", code="master-malformed", hint=hint)
    return Secret(key)


def _from_base64(raw: bytes) -> bytes | None:
    try:
        return derivation.decode(raw.decode("ascii").strip())
    except ValueError:
        return None


def record_name(number: int) -> str:
    """The document of one entry in the history."""
    return f"{HISTORY}/{number:06}.json"


def allocations_of_record(record: Mapping[str, Any]) -> Allocations:
    """The allocations of an entry in the history, which version 1 of it called `grants`.

    Raises:
        KeyError, TypeError, ValueError: it has none.
    """
    name = "grants" if record["version"] == 1 else "allocations"
    return state_json.from_json(record[name])


def _record_allocations(text: str) -> Allocations:
    """Raises: ValueError when this is no entry of the history."""
    try:
        return allocations_of_record(json.loads(text))
    except (KeyError, TypeError, RecursionError) as failure:
        raise ValueError(f"unexpected shape: {failure!r}") from None


def _versions_to_json(configs: Mapping[str, tuple[ConfigVersion, ...]]) -> str:
    rows = {
        name: [dataclasses.astuple(version) for version in versions]
        for name, versions in configs.items()
    }
    return json.dumps({"version": FORMAT, "configs": rows}, sort_keys=True, indent=None) + "\n"


def _masked_file(network: str, endpoint: str) -> str:
    """Names hold neither dots nor slashes."""
    return f"{MASKED}/{network}.{endpoint}.json"


def _masked_from_json(text: str) -> dict[str, Mapping[str, Any]]:
    try:
        configs: dict[str, Mapping[str, Any]] = json.loads(text)["configs"]
        return dict(configs)
    except (KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise ValueError(f"unexpected shape: {failure!r}") from None


def _config_versions(rows: Iterable[Sequence[Any]]) -> tuple[ConfigVersion, ...]:
    return tuple(ConfigVersion(*row) for row in rows)


def _versions_from_json(text: str) -> Versions:
    try:
        document = json.loads(text)
        if document["version"] != FORMAT:
            raise ValueError(f"version {document['version']}, this warpd reads {FORMAT}")
        configs = document["configs"].items()
        return Versions({name: _config_versions(rows) for name, rows in configs})
    except (KeyError, TypeError, AttributeError, RecursionError) as failure:
        raise ValueError(f"unexpected shape: {failure!r}") from None
