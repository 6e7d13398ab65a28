"""The format for programs: every value by name, absent ones null."""

from __future__ import annotations

import json
from typing import Final

from warpd import keys
from warpd.clients.config import ClientConfig
from warpd.keys import Secret

NAME: Final = "json"
VERSION: Final = 1


def text(config: ClientConfig) -> str:
    document = {
        "version": VERSION,
        "network": config.network,
        "vcid": config.vcid,
        "endpoint": config.endpoint,
        "config_version": config.version,
        "private_key": _shown(config.private_key),
        "addresses": config.addresses,
        "dns": config.dns,
        "mtu": config.mtu,
        "listen_port": config.listen_port,
        "gateway": {
            "public_key": config.gateway_public_key,
            "preshared_key": _shown(config.preshared_key),
            "endpoint": config.dial,
            "allowed_ips": config.allowed_ips,
            "keepalive": config.keepalive_s,
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _shown(key: Secret | None) -> str | None:
    return None if key is None else keys.encode(key.reveal())
