"""What is done again for a change: only what the change touches, and what comes out is what doing
it all would give.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests import world
from tests.laws.test_section_laws import places
from warpd import naming
from warpd.allocation.model import Allocations
from warpd.errors import InvalidIntent
from warpd.intent.loader import load
from warpd.intent.model import Intent
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Host, RangeRoute
from warpd.keys.derivation import Keyring, Secret, public_key
from warpd.networks.compiler import Compiled
from warpd.reconcile.engine import Target, compile_target, converge
from warpd.reconcile.incremental import IncrementalPlanner, IncrementalReader, planned_run, replan
from warpd.reconcile.observe import EVERYTHING, Scope, observe
from warpd.service.history import History
from warpd.service.workspace import Workspace
from warpd.testing.fake_kernel import PLAIN, FakeKernel

TEXT = """\
version: 1
networks:
  a:
    type: l2-mesh
    endpoints: {x: {type: cpe}}
  b:
    type: secure-internet
    vlan_id: 7
"""
GATEWAY = {"pools": {"ports": "51820-51899"}}
EVERY = world.every_type("namespace") | world.every_type("vrf")


def intent(**changed: dict[str, Any]) -> Intent:
    return world.intent(GATEWAY, **(EVERY | changed))


def target(wanted: Intent, before: Target | None = None) -> Target:
    return world.target(wanted, before.allocations if before is not None else Allocations({}))


def compiled(wanted: Target, host: Host = PLAIN) -> Compiled:
    return compile_target(wanted, host)


class Compiler:
    """A compiler with a memory, and what it gave last."""

    def __init__(self) -> None:
        self._planner = IncrementalPlanner(FakeKernel())

    def __call__(self, wanted: Target, host: Host = PLAIN) -> Compiled:
        return self._planner.compile(wanted, host)


# ---- files


def test_a_network_that_reads_as_before_is_the_same_object(tmp_path: Path) -> None:
    file = tmp_path / "warp.yaml"
    file.write_text(TEXT.replace("vlan_id: 7", "mtu: 1400"))
    reader = IncrementalReader()
    first = reader.load(file)
    file.write_text(file.read_text().replace("  a:\n", "  # more\n  a:\n    mtu: 1380\n"))
    again, whole = reader.load(file), load(file)
    assert again.intent is not None and first.intent is not None
    assert again.intent == whole.intent
    assert again.intent.networks["b"] is first.intent.networks["b"]
    assert again.intent.networks["a"].mtu == 1380


def test_a_finding_stands_where_it_is_now(tmp_path: Path) -> None:
    file = tmp_path / "warp.yaml"
    file.write_text(TEXT.replace("vlan_id: 7", "mtu: 1400"))
    reader = IncrementalReader()
    reader.load(file)
    file.write_text("# two\n# lines\n" + TEXT.replace("vlan_id: 7", "vlan_id: x"))
    again, whole = reader.load(file), load(file)
    assert again.findings == whole.findings
    assert [(item.where.line, item.where.column) for item in again.findings if item.where] == [
        (10, 14)
    ]


def test_a_gateway_that_changes_is_read(tmp_path: Path) -> None:
    file = tmp_path / "warp.yaml"
    file.write_text(
        "version: 1\ngateway: {name: one}\n"
        + TEXT.partition("\n")[2].replace("    vlan_id: 7\n", "")
    )
    reader = IncrementalReader()
    reader.load(file)
    file.write_text(file.read_text().replace("name: one", "name: two"))
    again = reader.load(file)
    assert again.intent is not None and again.intent.gateway.name == "two"
    file.write_text(file.read_text().replace("gateway: {name: two}\n", ""))
    last = reader.load(file)
    assert last.intent is not None and last.intent.gateway.name is None


def test_a_file_of_the_folder_that_is_the_same_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "networks.d").mkdir()
    (tmp_path / "warp.yaml").write_text("version: 1\n")
    for name in ("a", "b"):
        (tmp_path / "networks.d" / f"{name}.yaml").write_text(
            f"networks:\n  {name}:\n    type: l2-mesh\n"
        )
    reader = IncrementalReader()
    first = reader.load(tmp_path)
    (tmp_path / "networks.d" / "a.yaml").write_text(
        "networks:\n  a:\n    type: l2-mesh\n    mtu: 1400\n"
    )
    again = reader.load(tmp_path)
    assert again.intent == load(tmp_path).intent and again.intent is not None
    assert again.sources[2] is first.sources[2]
    (tmp_path / "networks.d" / "b.yaml").unlink()
    assert list(reader.load(tmp_path).owners) == ["a"]


def test_a_network_that_moves_to_another_file_is_found_there(tmp_path: Path) -> None:
    (tmp_path / "networks.d").mkdir()
    (tmp_path / "warp.yaml").write_text("version: 1\n")
    one, other = tmp_path / "networks.d" / "a.yaml", tmp_path / "networks.d" / "b.yaml"
    one.write_text("networks:\n  n:\n    type: l2-mesh\n  m:\n    type: l2-mesh\n")
    reader = IncrementalReader()
    reader.load(tmp_path)
    one.write_text("networks:\n  m:\n    type: l2-mesh\n")
    other.write_text("networks:\n\n\n  n:\n    type: l2-mesh\n    vlan_id: x\n")
    found = reader.load(tmp_path).findings
    assert found == load(tmp_path).findings
    assert [(Path(item.where.file).name, item.where.line) for item in found if item.where] == [
        ("b.yaml", 6)
    ]


def test_after_a_broken_file_the_good_one_still_counts(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    workspace.config.write_text(TEXT.replace("    vlan_id: 7\n", ""))
    first = workspace.read()
    workspace.config.write_text("version: 1\nnetworks: {")
    with pytest.raises(InvalidIntent):
        workspace.read()
    workspace.config.write_text(TEXT.replace("vlan_id: 7", "mtu: 1400"))
    again = workspace.read()
    assert again.intent.networks["a"] is first.intent.networks["a"]
    value = again.loaded.sources[0].value
    whole = load(workspace.config).sources[0].value
    assert list(places(value)) == list(places(whole))


# ---- allocations and history


def test_allocations_that_are_the_same_are_the_same_object(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    workspace.config.write_text(TEXT.replace("    vlan_id: 7\n", ""))
    with workspace.store.writer("test"):
        workspace.commit(workspace.read())
    first = workspace.read().allocations
    workspace.config.write_text(
        workspace.config.read_text().replace("x: {type: cpe}", "x: {type: cpe}, y: {type: cpe}")
    )
    again = workspace.read().allocations
    assert again.networks["b"] is first.networks["b"]
    assert list(again.networks["a"].endpoints) == ["x", "y"]
    other = Workspace(workspace.config, tmp_path / "state")
    with other.store.writer("test"):
        other.commit(other.read())
    assert workspace.store.read_allocations() == other.store.read_allocations() == again


def test_an_entry_that_another_process_wrote_is_read(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "warp.yaml", tmp_path / "state")
    workspace.config.write_text(TEXT.replace("    vlan_id: 7\n", ""))
    mine, others = History(workspace), History(Workspace(workspace.config, tmp_path / "state"))
    with workspace.store.writer("test"):
        workspace.commit(workspace.read())
        first = mine.record(workspace.read(), "me")
        for name in workspace.store.documents("history"):
            workspace.store.remove_file(name)
        workspace.config.write_text(TEXT.replace("vlan_id: 7", "mtu: 1400"))
        second = others.record(workspace.read(), "another")
    assert first.number == second.number
    assert mine.in_force() == second


# ---- objects


def test_every_object_of_a_part_is_of_its_group() -> None:
    built = compiled(target(intent()))
    assert len(built.parts) == len(EVERY)
    for group, part in built.parts.items():
        assert {item.group for item in part.state} == {group}
        assert built.names[group] == part.inputs.name
    assert {item.group for item in built.shared} == {ROOT}
    assert len(built.state) == len(built.shared) + sum(
        len(part.state) for part in built.parts.values()
    )


@pytest.mark.parametrize("name", EVERY)
def test_only_the_network_that_changed_is_compiled_again(name: str) -> None:
    compiler, first = Compiler(), target(intent())
    before = compiler(first)
    body = EVERY[name] | {"rotation": 1}
    second = target(intent(**{name: body}), first)
    # what a second reading leaves as it was
    kept = {
        each: first.intent.networks[each]
        for each in first.intent.networks
        if each != name.replace("_", "-")
    }
    second = dataclasses.replace(
        second,
        intent=second.intent.model_copy(update={"networks": {**second.intent.networks, **kept}}),
    )
    after = compiler(second)
    mine = naming.namespace(second.allocations.networks[name.replace("_", "-")].vcid)
    assert after == compiled(second)
    assert [
        group for group, part in after.parts.items() if part is not before.parts.get(group)
    ] == [mine]
    assert after.changed_groups(before) == {mine}
    assert after.of([ROOT]).objects == after.shared.objects
    assert after.of([ROOT, mine]).objects == after.shared.objects | after.parts[mine].state.objects


USER = {"type": "mobile"}
FILE = "/etc/warpd/psk"
OWN = public_key(Secret(bytes([7]) * 32))


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        (USER, {**USER, "rotation": 1}, {}),
        (USER, {**USER, "public_key": OWN}, {}),
        ({**USER, "public_key": OWN}, USER, {}),
        (USER, {**USER, "preshared_key": False}, {}),
        (USER, {**USER, "preshared_key_file": FILE}, {}),
        ({**USER, "preshared_key_file": FILE}, USER, {}),
        (USER, {**USER, "enabled": False}, {}),
        ({**USER, "enabled": False}, USER, {}),
        (USER, {**USER, "expires": "2020-01-01"}, {}),
        (USER, {**USER, "keepalive": 25}, {}),
        (USER, {**USER, "renamed_from": "gone"}, {}),
        (USER, None, {}),
        (USER, USER, {"vcid": 11112222}),
        (USER, USER, {"rotation": 4}),
    ],
)
def test_keys_that_are_still_the_same_are_not_derived_again(
    before: dict[str, Any], after: dict[str, Any] | None, fields: dict[str, Any]
) -> None:
    def read(each: dict[str, Any] | None, last: Target | None, **fields: Any) -> Target:
        ends = {
            "beside": USER,
            **({"it": each} if each is not None else {}),
            **({} if last is not None else {"gone": USER}),
        }
        wanted = target(
            world.intent(
                GATEWAY,
                n={"type": "secure-internet", "expected_users": 6, "endpoints": ends, **fields},
            ),
            last,
        )
        return dataclasses.replace(
            wanted, master=Keyring(world.MASTER, {FILE: Secret(bytes(range(32)))})
        )

    first = read(before, None)
    second = read(after, first, **fields)
    compiler = Compiler()
    last = compiler(first)
    built = compiler(second)
    assert built == compiled(second)
    peers = {part.label: part for part in built.state if isinstance(part, WireguardPeer)}
    assert set(peers) == {
        part.label for part in compiled(second).state if isinstance(part, WireguardPeer)
    }
    was = next(
        part for part in last.state if isinstance(part, WireguardPeer) and part.label == "beside"
    )
    assert (peers["beside"].public_key is was.public_key) == ("vcid" not in fields)


def test_the_name_that_keys_go_by_counts() -> None:
    first = target(
        world.intent(
            GATEWAY, n={"type": "secure-internet", "expected_users": 6, "endpoints": {"it": USER}}
        )
    )
    had = first.allocations.networks["n"]
    endpoints = {"it": dataclasses.replace(had.endpoints["it"], key_name="former")}
    second = dataclasses.replace(
        first, allocations=Allocations({"n": dataclasses.replace(had, endpoints=endpoints)})
    )
    compiler = Compiler()
    assert compiler(first) != compiler(second) == compiled(second)


def test_another_key_in_the_same_file_counts() -> None:
    networks = {
        "n": {
            "type": "secure-internet",
            "expected_users": 6,
            "endpoints": {"it": {**USER, "preshared_key_file": FILE}},
        }
    }
    first = target(world.intent(GATEWAY, **networks))
    first, second = (
        dataclasses.replace(first, master=Keyring(world.MASTER, {FILE: Secret(bytes([n]) * 32)}))
        for n in (1, 2)
    )
    compiler = Compiler()
    assert compiler(first) != compiler(second) == compiled(second)


def test_all_that_a_network_depends_on_counts() -> None:
    first = target(intent())
    compiler = Compiler()
    before = compiler(first)
    assert all(part is before.parts[group] for group, part in compiler(first).parts.items())
    others = {
        "the host": (first, dataclasses.replace(PLAIN, uplink_mtu=1400)),
        "the secret": (
            dataclasses.replace(first, master=type(first.master)(bytes(range(1, 33)))),
            PLAIN,
        ),
        "the gateway": (
            dataclasses.replace(first, intent=world.intent({**GATEWAY, "rotation": 3}, **EVERY)),
            PLAIN,
        ),
    }
    for what, (wanted, host) in others.items():
        before, after = compiler(first), compiler(wanted, host)
        assert not any(part is before.parts[group] for group, part in after.parts.items()), what
    renamed = target(intent(), first)
    networks = {**renamed.intent.networks}
    networks["other"] = networks.pop("n-web")
    allocations = {**renamed.allocations.networks}
    allocations["other"] = allocations.pop("n-web")
    moved = dataclasses.replace(
        renamed,
        intent=renamed.intent.model_copy(update={"networks": networks}),
        allocations=Allocations(allocations),
    )
    assert compiler(moved) == compiled(moved)  # the name stands in the alias of each device


def test_a_way_to_a_range_counts_only_for_networks_that_reach_it() -> None:
    mine = {"type": "remote-resource-gateway", "resources": [{"subnet": "10.66.0.0/16"}]}
    first = target(intent(mine=mine))
    compiler = Compiler()
    before = compiler(first)
    range_routes = (RangeRoute("10.66.0.0/16", ("lan0",), "lan0"),)
    host = dataclasses.replace(PLAIN, range_routes=range_routes)
    after = compiler(first, host)
    assert after == compiled(first, host)
    changed = [name for name, part in after.parts.items() if part is not before.parts[name]]
    assert changed == [naming.namespace(first.allocations.networks["mine"].vcid)]


def test_a_new_day_compiles_only_networks_with_an_endpoint_that_expires() -> None:
    ends = {"it": {**USER, "expires": "2031-01-01"}}
    networks = {
        "dated": {"type": "secure-internet", "expected_users": 6, "endpoints": ends},
        "plain": {"type": "secure-internet", "expected_users": 6, "endpoints": {"it": USER}},
    }
    first = target(world.intent(GATEWAY, **networks))
    compiler = Compiler()
    days = [date(2030, 12, 30), date(2030, 12, 31), date(2031, 1, 1)]
    states = [compiler(dataclasses.replace(first, today=day)) for day in days]

    def rebuilt(before: Compiled, after: Compiled) -> list[str]:
        new = [part for group, part in after.parts.items() if part is not before.parts[group]]
        return [part.inputs.name for part in new]

    assert rebuilt(states[0], states[1]) == []
    assert rebuilt(states[1], states[2]) == ["dated"]
    assert states[2] == compiled(dataclasses.replace(first, today=days[2]))


def test_a_network_that_goes_or_comes_has_moved() -> None:
    first = target(intent())
    before = compiled(first)
    without = {name: body for name, body in EVERY.items() if name != "v_sites"}
    second = dataclasses.replace(first, intent=world.intent(GATEWAY, **without))
    compiler = Compiler()
    compiler(first)
    after = compiler(second)
    gone = naming.namespace(first.allocations.networks["v-sites"].vcid)
    assert after == compiled(second)
    assert (
        after.changed_groups(before) == {gone, ROOT} == before.changed_groups(after)
    )  # the gateway's guard names every network's ranges


@pytest.mark.parametrize("groups", [(), None])
def test_a_look_ahead_plans_what_a_full_look_would(groups: tuple[str, ...] | None) -> None:
    kernel, first = FakeKernel(), target(intent())
    begin = planned_run(kernel, first)
    assert converge(kernel, lambda: replan(kernel, first, begin), begin).complete
    planner = IncrementalPlanner(kernel)
    planner.plan(first)
    networks = EVERY | {
        "n_web": EVERY["n_web"] | {"nat": False},
        "v_corp": {**EVERY["v_corp"], "enabled": False},
    }
    second = target(world.intent(GATEWAY, **networks), first)
    scope = EVERYTHING if groups is None else Scope.of(groups)
    ahead, full = planner.plan(second, scope), planned_run(kernel, second)
    assert ahead.plan.steps == full.plan.steps and ahead.plan.steps
    assert converge(kernel, lambda: replan(kernel, second, ahead), ahead).complete
    assert planned_run(kernel, second).plan.empty


HELD = """
import gc, sys
from pathlib import Path
from warpd.networks.compiler import compile_state
from warpd.testing.fake_kernel import PLAIN
from warpd.service.workspace import Workspace

