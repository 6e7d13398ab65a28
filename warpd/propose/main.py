"""The entry point of `warpd-propose`: one request on stdin, one answer on stdout.

systemd starts it for each connection to its socket (`warpd-propose@.service`). Both are a line of
JSON: `{"name", "title", "patch"}`, and `{"branch", "url", "server_output"}` or `{"error", "code",
"hint"}`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from warpd import __version__
from warpd.errors import WarpError
from warpd.propose.branch import UnitFolders, push
from warpd.propose.settings import read_remote

CREDENTIALS: Final = "/etc/warpd/propose"
STATE: Final = "/var/lib/warpd-propose"
REQUEST_MAX: Final = 8 * 1024 * 1024  # bytes


class ProposeRequest(BaseModel):
    """What is asked for: a patch for `git am`, a title, and a name for the branch."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: str
    title: str
    patch: str


def main() -> None:
    """Answer one request; exit code 1 where it was not fulfilled."""
    chosen = parser().parse_args()
    folders = UnitFolders(Path(chosen.credentials), Path(chosen.state_dir))
    answer = answer_to(sys.stdin.buffer, folders)
    sys.stdout.write(json.dumps(answer) + "\n")
    if "error" in answer:
        print(f"error: {answer['error']}", file=sys.stderr)
        sys.exit(1)


def answer_to(stream: BinaryIO, folders: UnitFolders) -> dict[str, Any]:
    """Read the request up to the end of its line, and push the branch."""
    raw = stream.readline(REQUEST_MAX + 1)
    try:
        if len(raw) > REQUEST_MAX:
            raise WarpError("the change is too large", code="bad-request", who="operator")
        request = ProposeRequest.model_validate_json(raw)
        settings = read_remote(folders.credential("settings.yaml"))
        made = push(settings, folders, request.name, request.title, request.patch.encode())
    except ValidationError:
        return {"error": "this is no request", "code": "bad-request", "hint": ""}
    except WarpError as failure:
        return {"error": failure.message, "code": failure.code, "hint": failure.hint}
    return {"branch": made.branch, "url": made.url, "server_output": made.server_output}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="warpd-propose",
        description="Push a proposed change of the YAML as a branch: JSON on stdin.",
        epilog=f"{CREDENTIALS} holds settings.yaml, and key and known_hosts, or token.",
        allow_abbrev=False,
    )
    credentials = os.environ.get("CREDENTIALS_DIRECTORY") or CREDENTIALS
    state = os.environ.get("STATE_DIRECTORY") or STATE
    text = f"the folder of settings.yaml and the keys (default: {CREDENTIALS})"
    made.add_argument("--credentials", default=credentials, help=text)
    made.add_argument("--state-dir", default=state, help="where the clone is kept")
    made.add_argument("--version", action="version", version=f"warpd-propose {__version__}")
    return made


if __name__ == "__main__":
    main()
