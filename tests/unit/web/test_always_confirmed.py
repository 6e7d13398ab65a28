"""What is applied from a page is undone unless somebody keeps it, whatever the form holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.daemon.http.gateway import Gateway, served
from tests.unit.daemon.http.test_changes import ADD, TEXT
from tests.unit.web.visitor import Visitor
from warpd.web.pages.changing import CONFIRM_CHOICES_S, CONFIRM_S


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with served(tmp_path, monkeypatch, TEXT) as made:
        made.become("admin")
        yield made


@pytest.mark.parametrize("within", [None, "", "x", "-1", "1e9", "999999", "0", "4"])
def test_an_apply_of_a_page_waits_to_be_confirmed(gateway: Gateway, within: str | None) -> None:
    """A time that is none is the usual one; one that is too short is refused."""
    change = gateway.change(ADD)
    fields = {"digest": change["digest"]}
    if within is not None:
        fields["confirm_within_s"] = within
    visitor = Visitor(gateway.sock, gateway.token)
    page = visitor.post(f"/changes/{change['id']}/apply", fields)
    pending = gateway.ask("GET", "/v1/daemon")[1]["pending_confirm"]
    if within in ("0", "4"):
        assert page.status == 422 and pending is None and gateway.timers == []
    else:
        assert page.status == 303 and pending["number"] == 2 and gateway.timers == [2]


def test_every_time_that_is_offered_is_one() -> None:
    assert CONFIRM_S in CONFIRM_CHOICES_S
    assert all(5 <= seconds <= 24 * 3600 for seconds in CONFIRM_CHOICES_S)
