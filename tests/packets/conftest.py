"""Fixtures of the packet tests, and the table of counts at the end of the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .gateway import WIREGUARD, Gateway, wireguard_in_use
from .lan import INTERNET4, INTERNET6, ROUTED4, ROUTED6, Host, Lab
from .packet import new_ident
from .standing import Standing
from .tally import TALLY

ABOUT: dict[str, str] = {}


@pytest.fixture(scope="session", autouse=True)
def wireguard() -> str:
    """What the tunnels of this run are made of."""
    assert os.geteuid() == 0, (
        "the packet tests make namespaces: run them as root (tests/vm/lab does)"
    )
    host = Host("probe")
    try:
        found = wireguard_in_use(host)
    finally:
        host.stop()
    ABOUT["wireguard"] = f"{found} (gateway: {WIREGUARD}), kernel {os.uname().release}"
    return found


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory, wireguard: str) -> Iterator[Standing]:
    """The shared intent, applied, every client connected.

    Tests that use it change nothing there.
    """
    out = Standing(tmp_path_factory.mktemp("standing"))
    ABOUT["set-up"] = (
        f"apply after {out.applied_s:.1f} s, all clients connected after {out.ready_s:.1f} s"
    )
    yield out
    try:
        late = out.late()
        ABOUT["arrived in the end"] = f"{len(late)} forbidden probes of the shared intent"
        assert not late, "\n".join(late)
    finally:
        out.lab.stop()


@pytest.fixture(scope="session")
def listeners(standing: Standing) -> Standing:
    """Proof that somebody would hear in every place that must stay out of reach: the gateway
    reaches it.
    """
    gw = standing.lab.gw
    everywhere = (INTERNET4, INTERNET6, *ROUTED4, *ROUTED6)
    deaf = [
        a for a in everywhere if not (gw.udp(a, 7777, new_ident()) or gw.udp(a, 7777, new_ident()))
    ]
    assert not deaf, f"the lab is wrong: nobody listens at {deaf}"
    return standing


@pytest.fixture
def bench(tmp_path: Path, wireguard: str) -> Iterator[tuple[Lab, Gateway]]:
    """A lab of one's own, with three clients and a gateway that runs nothing yet."""
    lab = Lab(3)
    yield lab, Gateway(lab.gw, tmp_path)
    lab.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need root and a real kernel; the stock kernels run those of the shared
    intents.
    """
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.live)
            if {"standing", "printed"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.stock)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not TALLY.rows:
        return
    terminalreporter.section("packets")
    for name, text in sorted(ABOUT.items()):
        terminalreporter.write_line(f"{name}: {text}")
    for line in TALLY.table():
        terminalreporter.write_line(line)
    skipped = len(terminalreporter.stats.get("skipped", ()))
    terminalreporter.write_line(f"skipped tests: {skipped}")
