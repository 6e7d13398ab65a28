"""Client configs in the formats that devices read.

Each format has one module and one row in ROWS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from warpd.clients import as_json, mikrotik, networkd, networkmanager, openwrt, vyos, wg_quick
from warpd.clients.config import ClientConfig


@dataclass(frozen=True, slots=True)
class ClientFormat:
    """One format of client configs.

    - `name`: the value of `--format`.
    - `text`: writes a config. It raises WarpError with the code `format-cannot` for a network that
      the device cannot join.
    - `suffix`: the suffix of a config's file name, without the dot.
    - `in_files`: whether the text holds several files, which `files.split` cuts apart.
    - `qr`: whether apps read this format from a QR code.
    """

    name: str
    text: Callable[[ClientConfig], str]
    suffix: str = "txt"
    in_files: bool = False
    qr: bool = False


# `warpctl endpoint config` writes the first format unless `--format` names another one.
ROWS: Final[tuple[ClientFormat, ...]] = (
    ClientFormat("wg-quick", wg_quick.text, "conf", qr=True),
    ClientFormat("networkd", networkd.text, in_files=True),
    ClientFormat("networkmanager", networkmanager.text, in_files=True),
    ClientFormat("openwrt", openwrt.text),
    ClientFormat("mikrotik", mikrotik.text, "rsc"),
    ClientFormat("vyos", vyos.text),
    ClientFormat("json", as_json.text, "json"),
)
DEFAULT: Final = ROWS[0]
FORMATS: Final[Mapping[str, ClientFormat]] = {row.name: row for row in ROWS}
