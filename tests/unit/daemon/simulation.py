"""A whole daemon on the kernel in memory, by a clock that the test turns.

    daemon = Simulation(tmp_path)
    daemon.write(web={...})        the YAML, as an editor writes it
    daemon.turn(60)                a minute goes by; every pass that falls due is made
    daemon.kernel                  what another program may change

Nothing sleeps: `turn` jumps from one moment at which something is due to the next. The parts are
those of the product, put together by the product (`serve.assemble`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from tests import world
from warpd.daemon.clock import Clock
from warpd.daemon.handlers import ANSWERS
from warpd.daemon.scheduler import PassRequest, PassResult
from warpd.daemon.serve import assemble
from warpd.kernel.api import Event, OperationError
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Change, DefaultRoute, KernelObject, Key
from warpd.service.workspace import Workspace
from warpd.testing.fake_kernel import PLAIN, FakeKernel

INTERVAL_S = 30.0
START_S = 1_800_000_000.0  # since the epoch
TURNS_MAX = 10_000
SILENT_LOG = structlog.wrap_logger(structlog.ReturnLogger(), [lambda *_line: ""])


class BrokenKernel(FakeKernel):
    """Refuses every change of the objects in `refused`, by group."""

    def __init__(self) -> None:
        super().__init__(replace(PLAIN, hops=(DefaultRoute(4, "eth0", "203.0.113.254"),)))
        self.refused: dict[str, OperationError] = {}

    def _one(self, change: Change) -> OperationError | None:
        fault = self.refused.get(change.subject.group)
        return replace(fault, key=change.subject.key) if fault is not None else super()._one(change)


class Simulation:
    def __init__(self, folder: Path) -> None:
        self.config, self.state = folder / "warp.yaml", folder / "state"
        self.kernel = BrokenKernel()
        self.now_s = self.behind_s = 0.0
        self.passes: list[tuple[PassRequest, PassResult]] = []
        self.start()

    def start(self) -> None:
        """A daemon that has just been started, on the files and the kernel as they are."""
        clock = Clock(lambda: self.now_s, lambda: START_S + self.now_s - self.behind_s)
        workspace = Workspace(self.config, self.state)
        parts = assemble(
            self.kernel,
            lambda: None,
            workspace,
            SILENT_LOG,
            INTERVAL_S,
            clock,
            lambda: 0.5,
            background=lambda work: work(),
        )
        self.workspace, self.reconciler, self.scheduler = (
            workspace,
            parts.reconciler,
            parts.scheduler,
        )
        self.mailbox, self.events, self.publisher = parts.mailbox, parts.events, parts.publisher
        self.events.listen()

    def write(self, gateway: dict[str, Any] | None = None, **networks: dict[str, Any]) -> None:
        """Replace the YAML by these networks, and let the daemon know."""
        document = {"version": 1, "gateway": gateway or {}, "networks": networks}
        self.write_text(json.dumps(document))

    def write_text(self, text: str) -> None:
        beside = self.config.with_name("new")
        beside.write_text(text)
        beside.rename(self.config)
        self.scheduler.files_touched(self.now_s)

    def turn(self, seconds: float = 1.0) -> None:
        """Let time go by, and make each pass when it falls due."""
        until_s = self.now_s + seconds
        for _ in range(TURNS_MAX):
            self.events.take_in(())
            if self.reconciler.desired.undo_due:
                self.scheduler.request_resync()
            if self.reconciler.desired.suspension_due:
                self.scheduler.on_events([ROOT], self.now_s)
            request = self.scheduler.due(self.now_s)
            if request is not None:
                self._make(request)
                continue
            end_s = self.reconciler.desired.suspensions.next_end
            wait_s = min(self.scheduler.wait_s(self.now_s), max(0.0, end_s - self.now_s))
            if self.now_s + wait_s > until_s:
                self.now_s = until_s
                return
            self.now_s += max(wait_s, 0.000_001)
        raise AssertionError(f"{TURNS_MAX} passes did not bring the clock to {until_s}")

    def _make(self, request: PassRequest) -> None:
        result = self.reconciler.run(request)
        self.passes.append((request, result))
        self.scheduler.on_result(request, result, self.now_s)
        self.publisher.pass_ended(result)

    def set_clock(self, since_epoch_s: float) -> None:
        """An operator sets the clock; the one that never goes back does not notice."""
        self.behind_s = START_S + self.now_s - since_epoch_s

    def ask(self, verb: str, **arguments: Any) -> Any:
        """What the loop answers to a request of the mailbox."""
        return ANSWERS[verb](self.reconciler, {"by": "anna (web)", **arguments})

    # -- another program

    def remove(self, key: Key) -> KernelObject:
        """Take an object out of the kernel, as another program would."""
        removed = self.kernel.objects.pop(key)
        self.kernel.report(Event(key.netns))
        return removed

    def replace(self, item: KernelObject) -> None:
        self.kernel.objects[item.key] = item
        self.kernel.report(Event(item.key.netns))

    # -- what is there

    def has(self, key: Key) -> bool:
        return key in self.kernel.objects

    @property
    def peers(self) -> set[str]:
        """Names of the endpoints that are in the kernel."""
        objects = self.kernel.objects.values()
        return {item.label for item in objects if isinstance(item, WireguardPeer)}

    def steps(self, since: int = 0) -> list[str]:
        """Objects that were changed by the passes from that number on."""
        events = [event for event in self.mailbox.events(since) if event.kind == "change"]
        return [str(event.fields["object"]) for event in events]

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The fields of the events of one kind."""
        return [dict(event.fields) for event in self.mailbox.events() if event.kind == kind]

    @property
    def conditions(self) -> set[str]:
        """Codes of what status, doctor, metrics, events and log say is wrong."""
        return {item.code for item in self.mailbox.stats.conditions}

    @property
    def shown(self) -> dict[str, Any]:
        """`daemon` of the status."""
        return self.publisher.daemon_json()


def two_networks() -> dict[str, dict[str, Any]]:
    return {"web": world.network(2), "corp": world.network(2, isolation="vrf")}
