"""Hand a config out: what can be asked for, and that each one handed out is written down.

A config holds the keys of a device. It is made when it is asked for and kept nowhere; what is kept
is its version, and who took it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from warpd.clients import FORMATS, ROWS, ClientFormat, qr
from warpd.clients.config import ClientConfig
from warpd.clients.current import current_config
from warpd.errors import WarpError
from warpd.intent.types import is_link_name
from warpd.kernel.state import Host
from warpd.reconcile.engine import Target
from warpd.store.state_folder import Store


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which config is exported, and for which device.

    - `network`, `endpoint`: whose config it is.
    - `style`: the name of its format.
    - `lan_port`: the port that is bridged into an L2 tunnel; None for none.
    - `drawn`: whether it is shown as a QR code.
    - `reason`: why it is handed out, in the words of who does; "" where nobody asked.
    """

    network: str
    endpoint: str
    style: str
    lan_port: str | None
    drawn: bool = False
    reason: str = ""

    def text(self, config: ClientConfig) -> str:
        """Return a config in this format.

        Raises:
            WarpError: the format cannot express it, or it is too long for a QR code.
        """
        text = FORMATS[self.style].text(config)
        if self.drawn:
            qr.refuse(config, text)
        return text


def refuse(request: ExportRequest, out: Path | None) -> None:
    """Refuse what cannot be made, before a config is recorded as exported.

    Raises:
        WarpError: the format, the file or the port is not possible.
    """
    _refuse_format(request, out)
    if request.lan_port is not None and not _is_port(request.lan_port):
        text = f"{request.lan_port!r} is no name for a port"
        raise WarpError(
            text,
            code="lan-port",
            who="operator",
            hint="1 to 15 letters, digits, dots, dashes or underscores",
        )


def _refuse_format(request: ExportRequest, out: Path | None) -> None:
    """Refuse a format that there is not, or that cannot be written so.

    Raises:
        WarpError: the format is unknown, is one file for a folder, or no app reads its QR code.
    """
    form = FORMATS.get(request.style)
    if form is None:
        raise WarpError(
            f"there is no format {request.style}",
            who="operator",
            hint=f"formats: {', '.join(FORMATS)}",
        )
    if out is not None and out.is_dir() and not form.in_files:
        raise WarpError(
            f"{out} is a folder",
            who="operator",
            hint=f"name a file; several files have: {_names(row for row in ROWS if row.in_files)}",
        )
    if request.drawn and not form.qr:
        text = f"no app reads a QR code of the format {request.style}"
        raise WarpError(
            text,
            code="qr-format",
            who="operator",
            hint=f"leave --format out: {_names(row for row in ROWS if row.qr)} is what they read",
        )


def _names(rows: Iterable[ClientFormat]) -> str:
    return ", ".join(row.name for row in rows)


def _is_port(name: str) -> bool:
    """Whether a name is a link's and has no meaning to a shell or the parser of a config."""
    letters = name.replace(".", "").replace("-", "").replace("_", "")
    return (
        is_link_name(name) and letters.isascii() and letters.isalnum() and not name.startswith("-")
    )


@dataclass(frozen=True, slots=True)
class ExportedConfig:
    """A config that somebody took.

    Attributes:
        config: with its version.
        text: in the format that was wanted.
        chain: of the log of exports, up to this one.
    """

    config: ClientConfig
    text: str
    chain: str


def export(
    store: Store, target: Target, host: Host, request: ExportRequest, by: str
) -> ExportedConfig:
    """Make a config with its version, and write down that `by` took it; inside `store.writer`.

    Raises:
        WarpError: the endpoint has expired, nobody knows what clients dial, the format cannot
            express it, or it cannot be written down.
    """
    made = current_config(target, host, request.network, request.endpoint)
    if request.lan_port is not None:
        made = made.with_port(request.lan_port)
    numbered, text = store.versioned(made, request.text)
    chain = store.log_export(numbered, numbered.version, request.style, by, request.reason)
    return ExportedConfig(numbered, text, chain)
