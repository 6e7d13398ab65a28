"""Choose, sort and count endpoints of the JSON of `status`. Pure."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final

from warpd.intent.types import natural
from warpd.kernel.state import SESSION_S
from warpd.service.views.words import plural

Row = Mapping[str, Any]


class Order(StrEnum):
    """The order of a list: the latest handshake and the most traffic come first."""

    name = "name"
    address = "address"
    handshake = "handshake"
    traffic = "traffic"


EXPIRES_SOON_DAYS: Final = 7
# Orders in which all endpoints of a network come before those of the next one.
BY_NETWORK: Final = frozenset({Order.name, Order.address})
SEARCHED: Final = ("description", "address", "address6", "public_key")

# The name of a network is asked for with each of its endpoints.
_network_key: Final = functools.lru_cache(256)(natural)
_KEYS: Final[Mapping[Order, Callable[[Row], Any]]] = {
    Order.name: lambda row: (_network_key(row["network"]), natural(row["name"])),
    Order.address: lambda row: (_network_key(row["network"]), int(ip_address(row["address"]))),
    Order.handshake: lambda row: (
        row["handshake_age_s"] is None,
        row["handshake_age_s"] or 0,
        natural(row["name"]),
    ),
    Order.traffic: lambda row: (-row["received_bytes"] - row["sent_bytes"], natural(row["name"])),
}


def presence(row: Row) -> str:
    """Return suspended, disabled, expired, off, missing, online, stale or present (it never had a
    session). One whose handshake lies in the future is stale.

    Of one that is expired and suspended, expired: resuming it would not let it in.
    """
    days = row.get("expires_in_days")
    is_expired = days is not None and days <= 0
    if row.get("suspended") and not is_expired:
        return "suspended"
    if not row.get("enabled", True):
        return "disabled"
    if not row["in_force"]:
        return "expired" if is_expired else "off"
    if not row["in_kernel"]:
        return "missing"
    return _session(row)


def _session(row: Row) -> str:
    age = row.get("handshake_age_s")
    if age is None:
        return "stale" if row.get("last_handshake") else "present"
    return "online" if age < SESSION_S else "stale"


def matches(row: Row, text: str) -> bool:
    """Whether a text, in small letters, is in what people call an endpoint by: its name, network,
    description, addresses or public key.
    """
    values = (f"{row['network']}/{row['name']}", *(row.get(key) for key in SEARCHED))
    return any(text in str(value).casefold() for value in values if value)


def chosen(rows: Iterable[Row], online: bool, stale: bool, never: bool) -> list[Row]:
    """Return the rows with one of the chosen presences; all rows where none is chosen."""
    flags = ((online, "online"), (stale, "stale"), (never, "present"))
    wanted = {word for is_asked, word in flags if is_asked}
    return [row for row in rows if not wanted or presence(row) in wanted]


def order_key(row: Row, order: Order) -> Any:
    """Return what rows are ordered by; no two rows have the same."""
    return (*_KEYS[order](row), _network_key(row["network"]), natural(row["name"]))


def ordered(rows: Iterable[Row], order: Order) -> list[Row]:
    """Return the rows in an order."""
    return sorted(rows, key=_KEYS[order])


def counted(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what a summary says of the endpoints of a network: `states` (how many there are of
    each presence), the bytes of all, and those that expire within a week.
    """
    return {
        "states": dict(Counter(presence(row) for row in rows)),
        "received_bytes": sum(row["received_bytes"] for row in rows),
        "sent_bytes": sum(row["sent_bytes"] for row in rows),
        "expiring": [_expiry(row) for row in rows if _expires_soon(row)],
    }


def _expires_soon(row: Row) -> bool:
    days = row.get("expires_in_days")
    return days is not None and 0 <= days <= EXPIRES_SOON_DAYS and row["enabled"]


def _expiry(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("name", "expires", "expires_in_days")}


def summary(rows: Sequence[Row]) -> str:
    """Return `120 endpoints: 14 online, 80 stale, 26 never connected`, without what is zero."""
    counts = Counter(presence(row) for row in rows)
    words = {"present": "never connected"}
    order = ("online", "stale", "present", "missing", "suspended", "expired", "disabled", "off")
    parts = [f"{counts[word]} {words.get(word, word)}" for word in order if counts[word]]
    total = plural(len(rows), "endpoint")
    return f"{total}: {', '.join(parts)}" if parts else total
