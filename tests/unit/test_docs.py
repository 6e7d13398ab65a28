"""Every `warpctl` and `warpd` command line in README and docs: its command exists, and takes those
options.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from warpd.cli.app import app, register
from warpd.cli.arguments import in_order
from warpd.daemon.options import parser
from warpd.store.event_log import EVENT_KINDS

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *(REPOSITORY / "examples" / name / "README.md" for name in ("ci", "git")),
]
HELP = {"--help", "-h"}
WITH_VALUE = ("-c", "--config", "--state-dir")


def command_lines(text: str) -> Iterator[str]:
    """In backticks, or at the beginning of a line of a block; without comments."""
    for found in re.finditer(
        r"`((?:warpctl|warpd) [^`]*)`|^(?:\$ )?((?:warpctl|warpd) .*)$", text, re.MULTILINE
    ):
        line = (found.group(1) or found.group(2)).split("#")[0].replace("\n", " ")
        yield re.split(r" [|>&;] | \|$| && ", line)[0].strip()


def words_of(line: str) -> list[str]:
    """`[--opt X]` stands for an option that may be there; `--a|--b` for one of two."""
    return [word for word in re.split(r"[\s|,]+", re.sub(r"[\[\]()]", " ", line)) if word]


def options_of_daemon() -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", parser().format_help()))


def names_of(node: Any) -> set[str]:
    return {
        name for parameter in node.params for name in (*parameter.opts, *parameter.secondary_opts)
    }


def what_is_wrong(line: str) -> str:
    """With a command line; "" for nothing."""
    program, *rest = words_of(line)
    if program == "warpd":
        return unknown_options(rest, options_of_daemon())
    register("")
    node = typer.main.get_command(app)
    options = names_of(node) | HELP
    rest = in_order(rest)
    while rest[:1] and rest[0] in WITH_VALUE:
        rest = rest[2:]
    while hasattr(node, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in node.commands:
            return f"{rest[0]} is no command"
        node = node.commands[rest.pop(0)]
        options |= names_of(node)
        if node.name == "exec":
            return ""
    return unknown_options(rest, options)


def unknown_options(words: list[str], options: set[str]) -> str:
    unknown = [
        word
        for word in words
        if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in options
    ]
    return f"takes no {' '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_command_line_is_one(page: Path) -> None:
    lines = sorted(set(command_lines(page.read_text())))
    wrong = {line: text for line in lines if (text := what_is_wrong(line))}
    assert not wrong, wrong


def lines_of_dashboard() -> set[str]:
    """Each page says which command shows or does the same."""
    found = set()
    for source in (REPOSITORY / "warpd" / "web").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            text = ast.unparse(node) if isinstance(node, ast.JoinedStr | ast.Constant) else ""
            text = re.sub(r"\{[^}]*\}", "X", text)
            found |= set(re.findall(r"(?:^f?['\"]|; )(warpctl [^;'\"]+)", text))
    return found


def test_every_command_line_that_the_dashboard_shows_is_one() -> None:
    lines = lines_of_dashboard()
    assert "warpctl endpoint list" in lines and len(lines) > 20
    wrong = {line: text for line in lines if (text := what_is_wrong(line))}
    assert not wrong, wrong


def missing_targets(page: Path) -> set[str]:
    """Files that a page links to, or names in backticks outside its blocks, and that are not there.

    What is made when somebody follows a page stands in a block.
    """
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    named = re.findall(r"`((?:warpd|tests|docs|examples)/[\w./-]+\.\w+)`", text)
    gone = {link for link in links if not (page.parent / link).exists()}
    if page.parent.name == "how-to":
        gone |= {name for name in named if not (REPOSITORY / name).exists()}
    return gone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    assert not missing_targets(page)


def test_a_link_to_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "how-to" / "page.md"
    page.parent.mkdir()
    page.write_text("[a](gone.md) [b](page.md#there) `warpd/gone.py` `warpd/errors.py`")
    assert missing_targets(page) == {"gone.md", "warpd/gone.py"}


def first_cells(page: str, heading: str) -> Iterator[str]:
    """What stands in backticks in the first column of the tables of a section."""
    text = (REPOSITORY / "docs" / page).read_text().partition(f"\n{heading}\n")[2]
    section = re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0]
    for cell in re.findall(r"^\| (.*?) \|", section, re.MULTILINE):
        yield from re.findall(r"`([^`]+)`", cell)


def test_every_kind_of_event_has_a_row() -> None:
    assert set(first_cells("daemon.md", "## Events")) == set(EVENT_KINDS)


def test_every_message_of_the_log_is_one() -> None:
    sources = "".join(path.read_text() for path in (REPOSITORY / "warpd").rglob("*.py"))
    messages = list(first_cells("operators-guide.md", "### Messages of the log"))
    assert len(messages) > 20
    assert not [message for message in messages if f'"{message}' not in sources]


def test_every_option_of_the_daemon_is_told() -> None:
    text = (REPOSITORY / "docs" / "daemon.md").read_text()
    options = {option for option in options_of_daemon() if option.startswith("--")}
    assert options - set(re.findall(r"--[a-z-]+", text)) == {"--help", "--version"}


def test_a_wrong_one_is_found() -> None:
    assert what_is_wrong("warpd --event-bufer 1") and not what_is_wrong("warpd --event-buffer 9999")
    assert what_is_wrong("warpctl endpoint list --nevver") and what_is_wrong(
        "warpctl rotate corp/a"
    )
    assert not what_is_wrong("warpctl -c x.yaml plan --out p.json") and not what_is_wrong(
        "warpctl exec corp -- ip -br addr"
    )
