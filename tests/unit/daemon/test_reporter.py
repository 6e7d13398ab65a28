"""What is told of many things at once: bounded, and of the gateway as of each network."""

from __future__ import annotations

from typing import Any

import structlog

from warpd.daemon.clock import Clock
from warpd.daemon.event_buffer import LINES_BURST
from warpd.daemon.log import FairLines
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.reporter import CONTESTED_MAX, Reporter
from warpd.kernel.kinds.sysctl import Sysctl
from warpd.kernel.state import ROOT, Action, Change
from warpd.reconcile.plan import Step

GATEWAY = ""


def reporter(lines: list[dict[str, Any]], mailbox: Mailbox | None = None) -> Reporter:
    """Its log becomes these lines, and no time goes by."""

    def keep(_logger: Any, _method: str, line: Any) -> str:
        lines.append(dict(line))
        return ""

    processors: list[Any] = [FairLines(lambda: 0.0), keep]
    log: Any = structlog.wrap_logger(structlog.ReturnLogger(), processors)
    return Reporter(mailbox or Mailbox(), log, Clock())


def step_of(network: str, group: str) -> Step:
    change = Change(Action.CREATE, None, Sysctl(ROOT, "net/x", "1", owner=group))
    return Step(change, change.subject.key, group, network, (), "why")


def test_a_network_named_gateway_does_not_hide_the_lines_of_the_gateway() -> None:
    lines: list[dict[str, Any]] = []
    report = reporter(lines)
    for _ in range(int(LINES_BURST) + 50):
        report.step_done(step_of("gateway", "warp-1"))
    assert len(lines) == int(LINES_BURST)
    report.step_done(step_of(GATEWAY, ROOT))
    assert len(lines) == int(LINES_BURST) + 1
    assert (lines[-1]["network"], lines[-1]["vcid"]) == ("gateway", None)


def test_of_many_contested_objects_the_first_are_told_and_how_many_more() -> None:
    lines: list[dict[str, Any]] = []
    mailbox = Mailbox()
    report = reporter(lines, mailbox)
    report.objects_contested({f"root/x/{n}": f"net{n}" for n in range(CONTESTED_MAX + 3)})
    told = [event.fields for event in mailbox.events()]
    assert told == [{"object": f"root/x/{n}", "network": f"net{n}"} for n in range(CONTESTED_MAX)]
    assert [line["object"] for line in lines[:-1]] == [fields["object"] for fields in told]
    assert lines[-1]["more"] == 3


def test_of_few_contested_objects_each_is_told() -> None:
    lines: list[dict[str, Any]] = []
    reporter(lines).objects_contested({f"root/x/{n}": "a" for n in range(CONTESTED_MAX)})
    assert len(lines) == CONTESTED_MAX and not any("more" in line for line in lines)
