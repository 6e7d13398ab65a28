"""Edits of YAML text: the resulting text, and the edits that are refused."""

from __future__ import annotations

import pytest

from warpd.yamlfile import writer
from warpd.yamlfile.editor import (
    EditRefused,
    add_endpoints,
    add_networks,
    nearest,
    remove_endpoint,
    remove_network,
    rotate,
)
from warpd.yamlfile.parser import read_tree

CPE = {"type": "cpe"}
HEAD = "version: 1\nnetworks:\n"


def one(body: str) -> str:
    return HEAD + "  n:\n    type: l2-mesh\n" + body


def added(text: str, network: str = "n") -> str:
    return add_endpoints(text, network, {"new": CPE})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "    endpoints:\n      new: {type: cpe}\n"),
        ("    endpoints: {}\n", "    endpoints: {new: {type: cpe}}\n"),
        ("    endpoints: { } # none\n", "    endpoints: {new: {type: cpe} } # none\n"),
        ("    endpoints: # none\n", "    endpoints: # none\n      new: {type: cpe}\n"),
        ("    endpoints: null # none\n", "    endpoints: # none\n      new: {type: cpe}\n"),
        ("    endpoints: ~\n", "    endpoints:\n      new: {type: cpe}\n"),
        (
            "    endpoints: {a: {type: cpe}}\n",
            "    endpoints: {a: {type: cpe}, new: {type: cpe}}\n",
        ),
        (
            "    endpoints: {a: {type: cpe},}\n",
            "    endpoints: {a: {type: cpe}, new: {type: cpe},}\n",
        ),
        (
            "    endpoints:\n     a:\n        type: cpe\n",
            "    endpoints:\n     a:\n        type: cpe\n     new:\n        type: cpe\n",
        ),
        (
            "    endpoints:\n      a: {type: cpe} # a\n      # of the last\n",
            (
                "    endpoints:\n      a: {type: cpe} # a\n      new: {type: cpe}\n      # of the"
                " last\n"
            ),
        ),
        (
            "    endpoints:\n      a: {type: cpe}\n\n       # inside a\n",
            "    endpoints:\n      a: {type: cpe}\n\n       # inside a\n      new: {type: cpe}\n",
        ),
        (
            "    endpoints: {\n      a: {type: cpe}  # a\n    }\n",
            "    endpoints: {\n      a: {type: cpe},  # a\n      new: {type: cpe}\n    }\n",
        ),
        (
            "    endpoints: {\n      a: {type: cpe},  # a\n    }\n",
            "    endpoints: {\n      a: {type: cpe},  # a\n      new: {type: cpe},\n    }\n",
        ),
    ],
)
def test_an_endpoint_is_added_in_the_layout_that_is_there(before: str, after: str) -> None:
    assert added(one(before)) == one(after)
    assert added(one(before).replace("\n", "\r\n")) == one(after).replace("\n", "\r\n")


def test_without_a_final_line_end_there_is_none_afterwards() -> None:
    text = one("    endpoints:\n      a: {type: cpe}")
    assert added(text) == text + "\n      new: {type: cpe}"
    assert remove_endpoint(added(text), "n", "new") == text


def test_a_network_on_one_line_and_the_marks_that_add_leaves() -> None:
    text = HEAD + "  n: {type: l2-mesh}\n"
    assert added(text) == HEAD + "  n: {type: l2-mesh, endpoints: { new: {type: cpe} }}\n"
    assert remove_endpoint(added(text), "n", "new") == text
    with_braces = HEAD + "  n: {type: l2-mesh, endpoints: {}}\n"
    assert remove_endpoint(added(with_braces), "n", "new") == with_braces


def test_many_at_once_unfold_an_empty_mapping() -> None:
    new = add_endpoints(one("    endpoints: {}\n"), "n", {"a": CPE, "b": CPE})
    assert new == one("    endpoints:\n      a: {type: cpe}\n      b: {type: cpe}\n")


