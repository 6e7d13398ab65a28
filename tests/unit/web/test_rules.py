"""Rules of the dashboard that hold for all of its pages, and for its process.

The list of rules is docs/security-rules.md.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.web.recorded import answers, serving
from tests.unit.web.test_escaping import PAGES
from tests.unit.web.visitor import ORIGIN, Visitor
from warpd.web.app import make_application
from warpd.web.main import configuration
from warpd.web.options import parse_options

REPOSITORY = Path(__file__).parents[3]
SOURCES = sorted((REPOSITORY / "warpd" / "web").rglob("*.py"))
# What is no name of a network or an endpoint, as a path may hold it.
NO_NAMES = ("..", "%2e%2e", "a%2fb", "tokens#", "x y", "ä", "a;b", "A", "-a", "a" * 64, "a\r\nx: y")
OF_THE_PAGE = {"/v1/session", "/v1/daemon"}  # what every page asks for, about who asks


class Recorded:
    """Pages before recorded answers, and which paths they ask the daemon for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()
        self.visitor = Visitor(folder / "sock")

    def heard(self, path: str, _headers: object) -> None:
        self.asked.append(path)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    made = Recorded(tmp_path_factory.mktemp("recorded"))
    with serving(made.folder / "sock", answers(made.folder), made.heard):
        yield made


def routes() -> list[str]:
    application: Any = make_application(Path("/nowhere"), {ORIGIN}, lambda *_: None).application
    return [route.path for route in application.routes]


def test_what_is_no_name_is_never_asked_for(recorded: Recorded) -> None:
    """A part of a path goes into a path of the daemon only where it is a name."""
    named = [route for route in routes() if "{network}" in route]
    assert len(named) >= 3
    for route in named:
        for name in NO_NAMES:
            for place in ("{network}", "{endpoint}"):
                path = re.sub(r"\{\w+\}", "n-corp", route.replace(place, name, 1))
                if name not in path:
                    continue
                recorded.asked.clear()
                status = recorded.visitor.get(path).status
                assert status in (404, 405), path
                assert set(recorded.asked) <= {*OF_THE_PAGE, "/v1/networks/n-corp"}, path


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_when_the_kernel_was_looked_at(recorded: Recorded, path: str) -> None:
    page = recorded.visitor.get(path)
    assert re.search(r'<time id="looked" data-age="[^"]+" datetime="2[^"]+">', page.text)


def test_no_redirect_leads_where_a_request_says(tmp_path: Path) -> None:
    """Neither by a parameter that others take for that, nor by a path."""
    visitor = Visitor(tmp_path / "none", token="")
    queries = [f"{name}=https://evil.example.com" for name in ("next", "url", "return", "to", "r")]
    for route in routes():
        path = re.sub(r"\{\w+(:int)?\}", "1", route)
        leads = visitor.get(f"{path}?{'&'.join(queries)}").headers.get("location", "/login")
        assert leads == "/login", path
    for path in ("//evil.example.com", "/\\evil.example.com", "/https://evil.example.com"):
        assert "location" not in visitor.get(path).headers


def constants(module: ast.Module) -> dict[str, ast.expr]:
    """What the module's own names stand for."""
    given = [node for node in module.body if isinstance(node, ast.AnnAssign) and node.value]
    return {node.target.id: node.value for node in given if isinstance(node.target, ast.Name)}


def test_redirects_are_written_down_as_paths_of_ours() -> None:
    """Each is a constant, or begins with one that names a page."""
    seen = 0
    for source in SOURCES:
        module = ast.parse(source.read_text())
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "see_other":
                continue
            target = node.args[0]
            target = constants(module).get(getattr(target, "id", ""), target)
            first = target.values[0] if isinstance(target, ast.JoinedStr) else target
            assert isinstance(first, ast.Constant), f"{source}:{node.lineno}"
            assert re.match(r"/([a-z]|$)", first.value), f"{source}:{node.lineno}"
            seen += 1
    assert seen > 5


def test_one_redirect_leads_elsewhere() -> None:
    """To the provider by which people sign in: the daemon says where that is."""
    calls = [
        getattr(node.func, "id", getattr(node.func, "attr", ""))
        for source in SOURCES
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call)
    ]
    assert calls.count("to_provider") == 1
    assert calls.count("RedirectResponse") == 2, "of see_other and of to_provider"


def test_the_dashboard_starts_no_program() -> None:
    """Nothing of it can run a command, whatever a field holds."""
    modules = {"subprocess", "pty", "multiprocessing", "shlex", "runpy"}
    calls = {"popen", "system", "create_subprocess_exec", "create_subprocess_shell", "fork"}
    assert len(SOURCES) > 15
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            names = {getattr(node, "attr", "")} & calls
            names |= {getattr(node, "id", "")} & {"eval", "exec"}
            if isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.name.partition(".")[0] for alias in node.names} & modules
                names |= {getattr(node, "module", None) or ""} & modules
            assert not names, f"{source}:{getattr(node, 'lineno', 0)}"


def test_bodies_are_forms_and_files_come_whole(tmp_path: Path) -> None:
    """Neither a parser of multipart bodies nor ranges of files are there to be attacked."""
    loaded = "import sys, warpd.web.main; print([n for n in sys.modules if 'multipart' in n])"
    command = [sys.executable, "-c", loaded]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"
    visitor = Visitor(tmp_path / "none", token="")
    plain = visitor.get("/static/style.css")
    ranged = visitor.get("/static/style.css", range="bytes=0-1,5-9")
    assert (ranged.status, ranged.text) == (200, plain.text)


def test_how_it_is_served() -> None:
    """No websocket, no word of a proxy is believed, no log of paths, on loopback."""
    served = configuration(parse_options(["--origin", "https://localhost:8443"], {}))
    assert (served.ws, served.proxy_headers, served.access_log) == ("none", False, False)
    assert (served.host, served.port) == ("127.0.0.1", 8443)


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (REPOSITORY / "systemd" / unit).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_its_unit_leaves_it_nothing() -> None:
    unit = settings("warpd-web.service")
    assert unit["User"] == unit["Group"] == ["warpd-web"] and "SupplementaryGroups" not in unit
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX"] and unit["PrivateNetwork"] == ["yes"]
    assert unit["NoNewPrivileges"] == ["yes"] and unit["ProtectSystem"] == ["strict"]
    assert unit["ProtectProc"] == ["invisible"] and unit["MemoryMax"] == ["96M"]
    assert unit["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
    assert {"-/etc/warpd", "-/var/lib/warpd"} <= set(unit["InaccessiblePaths"][0].split())
    socket = settings("warpd-web.socket")
    assert socket["ListenStream"] == ["127.0.0.1:8443"]


def test_the_daemon_does_not_depend_on_it() -> None:
    """Whatever becomes of the dashboard, systemd does nothing to the daemon."""
    daemon = settings("warpd.service")
    for name in ("Requires", "BindsTo", "PartOf", "Wants", "After"):
        assert "warpd-web" not in " ".join(daemon.get(name, []))
    web = settings("warpd-web.service")
    assert not {"PropagatesStopTo", "Conflicts", "OnFailure", "PropagatesReloadTo"} & web.keys()
