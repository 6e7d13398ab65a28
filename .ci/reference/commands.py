"""The commands of warpctl as data, read from the program itself: for man pages and completion."""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.main import get_command

import warpd.cli
from warpd.cli import complete, names
from warpd.cli.app import app

KINDS = {
    names.network_names: complete.NETWORKS,
    names.endpoint_names: complete.ENDPOINTS,
    names.numbers: complete.NUMBERS,
}


@dataclass(frozen=True)
class Option:
    """An option: its names, how its value is called ("" for a switch), help, and what it takes."""

    names: tuple[str, ...]
    metavar: str
    help: str
    takes: Any


@dataclass(frozen=True)
class Argument:
    metavar: str
    help: str
    takes: Any
    repeats: bool
    required: bool


@dataclass(frozen=True)
class Command:
    """A command or a group of them; `words` is what leads to it, without the program."""

    words: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    commands: tuple[Command, ...]


def warpctl() -> Command:
    """All of warpctl, with every module of commands loaded."""
    for module in pkgutil.iter_modules(warpd.cli.__path__):
        importlib.import_module(f"warpd.cli.{module.name}")
    return _command(get_command(app), ())


def _command(found: Any, words: tuple[str, ...]) -> Command:
    options, arguments = [], []
    for parameter in found.params:
        is_ours = not {"--install-completion", "--show-completion"} & set(parameter.opts)
        if parameter.param_type_name != "option":
            arguments.append(_argument(parameter))
        elif is_ours and not parameter.hidden:
            options.append(_option(parameter))
    options.append(Option(("-h", "--help"), "", "show this help", None))
    more = getattr(found, "commands", {})
    commands = tuple(
        _command(more[name], (*words, name)) for name in sorted(more) if not more[name].hidden
    )
    text = inspect.cleandoc(found.help or "")
    return Command(words, text, tuple(options), tuple(arguments), commands)


def _option(parameter: Any) -> Option:
    spelled = (*parameter.opts, *parameter.secondary_opts)
    text = " ".join((parameter.help or "").split())
    if parameter.is_flag or parameter.count:
        return Option(spelled, "", text, None)
    return Option(spelled, _metavar(parameter), text, _takes(parameter))


def _argument(parameter: Any) -> Argument:
    name = (parameter.metavar or parameter.name.upper()).removesuffix("...")
    text = " ".join((parameter.help or "").split())
    repeats = parameter.nargs == -1
    return Argument(name, text, _takes(parameter), repeats, parameter.required)


def _metavar(parameter: Any) -> str:
    """What stands for the value of an option."""
    kind = parameter.type_descriptor.annotation
    if parameter.metavar:
        return str(parameter.metavar)
    if _choices(parameter):
        return "|".join(_choices(parameter))
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def _choices(parameter: Any) -> list[str]:
    kind = parameter.type_descriptor.annotation
    is_enum = isinstance(kind, type) and issubclass(kind, enum.Enum)
    return [str(choice.value) for choice in kind] if is_enum else []


def _takes(parameter: Any) -> Any:
    """What completion offers for a value: a kind, the words themselves, or "" for nothing."""
    function = parameter.type_descriptor.parameter_info.autocompletion
    if function is None:
        return _choices(parameter) or ""
    return KINDS[function] if function in KINDS else list(function(""))
