"""Settings of the units beside the daemon: a file of YAML as a model, and files of credentials."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from warpd.errors import EXIT_INVALID, WarpError


class UnitSettings(BaseModel):
    """What settings are made of; no value, which may be a secret, is ever in a message."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


Model = TypeVar("Model", bound=UnitSettings)


Check = Callable[[Path, os.stat_result], None]


def accept(_path: Path, _seen: os.stat_result) -> None:
    """For a file that may belong to anybody: only root writes in its folder."""


def read_settings(path: Path, model: type[Model], hint: str, check: Check = accept) -> Model:
    """Read the file; `check` sees first what was opened.

    Raises:
        WarpError: it cannot be read, or is wrong; with `hint`.
    """
    # Imported here: most gateways have none of these files, and the daemon is small.
    import yaml

    try:
        with path.open("rb") as file:
            check(path, os.fstat(file.fileno()))
            return model.model_validate(yaml.safe_load(file))
    except ValidationError as failure:
        lines = (f"{_where(item['loc'])}: {item['msg']}" for item in failure.errors())
        text = "; ".join(lines)
    except yaml.YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        text = f"line {mark.line + 1}: is no YAML" if mark is not None else "is no YAML"
    except OSError as failure:
        text = str(failure.strerror)
    raise WarpError(f"{path}: {text}", who="operator", exit_code=EXIT_INVALID, hint=hint)


def credential(folder: Path, prefix: str, name: str) -> Path:
    """A file of the folder, whether it is there or not.

    systemd puts the name of a folder before those of its files (LoadCredential=, systemd.exec(5)).
    """
    ours = folder / f"{prefix}_{name}"
    return ours if ours.exists() else folder / name


def _where(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path)) or "the file"