@pytest.mark.parametrize("empty", ["networks: {}\n", "networks: {}", "networks: {}  # none yet\n"])
def test_the_first_network_and_back(empty: str) -> None:
    text = "version: 1\n" + empty
    new = add_networks(text, {"corp": {"type": "l2-mesh", "dns": ["9.9.9.9", "2620:fe::fe"]}})
    assert '\n  corp:\n    type: l2-mesh\n    dns: [9.9.9.9, "2620:fe::fe"]' in new
    assert remove_network(new, "corp") == text


def test_a_network_joins_others_in_their_style() -> None:
    assert (
        add_networks(one(""), {"m": {"type": "l2-mesh"}}) == one("") + "  m:\n    type: l2-mesh\n"
    )
    flow = HEAD + "  n: {type: l2-mesh}\n"
    assert add_networks(flow, {"m": {"type": "l2-mesh"}}) == flow + "  m: {type: l2-mesh}\n"
    assert (
        add_networks("version: 1\n", {"m": {"type": "l2-mesh"}})
        == "version: 1\nnetworks:\n  m: {type: l2-mesh}\n"
    )


def test_removing_keeps_comments_that_are_not_inside() -> None:
    goes = "      a: {type: cpe} # goes\n        # goes too\n"
    text = one(f"    endpoints:\n      # above\n{goes}      # stays\n      b: {{type: cpe}}\n")
    assert remove_endpoint(text, "n", "a") == one(
        "    endpoints:\n      # above\n      # stays\n      b: {type: cpe}\n"
    )
    last = one("    endpoints: # phones\n      # above\n      a: {type: cpe}\n")
    assert remove_endpoint(last, "n", "a") == one("    endpoints: {} # phones\n      # above\n")


@pytest.mark.parametrize(
    ("before", "name", "after"),
    [
        ("{a: {type: cpe}, b: {type: cpe}}", "a", "{b: {type: cpe}}"),
        ("{a: {type: cpe}, b: {type: cpe}}", "b", "{a: {type: cpe}}"),
        ("{a: {type: cpe}, b: {type: cpe}, }", "b", "{a: {type: cpe}, }"),
        ("{ a: {type: cpe} }", "a", "{  }"),
        ("{a: {type: cpe}, # a\n      b: {type: cpe}}", "b", "{a: {type: cpe} # a\n      }"),
        (
            "{\n      a: {type: cpe}, # a\n      b: {type: cpe} # b\n    }",
            "b",
            "{\n      a: {type: cpe} # a\n    }",
        ),
        (
            "{\n      a: {type: cpe}, # a\n      b: {type: cpe} # b\n    }",
            "a",
            "{\n      b: {type: cpe} # b\n    }",
        ),
    ],
)
def test_removing_from_braces(before: str, name: str, after: str) -> None:
    assert remove_endpoint(one(f"    endpoints: {before}\n"), "n", name) == one(
        f"    endpoints: {after}\n"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: {type: cpe}", "a: {type: cpe, rotation: 1}"),
        ("a: {type: cpe, rotation: 3, keepalive: 5}", "a: {type: cpe, rotation: 4, keepalive: 5}"),
        ("a: {rotation:   0x9, type: cpe}", "a: {rotation:   10, type: cpe}"),
        ("a:\n        type: cpe # t", "a:\n        type: cpe # t\n        rotation: 1"),
        (
            "a:\n        rotation: 9 # nine\n        type: cpe",
            "a:\n        rotation: 10 # nine\n        type: cpe",
        ),
        ("a: {<<: {type: cpe, rotation: 5}}", "a: {<<: {type: cpe, rotation: 5}, rotation: 6}"),
    ],
)
def test_rotating(before: str, after: str) -> None:
    assert rotate(one(f"    endpoints:\n      {before}\n"), "n", "a") == one(
        f"    endpoints:\n      {after}\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x: &t {type: l2-mesh}\n" + HEAD + "  n: *t\n",
            r"line 4: networks.n is the alias \*t",
        ),
        (HEAD + "  n: &t {type: l2-mesh}\n  m: *t\n", "line 3: networks.n is the anchor &t"),
        (
            one("    endpoints: &e {a: {type: cpe}}\n  m: {type: l2-mesh, endpoints: *e}\n"),
            "line 5: .* is the anchor &e",
        ),
        (
            HEAD + "  b: &b {type: l2-mesh, endpoints: {a: {type: cpe}}}\n  n: {<<: *b}\n",
            "comes from a merge",
        ),
        (one("    endpoints: [a]\n"), "line 5: networks.n.endpoints is not a mapping"),
        (
            HEAD + "  ? n\n  : type: l2-mesh\n    endpoints:\n     ? a\n     : type: cpe\n",
            "line 6: a is not at the start of its line",
        ),
        (one("") + "---\n" + one(""), "YAML is not valid"),
        (HEAD + "  n: {}\n", "line 3: this entry is empty"),
        (HEAD + "  n:\n  m: {type: l2-mesh}\n", "line 3: this entry is empty"),
        (one("    description: |\n      ends here"), "without changing something else"),
    ],
)
def test_what_cannot_be_edited_is_refused(text: str, message: str) -> None:
    with pytest.raises(EditRefused, match=message) as caught:
        added(text)
    assert caught.value.hint and caught.value.who == "operator"


