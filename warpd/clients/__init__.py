"""What a device needs to connect, in the formats that devices read.

One file a format, one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from warpd.clients import as_json, mikrotik, networkd, networkmanager, openwrt, vyos, wg_quick
from warpd.clients.config import ClientConfig

MODULES: Final = (wg_quick, networkd, networkmanager, openwrt, mikrotik, vyos, as_json)
FORMATS: Final[Mapping[str, Callable[[ClientConfig], str]]] = {
    module.NAME: module.text for module in MODULES
}
# Formats whose text holds several files, told apart by `files`.
IN_FILES: Final = (networkd.NAME, networkmanager.NAME)