def kib():
    gc.collect()
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])

workspace = Workspace(Path(sys.argv[1]), Path(sys.argv[2]))
before = kib()
read = workspace.read()
target = workspace.commit(read)
compiled = compile_state(target.intent, target.allocations, target.master, PLAIN, target.today)
print((kib() - before) / sum(len(each.endpoints) for each in read.intent.networks.values()))
"""


def test_what_is_held_of_an_endpoint(tmp_path: Path) -> None:
    """From the YAML to what is wanted, in KiB of the process: at 100 networks of 1,000 each of them
    counts 100 MiB.
    """
    lines = ["version: 1", "gateway: {pools: {ports: 20000-20999}}", "networks:"]
    for number in range(10):
        lines += [
            f"  n{number}:",
            "    type: secure-internet",
            "    expected_users: 1000",
            "    endpoints:",
        ]
        lines += [f"      phone-{each}: {{type: mobile}}" for each in range(1000)]
    (tmp_path / "warp.yaml").write_text("\n".join([*lines, ""]))
    words = [sys.executable, "-c", HELD, str(tmp_path / "warp.yaml"), str(tmp_path / "state")]
    held_kib = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert 0.5 < held_kib < 2.6  # 1.7 when this was written, 4.0 before trees were let go


def test_peers_that_are_as_wanted_are_not_held_twice() -> None:
    kernel, wanted = FakeKernel(), target(intent())
    converge(kernel, lambda: planned_run(kernel, wanted), planned_run(kernel, wanted))
    other = target(intent())  # equal, with objects of its own: those in the kernel are `wanted`'s
    planner = IncrementalPlanner(kernel)
    first = planner.plan(other)
    again = planner.plan(other)
    peers = [key for key in again.compiled.state.objects if key.kind == "peer"]
    assert peers
    assert not any(kernel.objects[key] is again.compiled.state.get(key) for key in peers)
    for found in (first, again):
        assert all(found.observed.state.get(key) is found.compiled.state.get(key) for key in peers)
    assert again.observed.state == first.observed.state == observe(kernel).state
