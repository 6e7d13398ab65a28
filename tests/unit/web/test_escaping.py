"""Hostile text on every page: a description stays a text, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.web.recorded import answers, replaced, serving
from tests.unit.web.visitor import TOKEN, Visitor
from warpd.web.sessions import form_token

PAGES = (
    "/",
    "/networks",
    "/networks/n-corp",
    "/networks/n-web",
    "/networks/n-sites",
    "/networks/n-campus",
    "/endpoints",
    "/endpoints/n-corp/lap?target=172.20.0.1&proto=tcp&port=443",
    "/plan",
    "/history",
    "/history/1",
    "/history/compare?from=1&to=2",
    "/events",
    "/system",
    "/access",
)
ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</title></svg><script>alert(1)</script>",
    "</textarea></pre></code><b>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;&#60;script&#62;",
    "\u202e\u0000\ufeff<!--",
    "]]><?xml ?><x>",
)


class Shape(HTMLParser):
    """The elements of a page with the names of their attributes, and all values of links."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def shape_of(html: str) -> Shape:
    found = Shape()
    found.feed(html)
    found.close()
    return found


class Gateway:
    """Pages of a gateway whose every free text is another one."""

    def __init__(self, documents: dict[str, Any], change: Callable[[Any], None], socket: Path):
        self.documents, self.change, self.visitor = documents, change, Visitor(socket)

    def page(self, path: str, text: str) -> Shape:
        self.change(replaced(self.documents, text))
        page = self.visitor.get(path)
        assert page.status == 200, page.text
        return shape_of(page.text)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    documents = answers(folder)
    with serving(folder / "sock", documents) as change:
        yield Gateway(documents, change, folder / "sock")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_free_text(gateway: Gateway, path: str) -> None:
    """The other tests here would find nothing on a page that shows none."""
    text = gateway.page(path, "benign").text
    assert "benign" in text and "built-in" not in text and "object at 0x" not in text


@pytest.mark.parametrize("path", PAGES)
def test_known_attacks_stay_text(gateway: Gateway, path: str) -> None:
    plain = gateway.page(path, "benign")
    for attack in ATTACKS:
        found = gateway.page(path, attack)
        assert found.elements == plain.elements, attack
        assert not [link for link in found.links if not link.startswith(("/", "#"))], attack


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.text(
        st.characters(
            blacklist_categories=["Cs"],
            blacklist_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
        ),
        min_size=1,
    ),
    path=st.sampled_from(PAGES),
)
def test_any_text_stays_text(gateway: Gateway, text: str, path: str) -> None:
    assert gateway.page(path, text).elements == gateway.page(path, "benign").elements


def test_forms_carry_the_token_of_their_session(gateway: Gateway) -> None:
    gateway.change(gateway.documents)
    for path in PAGES:
        html = gateway.visitor.get(path).text
        tokens = re.findall(r'name="form_token" value="([^"]*)"', html)
        assert tokens and set(tokens) == {form_token(TOKEN)}, path
