"""What a search of endpoints asks the daemon for, and the addresses of its pages. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from warpd.web.summary import STATE_WORDS, Row

PAGE: Final = 200
SORTS: Final = ("name", "address", "handshake", "traffic")
TEXT_MAX: Final = 100
CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{1,1000}")
PAGES_MAX: Final = 9999


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for.

    - `text`: is part of a name, description, address or key.
    - `network`, `state`: "" for all; a state is a word of the daemon.
    - `sort`: one of `SORTS`.
    - `after`: where the page before ended, as the daemon said; "" for the first page.
    - `page`: its number, from 1; only shown.
    """

    text: str = ""
    network: str = ""
    state: str = ""
    sort: str = "name"
    after: str = ""
    page: int = 1

    @staticmethod
    def of(query: Mapping[str, str]) -> Search:
        """Of the query of an address; what makes no sense there is left out."""
        state, sort, after = query.get("state", ""), query.get("sort", ""), query.get("after", "")
        is_later = bool(CURSOR.fullmatch(after))
        return Search(
            text=query.get("q", "")[:TEXT_MAX].strip(),
            network=query.get("network", "")[:TEXT_MAX],
            state=state if state in STATE_WORDS else "",
            sort=sort if sort in SORTS else "name",
            after=after if is_later else "",
            page=_page(query.get("page", "")) if is_later else 1,
        )

    def asked(self) -> dict[str, object]:
        """The query for the daemon."""
        chosen = {"q": self.text, "network": self.network, "state": self.state}
        return {**chosen, "sort": self.sort, "after": self.after, "limit": PAGE}

    def address(self, after: str = "", page: int = 1) -> str:
        """The address of another page of the same search; of the first one by default."""
        chosen = {"q": self.text, "network": self.network, "state": self.state, "sort": self.sort}
        if self.sort == "name":
            del chosen["sort"]
        if after:
            chosen |= {"after": after, "page": str(page)}
        query = urlencode({name: value for name, value in chosen.items() if value})
        return "/endpoints" + ("?" + query if query else "")

    def is_exact(self, row: Row) -> bool:
        """Whether the whole name, address or key of an endpoint was written."""
        exact = (row["name"], f"{row['network']}/{row['name']}", row["address"], row["public_key"])
        return bool(self.text) and not self.network and not self.state and self.text in exact


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what was found.

    - `first`: the number of its first row, from 1.
    - `total`: how many there are on all pages.
    - `following`: the address of the next page; "" on the last one.
    """

    rows: list[dict[str, Any]]
    first: int
    total: int
    following: str


def found(answer: Row, wanted: Search, rows: list[dict[str, Any]]) -> Found:
    """A page, of what the daemon has answered; `rows` are its endpoints as they are shown."""
    after = answer["next"]
    following = wanted.address(after, wanted.page + 1) if after else ""
    return Found(rows, (wanted.page - 1) * PAGE + 1, int(answer["total"]), following)


def _page(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) < 6
    return min(max(1, int(text)), PAGES_MAX) if is_number else 1