def test_what_others_refer_to_is_not_removed() -> None:
    text = one("    endpoints:\n      a: &a {type: cpe}\n      b: *a\n")
    with pytest.raises(EditRefused, match=r"line 7: the alias \*a refers to the entry"):
        remove_endpoint(text, "n", "a")
    assert remove_endpoint(text, "n", "b") == one("    endpoints:\n      a: &a {type: cpe}\n")
    with pytest.raises(EditRefused, match=r"is the alias \*a"):
        rotate(text, "n", "b")


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(EditRefused, match="endpoint new exists already") as caught:
        added(added(one("")))
    assert caught.value.code == "exists"


def test_near_names_are_hints() -> None:
    assert nearest("phone1", ["phone-1", "laptop"]) == "did you mean phone-1?"
    assert nearest("zzz", ["b", "a"]) == "there are: a, b" and nearest("z", []) == "there are none"


@pytest.mark.parametrize(
    "value",
    [
        "",
        " a",
        "a ",
        "1",
        "010",
        "1_000",
        "1.5",
        "1e3",
        "0x1f",
        "no",
        "Yes",
        "null",
        "~",
        "true",
        "-",
        "- a",
        "a: b",
        "a #b",
        "{",
        "[x]",
        "10.0.0.0/8",
        "fd00::/8",
        "1:30",
        "12:30:45",
        "2030-01-01",
        "*a",
        "&a",
        "!a",
        "%",
        "@",
        "`",
        '"',
        "\\",
        "'",
        "a\nb",
        "\t",
        "\x00\x7f\x85\u2028\ufeff",
        "ключ",
        "😀",
        "=",
        "<<",
        "..",
        "...",
        "---",
        "?",
        "a,b",
        "a]b",
        "+1",
        ".5",
        "0o17",
    ],
)
def test_text_reads_back_as_that_text_in_block_and_flow(value: str) -> None:
    for text in (
        f"k: {writer.scalar(value)}\n",
        f"k: {{x: [{writer.scalar(value)}]}}\n",
        f"{writer.scalar(value)}: 1\n",
    ):
        read = read_tree(text)
        assert not read.problems, (text, read.problems)
        assert read.value in ({"k": value}, {"k": {"x": [value]}}, {value: 1})


def test_a_document_reads_back() -> None:
    value = {
        "version": 1,
        "networks": {
            "a": {"type": "cpe", "on": True, "endpoints": {"x": {"r": ["fd00::/8"], "d": "x" * 99}}}
        },
    }
    text = writer.document(value, ["one\ntwo", ""])
    assert read_tree(text).value == value and text.startswith("# one two\n#\nversion: 1\n")
