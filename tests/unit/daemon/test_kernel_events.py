"""What the daemon still hears where the kernel gives it no events of one namespace."""

from __future__ import annotations

import errno

from tests.unit.daemon.simulation import SILENT_LOG
from warpd.daemon.clock import Clock
from warpd.daemon.kernel_events import KernelEvents
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.scheduler import GATHER_S, PassRequest, PassResult, Scheduler
from warpd.kernel.api import Event
from warpd.testing.fake_kernel import FakeKernel


class HalfDeaf(FakeKernel):
    """Hears all but one namespace."""

    def listen(self) -> None:
        super().listen()
        raise OSError(errno.ENONET, "warp-1: the kernel gave the namespace no id")

    @property
    def event_descriptors(self) -> tuple[int, ...]:
        return 5, 6


def test_the_sockets_that_work_are_waited_on() -> None:
    kernel, scheduler = HalfDeaf(), Scheduler(30.0, lambda: 0.5, 0.0)
    request = scheduler.due(0.0)
    assert request is not None
    scheduler.on_result(request, PassResult(), 0.0)
    clock = Clock(lambda: 0.0, lambda: 0.0)
    events = KernelEvents(kernel, scheduler, Mailbox(), SILENT_LOG, clock)
    events.listen()
    assert events.descriptors == (5, 6)
    kernel.report(Event("warp-2"))
    events.take_in(())
    assert scheduler.due(GATHER_S) == PassRequest(groups=frozenset({"warp-2"}))
