"""Allocations are for life: through a thousand histories of edits nobody moves without need, and
nobody inherits too soon.

A history is a gateway's life: endpoints and networks are added, removed, renamed, enlarged,
shuffled and moved between files, with hours between; after each step the YAML is written, read by
the product, allocated, stored and locked.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests import world
from warpd.allocation.allocator import allocate
from warpd.allocation.lockfile import lock_text, read_lock
from warpd.allocation.lockfile_checks import behind, contradictions
from warpd.allocation.model import Allocations, NetworkAllocation
from warpd.allocation.state_json import from_json, to_json
from warpd.intent.capacity import expected_users, prefix_for
from warpd.intent.loader import load
from warpd.intent.model import Intent
from warpd.networks.peer_keys import public_key_of
from warpd.yamlfile.writer import document

HISTORIES = 1000
STEPS = 12
HOUR_S = 3600
DAY_S = 24 * HOUR_S
TYPES = ("secure-internet", "l3vpn-gateway", "l2-mesh")
NAMES = tuple(f"n{number}" for number in range(8))
ENDS = tuple(f"e{number}" for number in range(9))

World = dict[str, dict[str, Any]]


def test_a_thousand_histories(tmp_path: Path) -> None:
    tally = {"moved without need": 0, "reused in quarantine": 0, "locks that do not load": 0}
    steps = refused = 0
    for seed in range(HISTORIES):
        life = Life(random.Random(seed), tmp_path, files=seed % 20 == 0)
        for _ in range(STEPS):
            life.edit()
            steps += life.step(tally)
            refused += life.refused
    print(
        f"{HISTORIES} histories, {steps} steps, {refused} refused because everything left was"
        " resting"
    )
    print(", ".join(f"{what}: {count}" for what, count in tally.items()))
    assert steps > HISTORIES * STEPS * 0.9
    assert tally == dict.fromkeys(tally, 0)


class Life:
    """One gateway: its YAML, its allocations, and who last had what, kept apart from the product's
    own records.
    """

    def __init__(self, order: random.Random, folder: Path, files: bool) -> None:
        self.order, self.folder, self.files = order, folder, files
        self.world: World = {"n0": self.network()}
        self.before: World = {}
        self.allocations = Allocations()
        self.now = 1_800_000_000
        self.renames: dict[tuple[str, str], tuple[str, str]] = {}
        self.last: dict[
            tuple[str, str], tuple[str, int]
        ] = {}  # (what, value) -> owner's first name, when last seen
        self.owners: dict[
            tuple[str, str], str
        ] = {}  # (network, endpoint) -> an identity that renames keep
        self.born = 0
        self.refused = 0

    def network(self) -> dict[str, Any]:
        kind = self.order.choice(TYPES)
        ends = self.order.sample(ENDS, self.order.randint(0, 4))
        return {
            "type": kind,
            "expected_users": 12,
            "endpoints": {end: {"type": "cpe"} for end in ends},
        }

    # the edits

    def edit(self) -> None:
        self.before = {
            name: {**body, "endpoints": dict(body["endpoints"])}
            for name, body in self.world.items()
        }
        self.renames = {}
        self.now += self.order.choice((0, HOUR_S, 5 * HOUR_S, 30 * HOUR_S))
        for body in (
            self.world.values()
        ):  # a successor's line may stay for good or go: both must change nothing
            body.pop("renamed_from", None)
            for end in body["endpoints"].values():
                if self.order.random() < 0.5:
                    end.pop("renamed_from", None)
        for _ in range(self.order.randint(1, 3)):
            self.order.choice(
                (
                    self.add,
                    self.remove,
                    self.add_network,
                    self.remove_network,
                    self.rename,
                    self.rename_network,
                    self.enlarge,
                    self.shuffle,
                )
            )()
        self.drop_idle_successors()

    def some(self) -> str | None:
        return self.order.choice(sorted(self.world)) if self.world else None

    def add(self) -> None:
        name = self.some()
        if name and len(self.world[name]["endpoints"]) < self.world[name]["expected_users"]:
            self.world[name]["endpoints"].setdefault(self.order.choice(ENDS), {"type": "cpe"})

    def remove(self) -> None:
        name = self.some()
        if name and self.world[name]["endpoints"]:
            self.world[name]["endpoints"].pop(
                self.order.choice(sorted(self.world[name]["endpoints"]))
            )

    def add_network(self) -> None:
        self.world.setdefault(self.order.choice(NAMES), self.network())

    def remove_network(self) -> None:
        name = self.some()
        if name and len(self.world) > 1:
            self.world.pop(name)

    def rename(self) -> None:
        """Of endpoints that were there before this edit; one new name at a time."""
        name = self.some()
        if name is None or name not in self.before or any(one[0] == name for one in self.renames):
            return
        ends = self.world[name]["endpoints"]
        old = sorted(set(ends) & set(self.before[name]["endpoints"]))
        new = sorted(set(ENDS) - set(ends) - set(self.before[name]["endpoints"]))
        if old and new:
            was, now = self.order.choice(old), self.order.choice(new)
            ends.pop(was)
            ends[now] = {"type": "cpe", "renamed_from": was}
            self.renames[name, now] = (name, was)

    def rename_network(self) -> None:
        name = self.some()
        new = sorted(set(NAMES) - set(self.world) - set(self.before))
        if name in self.before and new and not self.renames and name is not None:
            now = self.order.choice(new)
            self.world[now] = {**self.world.pop(name), "renamed_from": name}
            self.renames[now, ""] = (name, "")

    def enlarge(self) -> None:
        name = self.some()
        if name:
            self.world[name]["expected_users"] = min(60, self.world[name]["expected_users"] * 2)

    def shuffle(self) -> None:
        names = self.order.sample(sorted(self.world), len(self.world))
        self.world = {name: self.world[name] for name in names}

    def drop_idle_successors(self) -> None:
        """`renamed_from` of a name that is there again would be an error, and so would two of one
        name.
        """
        for name, body in self.world.items():
            if body.get("renamed_from") in self.world:
                body.pop("renamed_from")
                self.renames.pop((name, ""), None)
            seen = set()
            for each, end in body["endpoints"].items():
                before = end.get("renamed_from")
                if before is not None and (before in body["endpoints"] or before in seen):
                    end.pop("renamed_from")
                    self.renames.pop((name, each), None)
                seen.add(before)
        firsts = [
            body.get("renamed_from") for body in self.world.values() if "renamed_from" in body
        ]
        assert len(firsts) == len(set(firsts))

    # the product, and the judgement

    def step(self, tally: dict[str, int]) -> int:
        intent = self.intent()
        new, findings = allocate(intent, self.allocations, self.now)
        errors = [item for item in findings if item.is_error]
        self.refused = bool(errors)
        if errors:
            assert {item.code for item in errors} == {"quarantined"}, errors
            self.world = self.before
            return 0
        moved = {item.path.split(".")[1] for item in findings if item.code == "subnet-moves"}
        tally["moved without need"] += self.moves(intent, new, moved)
        tally["reused in quarantine"] += self.reuses(new)
        tally["locks that do not load"] += not self.lock_is_sound(intent, new)
        assert from_json(to_json(new)) == new
        self.allocations = new
        return 1

    def intent(self) -> Intent:
        body = {"version": 1, "gateway": {"pools": {"ports": "51820-51839"}}}
        if not self.files:
            return Intent.model_validate({**body, "networks": self.world})
        apart = self.folder / "networks.d"
        apart.mkdir(exist_ok=True)
        here = {name: one for name, one in self.world.items() if self.order.random() < 0.5}
        (self.folder / "warp.yaml").write_text(document({**body, "networks": here}))
        (apart / "more.yaml").write_text(
            document({"networks": {n: one for n, one in self.world.items() if n not in here}})
        )
        loaded = load(self.folder / "warp.yaml")
        assert loaded.intent is not None, loaded.findings
        return loaded.intent

    def moves(self, intent: Intent, new: Allocations, excused: set[str]) -> int:
        count = 0
        for name, has in new.networks.items():
            was = self.renames.get((name, ""), (name, ""))[0]
            had = self.allocations.networks.get(was)
            if had is None:
                continue
            fields = ["vcid", "port", "routing_table", "transit", "subnet6", "gateway_address6"]
            if (
                had.vlan and has.vlan
            ):  # a name that is there again with another type has none, or needs one
                fields.append("vlan")
            count += sum(getattr(had, field) != getattr(has, field) for field in fields)
            grew = prefix_for(expected_users(intent.networks[name])) < had.subnet.prefixlen
            count += not (
                had.subnet == has.subnet
                or (grew and (had.subnet.subnet_of(has.subnet) or name in excused))
            )
            count += self.addresses_moved(intent, name, had, has)
        return count

    def addresses_moved(
        self, intent: Intent, name: str, had: NetworkAllocation, has: NetworkAllocation
    ) -> int:
        count = 0
        for each, one in has.endpoints.items():
            before = self.renames.get((name, each), (name, each))[1]
            old = had.endpoints.get(before)
            if old is None:
                continue
            kept = had.subnet.subnet_of(has.subnet)
            count += kept and old.address != one.address
            count += old.address6 != one.address6
            count += bool(had.vlan and has.vlan) and (old.leg, old.vni) != (one.leg, one.vni)
            count += (old.key_name or before) != (one.key_name or each)
        return count

    def reuses(self, new: Allocations) -> int:
        """An owner is one identity through all its names; what another one had less than a day ago
        is too soon.
        """
        count = 0
        owners = {}
        for name, has in new.networks.items():
            was = self.renames.get((name, ""), (name, ""))[0]
            me = owners[name, ""] = self.owners.get((was, ""), f"network {name}")
            for each in has.endpoints:
                old = (was, self.renames.get((name, each), (name, each))[1])
                owners[name, each] = self.owners.get(old, f"{me}/{each}")
            for what in ("vcid", "routing_table", "transit", "subnet6"):
                count += self.see(what, str(getattr(has, what)), me)
            for each, one in has.endpoints.items():
                mine = owners[name, each]
                for what, value in (
                    ("address", one.address),
                    ("address6", one.address6),
                    ("vni", one.vni),
                ):
                    count += self.see(
                        f"{has.vcid} {what}" if what != "vni" else what, str(value or ""), mine
                    )
                count += self.see("key", f"{has.vcid}/{one.key_name or each}", mine)
        now_called = {old[0]: new[0] for new, old in self.renames.items() if not new[1]}
        gone = {
            key: owner for key, owner in self.owners.items() if key not in self.renames.values()
        }
        self.owners = {
            **{(now_called.get(name, name), each): one for (name, each), one in gone.items()},
            **owners,
        }
        return count

    def see(self, what: str, value: str, owner: str) -> bool:
        if not value:
            return False
        had, seen = self.last.get((what, value), (owner, 0))
        self.last[what, value] = (owner, self.now)
        return had != owner and self.now < seen + DAY_S

    def lock_is_sound(self, intent: Intent, new: Allocations) -> bool:
        path = self.folder / "warp.lock.yaml"
        path.write_text(lock_text(new))
        lock = read_lock(path)
        return (
            lock is not None
            and lock.allocations == new
            and not lock.findings
            and not list(contradictions(lock, intent))
            and not list(behind(lock, new))
        )


def test_the_checks_of_this_law_detect_violations(tmp_path: Path) -> None:
    """With quarantine turned off, numbers are reused, and the same check counts them."""
    tally = {"moved without need": 0, "reused in quarantine": 0, "locks that do not load": 0}
    for seed in range(30):
        life = Life(random.Random(seed), tmp_path, files=False)
        plain = life.intent
        life.intent = lambda plain=plain: _without_quarantine(plain())  # type: ignore[method-assign]
        for _ in range(STEPS):
            life.edit()
            life.step(tally)
    print(f"without quarantine: {tally['reused in quarantine']} reused")
    assert tally["reused in quarantine"] > 0


def _without_quarantine(intent: Intent) -> Intent:
    return intent.model_copy(
        update={"gateway": intent.gateway.model_copy(update={"quarantine": "0s"})}
    )


@pytest.mark.parametrize("count", [40])
def test_a_gateway_rebuilt_from_yaml_and_lock_is_the_same(tmp_path: Path, count: int) -> None:
    """On a fresh state folder: every allocation and every key.

    Without the lock: as many as the names alone decide.
    """
    alike = without = every = 0
    for seed in range(count):
        life = Life(random.Random(seed), tmp_path, files=False)
        tally = dict.fromkeys(
            ("moved without need", "reused in quarantine", "locks that do not load"), 0
        )
        for _ in range(STEPS):
            life.edit()
            life.step(tally)
        intent = life.intent()
        lock = read_lock(_written(tmp_path, life.allocations))
        assert lock is not None
        locked, findings = allocate(intent, Allocations(), life.now, lock.allocations)
        assert findings == () and to_json(locked) == to_json(life.allocations)
        bare, _ = allocate(intent, Allocations(), life.now)
        theirs, ours, plain = (
            _facts(intent, allocations) for allocations in (life.allocations, locked, bare)
        )
        every += len(theirs)
        alike += len(theirs & ours)
        without += len(theirs & plain)
    print(f"rebuilt: {alike} of {every} allocations and keys with the lock, {without} without")
    assert alike == every > without


def _written(folder: Path, allocations: Allocations) -> Path:
    path = folder / "warp.lock.yaml"
    path.write_text(lock_text(allocations))
    return path


def _facts(intent: Intent, allocations: Allocations) -> set[tuple[str, ...]]:
    out = set()
    for name, item in allocations.networks.items():
        for what in (
            "vcid",
            "port",
            "routing_table",
            "subnet",
            "subnet6",
            "gateway_address",
            "transit",
            "vlan",
        ):
            out.add((name, what, str(getattr(item, what))))
        for each, one in item.endpoints.items():
            key = public_key_of(
                one.key_name or each, intent.networks[name].endpoints[each], item.vcid, world.MASTER
            )
            out.add(
                (name, each, str(one.address), str(one.address6), str(one.leg), str(one.vni), key)
            )
    return out
