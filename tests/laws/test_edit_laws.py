"""Laws of edits: adding and removing gives the same bytes, and one edit touches one place, in any
layout.
"""

from __future__ import annotations

import difflib
import random

import pytest

from tests.layouts import Layout
from warpd.yamlfile.editor import (
    EditRefused,
    add_endpoints,
    add_networks,
    remove_endpoint,
    remove_network,
    rotate,
)
from warpd.yamlfile.parser import read_text, read_tree
from warpd.yamlfile.positions import BREAK, outline

FILES = 400
NEW = {"type": "cpe", "routes": ["10.0.0.0/8", "fd00::/64"], "description": "Ünïted: #1"}


def touched(old: str, new: str) -> tuple[int, int]:
    """How many lines went, how many came."""
    codes = difflib.SequenceMatcher(
        None, BREAK.split(old), BREAK.split(new), autojunk=False
    ).get_opcodes()
    gone = sum(two - one for tag, one, two, _, _ in codes if tag != "equal")
    return gone, sum(two - one for tag, _, _, one, two in codes if tag != "equal")


def sound(layout: Layout) -> None:
    text, problems = read_text(layout.text.encode())
    assert not problems and not read_tree(text).problems, read_tree(text).problems


def endpoints(text: str, network: str) -> list[str]:
    value = read_tree(text).value
    assert value is not None
    return list(value["networks"][network].get("endpoints") or {})


def test_adding_and_removing_an_endpoint_gives_the_same_bytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    edits = refused = 0
    for seed in range(FILES):
        layout = Layout(seed)
        sound(layout)
        for network in layout.networks:
            try:
                new = add_endpoints(layout.text, network, {"new-one": NEW})
            except EditRefused:
                refused += 1
                continue
            assert remove_endpoint(new, network, "new-one") == layout.text, (seed, network)
            gone, come = touched(layout.text, new)
            assert gone <= 2 and come <= 5, (seed, network)
            edits += 1
    with capsys.disabled():
        print(
            f"\n{FILES} layouts: {edits} times added and removed, bytes differing 0, refused"
            f" {refused}"
        )
    assert edits > 2 * FILES and refused < edits / 50


def test_adding_and_removing_a_network_gives_the_same_bytes() -> None:
    refused = 0
    for seed in range(FILES):
        text = Layout(seed).text
        try:
            new = add_networks(text, {"brand-new": {"type": "l2-mesh", "vlan_id": 7}})
        except EditRefused:
            refused += 1
            continue
        assert remove_network(new, "brand-new") == text, seed
        assert touched(text, new)[0] <= 1
    assert refused < FILES / 50


def test_many_at_once_hold_each_of_them_and_move_nobody() -> None:
    for seed in range(FILES):
        layout = Layout(seed)
        network = layout.networks[-1]
        names = [f"m-{number}" for number in range(5)]
        try:
            new = add_endpoints(layout.text, network, dict.fromkeys(names, NEW))
        except EditRefused:
            continue
        assert endpoints(new, network)[-5:] == names
        assert touched(layout.text, new)[0] <= 2


def test_removing_what_was_there_leaves_the_rest_as_it_was() -> None:
    removed = 0
    for seed in range(FILES):
        layout = Layout(seed)
        for network in layout.networks:
            for name in endpoints(layout.text, network):
                try:
                    new = remove_endpoint(layout.text, network, name)
                except EditRefused:
                    continue
                removed += 1
                assert touched(layout.text, new)[1] <= 2, (seed, network, name)
                assert name not in endpoints(new, network)
    assert removed > FILES


PIECES = (
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "&a ",
    "*a",
    "\n",
    "  ",
    "- ",
    "? ",
    "#",
    "'",
    '"',
    "|",
    "null",
    "<<: *a",
    "\t",
    "---\n",
    "endpoints:",
    "\r\n",
    "!x ",
    "~",
    "%",
)


def mangled(chance: random.Random) -> str:
    text = Layout(chance.randrange(FILES)).text
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(text) + 1)
        text = text[:at] + chance.choice(PIECES) + text[at + chance.randint(0, 4) :]
    return text


def test_a_mangled_file_is_edited_exactly_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(5)
    edits = refused = 0
    for turn in range(1000):
        text = mangled(chance)
        read = read_tree(text)
        networks = read.value.get("networks") if read.value and not read.problems else None
        for network in networks if isinstance(networks, dict) else ():
            try:
                new = add_endpoints(text, network, {"new-one": NEW})
            except EditRefused:
                refused += 1
                continue
            edits += 1
            before = (
                networks[network].get("endpoints") if isinstance(networks[network], dict) else None
            )
            if isinstance(before, dict) or "endpoints" not in networks[network]:
                assert remove_endpoint(new, network, "new-one") == text, turn
    with capsys.disabled():
        print(f"\n1000 mangled layouts: {edits} edits exact, {refused} refused")
    assert edits > 500 and refused


def test_rotating_changes_one_line() -> None:
    rotated = 0
    for seed in range(FILES):
        layout = Layout(seed)
        for network in layout.networks:
            for name in endpoints(layout.text, network):
                new = rotate(layout.text, network, name)
                gone, come = touched(layout.text, new)
                assert gone <= 1 and come <= 2, (seed, network, name)
                rotated += 1
    assert rotated > FILES


def test_both_parsers_see_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [Layout(seed).text for seed in range(60)]
    fast = [outline(text) for text in texts]
    monkeypatch.setattr("warpd.yamlfile.parser._libyaml", lambda: None)
    assert [outline(text) for text in texts] == fast
