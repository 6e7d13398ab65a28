"""What a shell offers at TAB: the program behind the completion files of the package.

It runs at each TAB, so that it loads neither the commands nor the models: what there is to offer is
in a table that the build makes of the commands (`.ci/reference/completions.py`), and the names are
read from the YAML's events, as far as it can be parsed. The names in large files are kept in the
user's cache until the files change.

    complete NUMBER WORD...        the words of a command line, and which of them is completed
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

# In the table: what an option or an argument takes. A list is of the words that it may be.
NETWORKS: Final = "networks"
ENDPOINTS: Final = "endpoints"
NUMBERS: Final = "numbers"  # of the history

MAIN_FILE: Final = "warp.yaml"
FOLDER: Final = "networks.d"
CONFIG: Final = "/etc/warpd/warp.yaml"
STATE: Final = "/var/lib/warpd"
CACHED_BYTES: Final = 64 * 1024  # smaller files are read in a moment

SOURCE: Final = "source"  # the key of a YAML that is pulled
_DOCUMENT: Final = ("stream", "document", "its mapping")  # what encloses the keys of a document
_ENDPOINTS_DEPTH: Final = 3  # networks, NAME, endpoints

Node = Mapping[str, Any]  # a command: help, options, arguments, more, commands
Offer = tuple[str, str]  # a word, and what it is


class Line:
    """A command line up to the word that is completed.

    - `command`: the command that the words lead to; None where they lead nowhere.
    - `waiting`: what the option in front of that word takes; None where it takes nothing.
    - `given`: how many arguments the command has.
    - `values`: of the options that have one, by name.
    """

    def __init__(self, table: Node, words: Sequence[str]) -> None:
        self._root = table
        self.command: Node | None = table
        self.waiting: Any = None
        self.given = 0
        self.values: dict[str, str] = {}
        self._option = ""
        self._is_over = False  # `--` was there: what follows are arguments
        for word in words:
            self._take(word)

    def options(self) -> dict[str, Any]:
        """Those of the command, and the global ones, which may stand behind it too."""
        return {**self._root["options"], **(self.command or {}).get("options", {})}

    def _take(self, word: str) -> None:
        if self.waiting is not None:
            self.values[self._option], self.waiting = word, None
        elif word == "--":
            self._is_over = True
        elif word.startswith("-") and not self._is_over:
            self._take_option(word)
        elif self.command is not None and self.command["commands"]:
            self.command = self.command["commands"].get(word)
        else:
            self.given += 1

    def _take_option(self, word: str) -> None:
        name, equals, value = word.partition("=")
        known = self.options()
        if word[:2] in known and not word.startswith("--") and word[2:]:  # as -cFILE
            name, equals, value = word[:2], "=", word[2:]
        takes = known.get(name, {}).get("takes")
        if equals:
            self.values[name] = value
        elif takes is not None:
            self._option, self.waiting = name, takes

    @property
    def config(self) -> str:
        """The YAML that the line or the environment names."""
        named = self.values.get("-c") or self.values.get("--config")
        return named or os.environ.get("WARPD_CONFIG") or CONFIG

    @property
    def state(self) -> str:
        """The state folder that the line or the environment names."""
        return self.values.get("--state-dir") or os.environ.get("WARPD_STATE_DIR") or STATE


def offers(table: Node, words: Sequence[str], begun: str) -> Iterator[Offer]:
    """Return what may stand in the place of a word that is begun.

    Args:
        table: what the build has made of the commands.
        words: those in front of it, without the program's name.
        begun: the word as far as it is written; it may be an option and its value (`--format=g`).
    """
    found = _offers(Line(table, words), begun)
    return ((word, text) for word, text in found if word.startswith(begun))


def _offers(line: Line, begun: str) -> Iterator[Offer]:
    name, equals, value = begun.partition("=")
    takes = line.options().get(name, {}).get("takes") if equals else None
    if takes is not None:
        yield from ((f"{name}={word}", text) for word, text in _values(line, takes, value))
    elif line.waiting is not None:
        yield from _values(line, line.waiting, begun)
    elif begun.startswith("-"):
        yield from ((option, about["help"]) for option, about in line.options().items())
    else:
        yield from _of_command(line, begun)


def _of_command(line: Line, begun: str) -> Iterator[Offer]:
    """Yield commands, or what the next argument may be."""
    command = line.command
    if command is None:
        return
    for name, node in command["commands"].items():
        yield name, node["help"]
    arguments = command["arguments"]
    if not command["commands"] and arguments and (line.given < len(arguments) or command["more"]):
        yield from _values(line, arguments[min(line.given, len(arguments) - 1)], begun)


def _values(line: Line, takes: Any, begun: str) -> Iterator[Offer]:
    """Yield what an option or an argument may be; the shell knows files better."""
    words = takes if isinstance(takes, list) else _FROM_FILES.get(takes, _nothing)(line, begun)
    yield from dict.fromkeys(words, "").items()


def _nothing(_line: Line, _begun: str) -> Iterable[str]:
    return ()


def _networks(line: Line, _begun: str) -> Iterable[str]:
    return itertools.filterfalse(_is_endpoint, all_names(line.config, line.state))


def _endpoints(line: Line, begun: str) -> Iterable[str]:
    """The networks first, and the endpoints of one once it is written."""
    if _is_endpoint(begun):
        return filter(_is_endpoint, all_names(line.config, line.state))
    return map("{}/".format, _networks(line, begun))


def _is_endpoint(name: str) -> bool:
    return "/" in name


def _numbers(line: Line, _begun: str) -> Iterable[str]:
    return map(str, numbers(line.state))


_FROM_FILES: Final = {NETWORKS: _networks, ENDPOINTS: _endpoints, NUMBERS: _numbers}


# -- names


def all_names(config: str, state: str) -> list[str]:
    """Return every NETWORK and NETWORK/NAME of the YAML, sorted; of what cannot be read, none."""
    files = _files(config)
    if sum(map(_size, files)) < CACHED_BYTES:
        return _read_names(files, state)
    kept = _kept_at(files)
    with contextlib.suppress(OSError), open(kept, encoding="utf-8") as stream:
        return stream.read().splitlines()
    names = _read_names(files, state)
    _keep(kept, names)
    return names


def _read_names(files: Sequence[str], state: str) -> list[str]:
    found = set().union(*map(_names_in, files))
    if SOURCE in found:  # the YAML is pulled from elsewhere, and laid out in the state folder
        pulled = glob.glob(os.path.join(glob.escape(state), "source", "*", "current"))
        found = set().union(*map(_names_in, _files(min(pulled, default=state))))
    return sorted(found - {SOURCE})


def _files(config: str) -> list[str]:
    """Return the files of a configuration: the main one, and those of the folder beside it."""
    main = os.path.join(config, MAIN_FILE) if os.path.isdir(config) else config
    beside = glob.glob(os.path.join(glob.escape(os.path.dirname(main)), FOLDER, "*.yaml"))
    return [main, *sorted(beside)]


def _names_in(file: str) -> list[str]:
    """Return the names in one file, up to where it cannot be parsed; SOURCE where it has that."""
    yaml = importlib.import_module("yaml")  # here: commands and options are completed without
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    names: list[str] = []
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError), open(file, "rb") as stream:
        names.extend(_from_events(yaml.parse(stream, Loader=loader)))
    return names


class _Keys:
    """Follow the events of a YAML document; know under which keys the present one stands."""

    def __init__(self) -> None:
        self.path: list[str | None] = []  # the key of each open mapping or list
        self._in_mapping: list[bool] = []
        self._key: str | None = None  # whose value comes next; None where a key comes next

    def read(self, event: Any) -> str | None:
        """Return the key that this event is; None for anything else."""
        kind = type(event).__name__
        if kind.endswith("StartEvent"):
            self.path.append(self._key)
            self._in_mapping.append(kind == "MappingStartEvent")
            self._key = None
        elif kind.endswith("EndEvent"):
            self.path.pop()
            self._in_mapping.pop()
            self._key = None
        elif self._in_mapping[-1]:
            self._key = None if self._key is not None else str(getattr(event, "value", ""))
            return self._key
        return None


def _from_events(events: Iterator[Any]) -> Iterator[str]:
    """Yield the names among the keys of a document."""
    keys = _Keys()
    for event in events:
        key = keys.read(event)
        if key is not None:
            yield from _name(tuple(keys.path), key)


def _name(path: tuple[str | None, ...], key: str) -> Iterator[str]:
    """Yield the name that a key is; the path begins with the stream and the document."""
    above = path[len(_DOCUMENT) :]
    if (above, key) == ((), SOURCE) or above == ("networks",):
        yield key
    elif above[::2] == ("networks", "endpoints") and len(above) == _ENDPOINTS_DEPTH:
        yield f"{above[1]}/{key}"


def numbers(state: str) -> list[int]:
    """Return the numbers of the history, the latest first; none for who may not read it."""
    files = glob.glob(os.path.join(glob.escape(state), "history", "[0-9]*.json"))
    return sorted(map(_number, files), reverse=True)


def _number(file: str) -> int:
    return int(os.path.basename(file).partition(".")[0])


# -- the cache


def _size(file: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(file).st_size
    return 0


def _kept_at(files: Sequence[str]) -> str:
    """Return where the names of these files are kept, as they are now; "" for nowhere.

    Only in a folder of the user's own: somebody else could put a link there.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(home, "warpctl")
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if os.lstat(folder).st_uid == os.geteuid():
            stamps = repr([*map(os.path.abspath, files), *map(_stamp, files)])
            # Not for secrecy: a name for these files as they are.
            return os.path.join(folder, hashlib.sha256(stamps.encode()).hexdigest()[:32])
    return ""


