"""The list of endpoints as CSV: what the API says, all of it, and no cell that is run."""

from __future__ import annotations

import contextlib
import csv
import http.client
import io
import re
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.daemon.http.served import SEEN, Served, served
from tests.unit.web.many import counted, network_name, publish
from tests.unit.web.recorded import answers, serving
from tests.unit.web.visitor import HOST, TOKEN, Visitor
from warpd.web import table
from warpd.web.pages.downloading import ROWS_AT_ONCE
from warpd.web.sessions import COOKIE

NETWORKS = ENDPOINTS = 100
PART_MAX = 256 * 1024  # bytes that are made at a time
ONE = network_name(7)
FORMULAS = "=+-@\uff1d\uff0b\uff0d\uff20"  # with one of these a formula begins
SEPARATORS = ",;|\t"

TEXT = st.text(st.sampled_from("=+-@'\"\t\r\n;,| aä\uff1d")) | st.text()
COUNT = st.integers(0, 2**63)
ROW = st.fixed_dictionaries(
    {
        **dict.fromkeys(("network", "name", "type", "description", "state", "address"), TEXT),
        **dict.fromkeys(("expires", "address6"), st.none() | TEXT),
        "routes": st.lists(TEXT, max_size=2),
        "public_key": TEXT,
        "last_handshake": st.none() | st.integers(0, 2**32),
        **dict.fromkeys(("received_bytes", "sent_bytes"), COUNT),
    }
)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def without_guard(cell: str) -> str:
    return re.sub(r"(^|[;,|\t\r\n])'", r"\1", cell)


def told(row: dict[str, Any]) -> dict[str, str]:
    """What the API says of an endpoint, as texts."""
    values = {name: row[name] for name in table.COLUMNS}
    at_s = values["last_handshake"]
    if at_s is not None:
        values["last_handshake"] = datetime.fromtimestamp(at_s, UTC).isoformat()[:19] + "Z"
    values["routes"] = ", ".join(values["routes"])
    return {name: "" if value is None else str(value) for name, value in values.items()}


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, max_size=3))
def test_without_its_guard_it_is_what_the_api_says(rows: list[dict[str, Any]]) -> None:
    text = (table.header() + table.lines(rows)).decode()
    found = [{name: without_guard(cell) for name, cell in row.items()} for row in read(text)]
    assert found == [told(row) for row in rows]


@settings(max_examples=300, deadline=None)
@given(TEXT, st.sampled_from(SEPARATORS), st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_NONE)))
@example("=HYPERLINK(1)", ",", csv.QUOTE_MINIMAL)
@example("x;=1+1", ";", csv.QUOTE_MINIMAL)
@example("\t=1", ",", csv.QUOTE_MINIMAL)
def test_no_cell_begins_a_formula(text: str, separator: str, quoting: int) -> None:
    """Wherever a spreadsheet splits, as it is set up, and whatever it skips."""
    row = dict.fromkeys(table.COLUMNS, text) | {"routes": [text], "last_handshake": None}
    assert not table.guarded(text).startswith((*FORMULAS, "\t", "\r"))
    lines = table.lines([row]).decode()
    csv_lines = io.StringIO(lines, newline="")
    for cells in csv.reader(csv_lines, delimiter=separator, quoting=quoting):
        for cell in cells:
            assert not cell.lstrip(" \t\r\n").startswith(tuple(FORMULAS)), (cells, lines)


def test_a_public_key_stays_as_it_is() -> None:
    """One of 64 begins with "+". What is longer or shorter than a key is guarded."""
    key = "+60gc9riEiDJB1MTGREbTw8r2zlNvwAbx2sbhI9o8CY="
    assert table.guarded(key) == key
    for text in (key[:-1], key + "1", key[:-2] + "=1", "=" + key[1:]):
        assert table.guarded(text) == "'" + text


# -- the file of a gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("table")) as made:
        yield made


def all_rows(gateway: Served, token: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        path = f"/v1/endpoints?limit=1000&after={after}&{query}"
        page = gateway.ask("GET", path, token).json
        found += page["endpoints"]
        if page["next"] is None:
            return found
        after = page["next"]


def test_ten_thousand_endpoints_come_a_page_at_a_time(tmp_path: Path) -> None:
    with served(tmp_path) as gateway, counted(tmp_path / "relay", gateway.path) as reads:
        publish(gateway, NETWORKS, ENDPOINTS)
        token = gateway.token("admin")
        visitor = Visitor(tmp_path / "relay", token)
        file = visitor.get("/endpoints.csv")
        assert file.status == 200 and file.headers["content-type"].startswith("text/csv")
        assert file.headers["content-disposition"] == 'attachment; filename="endpoints.csv"'
        assert file.headers["cache-control"] == "no-store"
        assert max(file.parts) < PART_MAX and len(file.parts) > 10
        assert read(file.text) == [told(row) for row in all_rows(gateway, token)]
        reads.take()
        query = f"network={ONE}&state=online&q=device-1"
        some = read(visitor.get(f"/endpoints.csv?sort=traffic&{query}").text)
        assert reads.take()[0] == 3, "two are about the session, and one page is enough"
        assert some == [told(row) for row in all_rows(gateway, token, query)] != []


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_everybody_has_the_list_of_what_they_see(gateway: Served, role: str) -> None:
    """No key is in it but public ones, and not where somebody is."""
    token = gateway.token(role, SEEN)
    file = Visitor(gateway.path, token).get("/endpoints.csv").text
    rows = all_rows(gateway, token)
    assert read(file) == [told(row) for row in rows]
    assert {row["network"] for row in read(file)} == {SEEN}
    keys = re.findall(r"[A-Za-z0-9+/]{43}=", file)
    assert keys == [row["public_key"] for row in rows]


def test_a_file_that_cannot_be_finished_does_not_end(tmp_path: Path) -> None:
    """By the server of the dashboard: the browser is not told that this is all."""
    documents = answers(tmp_path)
    page = documents["/v1/endpoints"]
    first, later = (
        f"/v1/endpoints?sort=name{edge}&limit={ROWS_AT_ONCE}" for edge in ("", "&after=x")
    )
    documents |= {first: {**page, "next": "x"}, later: None}
    with serving(tmp_path / "sock", documents):
        application = Visitor(tmp_path / "sock").application
        config = uvicorn.Config(application, lifespan="off", log_level="critical")
        server, listener = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            line = http.client.HTTPConnection(*listener.getsockname(), timeout=60)
            headers = {"Host": HOST, "Cookie": f"{COOKIE}={TOKEN}"}
            with contextlib.closing(line):
                line.request("GET", "/endpoints.csv", headers=headers)
                answer = line.getresponse()
                assert answer.status == 200
                with pytest.raises(http.client.IncompleteRead) as failure:
                    answer.read()
            assert len(read(failure.value.partial.decode())) == len(page["endpoints"])
        finally:
            server.should_exit = True
            thread.join()
