"""How the daemon looks at the kernel: when events are taken in, and how long a look takes.

What the planner remembers only saves work. Each look reads the gateway's own part, and a full
observation reads everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext

from warpd.daemon.clock import Clock
from warpd.daemon.scheduler import PassRequest
from warpd.kernel.api import Kernel
from warpd.kernel.state import Host, State
from warpd.reconcile.engine import PlannedRun, Target
from warpd.reconcile.incremental import IncrementalPlanner
from warpd.reconcile.observe import EVERYTHING, Scope

BeforeLook = Callable[[Collection[str] | None], None]


def take_no_events(_covered: Collection[str] | None) -> None:
    """For whoever listens to no events."""


class Observer:
    """Looks at the kernel for one target after another. For one thread.

    Attributes:
        seconds: how long the last look took.
    """

    def __init__(self, kernel: Kernel, clock: Clock, before_look: BeforeLook) -> None:
        """`before_look` takes in the events of the groups that a look covers; None: of all."""
        self._kernel, self._clock, self._before_look = kernel, clock, before_look
        self._planner = IncrementalPlanner(kernel)
        self._full: PlannedRun | None = None
        self.seconds = 0.0

    def forget(self) -> None:
        """Somebody else has changed the kernel for another target."""
        self._planner = IncrementalPlanner(self._kernel)

    @property
    def has_looked(self) -> bool:
        """Whether there is a look that later ones start from."""
        return self._planner.compiled is not None

    @property
    def wanted(self) -> State:
        """What should exist by the last look; nothing before any."""
        compiled = self._planner.compiled
        return compiled.state if compiled is not None else State()

    @property
    def host(self) -> Host | None:
        """The host as the last look showed it; None before any."""
        return self._planner.host

    def network_name(self, group: str) -> str:
        """The name of a group's network; the group itself where no look has shown one."""
        return self._planner.names.get(group, group)

    def take_full(self) -> PlannedRun | None:
        """The last full observation, handed out once."""
        full, self._full = self._full, None
        return full

    def look(self, target: Target, request: PassRequest) -> PlannedRun:
        """Observe the networks that the request asks for, those whose target changed and those that
        differ in the root, but not the paused ones. Then plan.

        Raises:
            DumpError: the kernel could not be read.
        """
        scope = EVERYTHING
        if self.has_looked:
            scope = Scope(request.groups, follow_root=True, paused=request.paused)
        return self._timed(scope, lambda: self._planner.plan(target, scope))

    def verify(self, target: Target, found: PlannedRun, request: PassRequest) -> PlannedRun:
        """Look again at what the plan of `found` has touched, and at what the root shows to differ.

        Events of the root that came meanwhile need no further look: this one sees what they were
        about.

        Raises:
            DumpError: the kernel could not be read.
        """
        touched = frozenset(step.group for step in found.plan.steps)
        scope = Scope(touched, follow_root=True, paused=request.paused - touched)
        return self._timed(scope, lambda: self._planner.plan(target, scope))

    def _timed(self, scope: Scope, look: Callable[[], PlannedRun]) -> PlannedRun:
        self._before_look(scope.groups)
        counters = nullcontext() if scope.is_everything else self._kernel.keeping_counters()
        began = self._clock.monotonic()
        with counters:
            found = look()
        self.seconds = self._clock.monotonic() - began
        if scope.is_everything:
            self._full = found
        return found
