"""The canonical text of rules, and what is exchanged in it."""

from __future__ import annotations

import json

import pytest

from warpd.kernel.nftables.rules import (
    ACCEPT,
    DROP,
    goto,
    mangle,
    match,
    members,
    meta,
    payload,
    rule,
    with_accept_as,
)

ADDRESS = match(payload("ip", "daddr"), "10.0.0.1")
MARK = mangle(meta("mark"), 1)
NUMBERS = match(meta("l4proto"), members(17, 6))


@pytest.mark.parametrize("matches", [(), (ADDRESS,), (NUMBERS, ADDRESS)])
@pytest.mark.parametrize("instead", [(MARK,), (MARK, ACCEPT), (goto("out"),)])
def test_the_accept_at_the_end_is_replaced_as_if_the_rule_were_written_so(
    matches: tuple[object, ...], instead: tuple[object, ...]
) -> None:
    text = rule("a comment", *matches, ACCEPT)
    assert with_accept_as(text, *instead) == rule("a comment", *matches, *instead)


@pytest.mark.parametrize("comment", ["accept", '{"accept":null}]}', 'a "quoted" ]} comment'])
@pytest.mark.parametrize("verdict", [DROP, goto("accept")])
def test_a_rule_that_does_not_accept_stays_as_it_is(
    comment: str, verdict: dict[str, object]
) -> None:
    text = rule(comment, ADDRESS, verdict)
    assert with_accept_as(text, MARK) == text
    assert json.loads(text)["comment"] == comment
