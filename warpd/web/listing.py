"""What a search of endpoints asks the daemon for, and the addresses of its pages. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from warpd.web.summary import STATE_WORDS, Row

PAGE: Final = 200
SORTS: Final = ("name", "address", "handshake", "traffic")
# Rows keep their place in these orders while the file is made; by traffic they would not.
STEADY: Final = ("name", "address")
TEXT_MAX: Final = 100
CSV_PATH: Final = "/endpoints.csv"
CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{1,1000}")


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for.

    - `text`: is part of a name, description, address or key.
    - `network`, `state`: "" for all; a state is a word of the daemon.
    - `sort`: one of `SORTS`.
    - `after`: where the page before ended, as the daemon said; `before`: where the page behind
      begins. Both are "" for the first page.
    """

    text: str = ""
    network: str = ""
    state: str = ""
    sort: str = "name"
    after: str = ""
    before: str = ""

    @staticmethod
    def of(query: Mapping[str, str]) -> Search:
        """Of the query of an address; what makes no sense there is left out."""
        state, sort = query.get("state", ""), query.get("sort", "")
        after = _cursor(query.get("after", ""))
        return Search(
            text=query.get("q", "")[:TEXT_MAX].strip(),
            network=query.get("network", "")[:TEXT_MAX],
            state=state if state in STATE_WORDS else "",
            sort=sort if sort in SORTS else "name",
            after=after,
            before="" if after else _cursor(query.get("before", "")),
        )

    def asked(self) -> dict[str, object]:
        """The query for the daemon."""
        chosen = {"q": self.text, "network": self.network, "state": self.state}
        edge = {"after": self.after, "before": self.before}
        return {**chosen, "sort": self.sort, **edge, "limit": PAGE}

    def address(self, **edge: str) -> str:
        """The address of another page of the same search, by `after` or `before`; of the first one
        without them.
        """
        return "/endpoints" + self._query(edge)

    def file_address(self) -> str:
        """The address of all pages as CSV."""
        return CSV_PATH + self.whole()._query({})

    def whole(self) -> Search:
        """The same search from its first page on, in an order in which no row moves meanwhile."""
        sort = self.sort if self.sort in STEADY else "name"
        return replace(self, sort=sort, after="", before="")

    def _query(self, edge: Mapping[str, str]) -> str:
        chosen = {"q": self.text, "network": self.network, "state": self.state, **edge}
        if self.sort != "name":
            chosen["sort"] = self.sort
        query = urlencode({name: value for name, value in chosen.items() if value})
        return f"?{query}" if query else ""

    def is_exact(self, row: Row) -> bool:
        """Whether the whole name, address or key of an endpoint was written."""
        exact = (row["name"], f"{row['network']}/{row['name']}", row["address"], row["public_key"])
        return bool(self.text) and not self.network and not self.state and self.text in exact


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what was found.

    - `first`: the number of its first row, from 1.
    - `total`: how many there are on all pages.
    - `preceding`, `following`: the addresses of the pages beside it; "" where there is none.
    """

    rows: list[dict[str, Any]]
    first: int
    total: int
    preceding: str
    following: str


def found(answer: Row, wanted: Search, rows: list[dict[str, Any]]) -> Found:
    """A page, of what the daemon has answered; `rows` are its endpoints as they are shown."""
    before, after = answer["previous"], answer["next"]
    preceding = wanted.address(before=before) if before else ""
    following = wanted.address(after=after) if after else ""
    return Found(rows, int(answer["first"]), int(answer["total"]), preceding, following)


def _cursor(text: str) -> str:
    return text if CURSOR.fullmatch(text) else ""
