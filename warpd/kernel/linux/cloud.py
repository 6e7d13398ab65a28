"""The public address of a machine behind its cloud's one-to-one NAT, from what cloud-init has
written down.

Nobody is asked: cloud-init reads the cloud's metadata at boot and leaves it in one file for all
users (its documentation, "Instance metadata"). Of the clouds whose machines see only a private
address, EC2, OpenStack and Azure name the public one there.
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
    """The address, or "" where there is no cloud, or one that names none."""
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