def _stamp(file: str) -> tuple[int, int, int]:
    seen = os.stat(file)
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _keep(path: str, names: Sequence[str]) -> None:
    """Keep the names, where there is a place for them; what was kept before goes."""
    if not path:
        return
    beside = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        for former in os.scandir(os.path.dirname(path)):
            os.unlink(former)
        with open(beside, "x", encoding="utf-8") as stream:
            print(*names, sep="\n", file=stream)
        os.rename(beside, path)


# -- the program


def of_bash(words: Sequence[str], number: int) -> tuple[list[str], str, str]:
    """Return the words in front, the one that is begun, and what the shell has cut off in front of
    that: bash takes `--format=g` for three words, and replaces the last.
    """
    before, (begun, *_behind) = list(words[:number]), (*words[number:], "")
    if begun == "=" and before:
        option = f"{before.pop()}="
        return before, option, option
    if len(before) > 1 and before[-1] == "=":
        option = f"{before[-2]}="
        return before[:-2], option + begun, option
    return before, begun, ""


def main() -> None:
    """Print what may stand there, a line each, with a tab before what it is."""
    with open(
        os.path.join(os.path.dirname(__file__), "completion.json"), encoding="utf-8"
    ) as stream:
        table = json.load(stream)
    words, number = sys.argv[2:], int(sys.argv[1])
    before, begun, cut = of_bash(words, number)
    for word, text in offers(table, before[1:], begun):
        print(f"{word[len(cut) :]}\t{text}")


if __name__ == "__main__":
    main()
