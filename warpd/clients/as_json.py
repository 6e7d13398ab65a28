"""The JSON format, for programs. Every value has a name; a value that is absent is null."""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from warpd.clients.config import ClientConfig

VERSION: Final = 1


def text(config: ClientConfig) -> str:
    document = {
        "version": VERSION,
        "network": config.network,
        "vcid": config.vcid,
        "endpoint": config.endpoint,
        "config_version": config.version,
        "private_key": config.private_text if config.private_key else None,
        "addresses": config.addresses,
        "dns": config.dns,
        "mtu": config.mtu,
        "listen_port": config.listen_port,
        "routes": config.routes,
        "gateway": {
            "public_key": config.gateway_public_key,
            "preshared_key": config.shared_text,
            "endpoint": config.dial,
            "allowed_ips": config.allowed_ips,
            "keepalive": config.keepalive_s,
        },
        "segment": dataclasses.asdict(config.segment) if config.segment else None,
    }
    return json.dumps(document, indent=2) + "\n"
