"""Branches of proposed changes: `warpd-propose` pushes them, behind a socket of its own.

The daemon never speaks to a git server for others, and has no key of one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, StringConstraints

from warpd.daemon.http.helper_socket import ask_unit
from warpd.daemon.http.messages import HttpError

DEFAULT_PROPOSE: Final = Path("/run/warpd-propose.sock")
PUSH_S: Final = 120.0
WITHOUT: Final = "the patch is there without `branch`; see journalctl -u 'warpd-propose@*'"


class _PushAnswer(BaseModel):
    """What `warpd-propose` answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    branch: str = ""
    url: Annotated[str, StringConstraints(pattern=r"^(https?://[^\s<>\"']{3,500})?$")] = ""
    server_output: str = ""
    error: str = ""
    code: str = ""
    hint: str = ""


class Branches:
    """The other end of the socket at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def can_push(self) -> bool:
        """Whether branches can be pushed on this machine."""
        return self._path.is_socket()

    async def push(self, name: str, title: str, patch: str) -> dict[str, Any]:
        """Push the patch as a branch; its name, the URL of the merge request, the server's output.

        Raises:
            HttpError: 409 where nothing pushes branches here, 502 where the push has failed.
        """
        if not self.can_push:
            hint = "enable warpd-propose.socket, or propose without `branch`, for a patch"
            raise HttpError(409, "no branches are pushed here", code="no-branches", hint=hint)
        request = {"name": name, "title": title, "patch": patch}
        try:
            answer = _PushAnswer.model_validate(await ask_unit(self._path, request, PUSH_S))
        except (OSError, TimeoutError) as failure:
            text = f"warpd-propose does not answer: {failure or 'it took too long'}"
            raise HttpError(502, text, code="push", hint=WITHOUT) from None
        except ValueError:  # also of pydantic
            raise HttpError(502, "warpd-propose has failed", code="push", hint=WITHOUT) from None
        if answer.error:
            raise HttpError(502, answer.error, code="push", hint=answer.hint or WITHOUT)
        return {"name": answer.branch, "url": answer.url, "server_output": answer.server_output}
