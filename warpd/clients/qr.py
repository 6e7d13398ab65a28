"""Draw a config as a QR code for phones: as text for the terminal, as PNG, and as SVG.

The code holds the text of the config byte for byte. One terminal cell shows two modules, one above
the other. Light modules are drawn and dark ones are blank, because most terminals are dark.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from warpd.clients.config import ClientConfig
from warpd.errors import WarpError

if TYPE_CHECKING:
    import segno

QUIET_ZONE: Final = 4  # modules around the code (ISO/IEC 18004)
SCALE: Final = 6  # pixels per module
BYTES_MAX: Final = 2953  # of version 40 with error correction L in byte mode (ISO/IEC 18004)
_CELLS: Final = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
CHARACTERS: Final = "".join(_CELLS.values())  # of a code in the terminal


def terminal(config: ClientConfig, text: str) -> str:
    """Raises: WarpError when the config does not fit or lacks its private key."""
    rows = [
        [bool(module) for module in row]
        for row in code(config, text).matrix_iter(border=QUIET_ZONE // 2)
    ]
    if len(rows) % 2:
        rows.append([True] * len(rows[0]))  # below the quiet zone: not drawn
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(_CELLS[cell] for cell in zip(*pair, strict=True)) for pair in pairs)


def image(config: ClientConfig, text: str, suffix: str) -> bytes:
    """The picture for a file name's suffix, `.png` or `.svg`.

    Raises:
        WarpError: another suffix; the config does not fit or lacks its private key.
    """
    kind = suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        text = f"no QR code can be written as {suffix or 'a file without suffix'}"
        raise WarpError(text, code="qr-format", who="operator", hint="name a file .png or .svg")
    out = io.BytesIO()
    code(config, text).save(out, kind=kind, scale=SCALE, border=QUIET_ZONE, light="white")
    return out.getvalue()


def refuse(config: ClientConfig, text: str) -> None:
    """Raises: WarpError when the config does not fit, has hooks or lacks its private key."""
    if config.private_key is None:
        raise WarpError(
            f"endpoint {config.network}/{config.endpoint} has a key of its own: the config lacks"
            " it, a QR code would be useless",
            code="qr-no-key",
            who="operator",
            hint=(
                "take the text and put the device's private key in, or drop `public_key` to have a"
                " derived one"
            ),
        )
    if config.segment is not None:
        raise WarpError(
            f"network {config.network} carries Ethernet: its config has hooks, which the apps that"
            " read QR codes refuse",
            code="qr-hooks",
            who="operator",
            hint="carry it over as a file: --out FILE",
        )
    size = len(text.encode())
    if size > BYTES_MAX:
        raise WarpError(
            f"a config of {size} bytes does not fit into a QR code ({BYTES_MAX})",
            code="qr-too-long",
            who="operator",
            hint="carry it over as a file: --out FILE",
        )


def code(config: ClientConfig, text: str) -> segno.QRCode:
    """Raises: WarpError as `refuse`."""
    refuse(config, text)
    # Only when a code is drawn: it takes as long to load as the YAML of a thousand endpoints.
    import segno

    return segno.make_qr(text, error="l", mode="byte", encoding="utf-8")
