"""The entry point of `warpd-oidc`: one request on stdin, one answer on stdout.

systemd starts it for each connection to its socket (`warpd-oidc@.service`). Both are a line of
JSON: `{"code", "code_verifier", "redirect_uri"}`, and `{"claims"}` or `{"error"}`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

from warpd import __version__
from warpd.errors import WarpError
from warpd.oidc.exchange import claims_by_code
from warpd.service.oidc import DEFAULT_OIDC, SETTINGS, read_provider
from warpd.service.unit_settings import credential

REQUEST_MAX: Final = 64 * 1024  # bytes
FIELDS: Final = frozenset({"code", "code_verifier", "redirect_uri"})
SECRET: Final = "client_secret"  # noqa: S105  # the name of a file


def main() -> None:
    """Answer one request; exit code 1 where it was not fulfilled."""
    answer = answer_to(sys.stdin.buffer, Path(parser().parse_args().credentials))
    sys.stdout.write(json.dumps(answer) + "\n")
    if "error" in answer:
        print(f"error: {answer['error']}", file=sys.stderr)
        sys.exit(1)


def answer_to(stream: BinaryIO, folder: Path) -> dict[str, Any]:
    """Read the request up to the end of its line, and ask the provider."""
    try:
        fields = _fields(stream.readline(REQUEST_MAX))
        settings = read_provider(credential(folder, "oidc", SETTINGS))
        return {"claims": claims_by_code(settings, fields, _secret(folder))}
    except WarpError as failure:
        return {"error": failure.message}
    except ImportError:
        return {"error": "the package joserfc is missing: pip install 'warpd[oidc]'"}


def _fields(raw: bytes) -> dict[str, str]:
    """Raises: WarpError for what is no request."""
    try:
        found = json.loads(raw)
    except ValueError:
        found = None
    is_request = isinstance(found, dict) and found.keys() == FIELDS
    if not is_request or not all(isinstance(value, str) for value in found.values()):
        raise WarpError("this is no request", code="bad-request", who="operator")
    return dict(found)


def _secret(folder: Path) -> str:
    """Of this client; "" where there is none. Raises: WarpError."""
    try:
        return credential(folder, "oidc", SECRET).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as failure:
        raise WarpError(f"{SECRET}: {failure}", code="oidc", who="operator") from None


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="warpd-oidc",
        description="Exchange a code of the provider for a verified id token: JSON on stdin.",
        epilog=f"{DEFAULT_OIDC} holds {SETTINGS}, and {SECRET} where the provider asks for one.",
        allow_abbrev=False,
    )
    given = os.environ.get("CREDENTIALS_DIRECTORY") or str(DEFAULT_OIDC)
    text = f"the folder of these files (default: {DEFAULT_OIDC})"
    made.add_argument("--credentials", default=given, help=text)
    made.add_argument("--version", action="version", version=f"warpd-oidc {__version__}")
    return made


if __name__ == "__main__":
    main()
