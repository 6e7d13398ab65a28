"""The gateway's guard is never without its guarded interfaces, and never goes while something else
could not.
"""

from __future__ import annotations

from tests import world
from warpd.kernel.api import FailureKind, OperationError
from warpd.kernel.kinds.link import Veth
from warpd.kernel.kinds.nft_table import FAMILY, NftTable
from warpd.kernel.nftables.commands import change_table, create_table
from warpd.kernel.state import Action, Change, Key
from warpd.reconcile.engine import apply, removal
from warpd.reconcile.incremental import planned_run
from warpd.testing.fake_kernel import FakeKernel

TARGET = world.target(world.intent(a=world.network(2), b=world.network(2)))
TABLE = Key(NftTable.KIND, "", "warpd")


def root_table() -> NftTable:
    table = planned_run(FakeKernel(), TARGET).compiled.state.get(TABLE)
    assert isinstance(table, NftTable)
    return table


def test_guarded_interfaces_come_in_the_tables_own_transaction() -> None:
    table = root_table()
    assert len(table.guarded_ifaces) == 2
    last = create_table(table)[-1]["add"]["element"]
    assert (last["family"], last["name"], sorted(last["elem"])) == (
        FAMILY,
        "guarded_ifaces",
        sorted(table.guarded_ifaces),
    )


def test_a_table_made_anew_has_them_too() -> None:
    table = root_table()
    chains = tuple(
        c if c.hook is None else type(c)(c.name, c.rules, c.hook, c.type, c.priority, "accept ")
        for c in table.chains
    )
    commands = change_table(NftTable("", table.sets, table.counters, chains), table)
    assert list(commands[0]) == ["delete"]
    assert commands[-1]["add"]["element"]["name"] == "guarded_ifaces"


class Stubborn(FakeKernel):
    """Links cannot be removed."""

    def _one(self, change: Change) -> OperationError | None:
        if change.action is Action.DELETE and isinstance(change.subject, Veth):
            return OperationError(
                FailureKind.REFUSED, "delete", change.subject.key, 16, "Device or resource busy"
            )
        return super()._one(change)


def test_the_guard_stays_while_a_guarded_interface_stands() -> None:
    kernel = Stubborn()
    apply(kernel, planned_run(kernel, TARGET).plan.steps)
    outcome = apply(kernel, removal(kernel).plan.steps)
    assert outcome.failed
    assert TABLE in kernel.objects
    assert (
        Key("nft-elements", "", f"guarded_ifaces {root_table().guarded_ifaces[0]}")
        in kernel.objects
    )
