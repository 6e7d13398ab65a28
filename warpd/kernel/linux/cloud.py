"""Read the public address of a machine behind a cloud's one-to-one NAT from cloud-init's file.

warpd sends no request to the cloud. cloud-init reads the metadata at boot and writes it to a file
that all users can read (cloud-init documentation, "Instance metadata"). EC2, OpenStack and Azure
give machines only a private address, and name the public one in this file.
"""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

INSTANCE_DATA: Final = Path("/run/cloud-init/instance-data.json")
SIZE_MAX: Final = 4 << 20
_PLACES: Final[tuple[tuple[str | int, ...], ...]] = (
    ("ds", "meta_data", "public-ipv4"),
    ("ds", "meta_data", "public_ipv4"),
    ("ds", "ec2_metadata", "public-ipv4"),
    ("ds", "ec2_metadata", "public_ipv4"),
    (
        "ds",
        "meta_data",
        "imds",
        "network",
        "interface",
        0,
        "ipv4",
        "ipAddress",
        0,
        "publicIpAddress",
    ),
)


def cloud_address(file: Path = INSTANCE_DATA) -> str:
    """Return the public address, or "" if there is no cloud or it does not name an address."""
    try:
        if file.stat().st_size > SIZE_MAX:
            return ""
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    found = (_at(data, place) for place in _PLACES)
    return next((str(value) for value in found if _is_address(value)), "")


def _at(data: Any, place: tuple[str | int, ...]) -> Any:
    for step in place:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _is_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ip_address(value))
    except ValueError:
        return False
