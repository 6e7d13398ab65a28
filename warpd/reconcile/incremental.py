"""All memory of the pure stages between passes, so that a pass does only what has changed.

The stages know nothing of it. They are pure functions, so their results are kept by input. A
property test compares a planner with a memory to one without
(tests/laws/test_incremental_laws.py). Of the kernel, this module remembers only the facts of
the host that the desired state follows from; every plan looks at the kernel again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from warpd.allocation.lockfile import Lockfile, parse_lock, read_lock
from warpd.errors import Finding
from warpd.intent.documents import Source
from warpd.intent.loader import Loaded, load, read_file, read_network
from warpd.intent.model import Endpoint
from warpd.kernel.api import Dump, Kernel
from warpd.kernel.kinds.link import link_key
from warpd.kernel.kinds.wireguard import WireguardPeer
from warpd.kernel.state import ROOT, Host, KernelObject, Observed, State
from warpd.keys.derivation import Master
from warpd.networks.compiler import (
    Compiled,
    CompiledNetwork,
    CompileInputs,
    KeysOf,
    compile_network,
    egress_destinations,
)
from warpd.networks.host_facts import policy_facts
from warpd.networks.peer_keys import EndpointKeys, keys_of
from warpd.reconcile.diff import groups_lost_with
from warpd.reconcile.engine import PlannedRun, Target, compile_target, plan_from
from warpd.reconcile.observe import EVERYTHING, Scope, observe, shared_with
from warpd.yamlfile.sections import NetworkSection

Value = TypeVar("Value")
Inputs = TypeVar("Inputs")


class Memory:
    """Values of pure stages by stage and key, each with the inputs that it follows from.

    Inputs are compared by identity first and by equality then.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, dict[Hashable, tuple[Any, Any]]] = {}

    def recall(
        self, stage: Hashable, key: Hashable, inputs: Inputs, build: Callable[[Inputs], Value]
    ) -> Value:
        """The value of these inputs: the earlier one, or a new one.

        `build` must be a pure function of the inputs.
        """
        entry = self._values.get(stage, {}).get(key)
        if entry is None or not (entry[0] is inputs or entry[0] == inputs):
            entry = (inputs, build(inputs))
        self._values.setdefault(stage, {})[key] = entry
        value: Value = entry[1]
        return value

    def learn(self, stage: Hashable, key: Hashable, inputs: Any, value: Any) -> None:
        """Take a value for these inputs that another way than the stage has given."""
        self._values.setdefault(stage, {})[key] = (inputs, value)

    def previous(self, stage: Hashable, key: Hashable) -> Any:
        """The last value of that key, whatever its inputs were; None where there is none."""
        entry = self._values.get(stage, {}).get(key)
        return None if entry is None else entry[1]

    def keys(self, stage: Hashable) -> set[Any]:
        """The keys of a stage that there is a value of."""
        return set(self._values.get(stage, {}))

    def retain(self, stage: Hashable, keys: Collection[Hashable]) -> None:
        """Forget all other keys of the stage."""
        values = self._values.get(stage, {})
        self._values[stage] = {key: value for key, value in values.items() if key in keys}


class IncrementalReader:
    """Read the YAML and the lock file again and again: of files whose bytes have changed, only the
    networks whose lines have.
    """

    def __init__(self) -> None:
        self._memory = Memory()

    def load(self, path: Path, instead: Mapping[Path, bytes] | None = None) -> Loaded:
        """As `intent.loader.load`."""
        loaded = load(path, instead, read_one=self._read_file)
        if loaded.intent is not None:  # a broken file is read well again soon
            self._forget_all_but({source.file for source in loaded.sources})
        return loaded

    def _forget_all_but(self, files: set[str]) -> None:
        for gone in self._memory.keys("file") - files:
            self._memory.retain(("section", gone), ())
        self._memory.retain("file", files)

    def lock(self, path: Path) -> Lockfile | None:
        """As `allocation.lockfile.read_lock`."""
        return read_lock(path, self._parse_lock)

    def learn_lock(self, path: Path, lockfile: Lockfile) -> None:
        """Use this lock while the bytes of the file are those that it was made from."""
        self._memory.learn("lock", str(path), lockfile.raw, lockfile)

    def _parse_lock(self, path: Path, raw: bytes) -> Lockfile:
        return self._memory.recall("lock", str(path), raw, lambda raw: parse_lock(path, raw))

    def _read_file(
        self, file: Path, content: bytes, hidden: str
    ) -> tuple[Source, Sequence[Finding]]:
        return self._memory.recall(
            "file",
            str(file),
            (content, hidden),
            lambda _inputs: self._read_changed(file, content, hidden),
        )

    def _read_changed(
        self, file: Path, content: bytes, hidden: str
    ) -> tuple[Source, Sequence[Finding]]:
        stage = ("section", str(file))
        used: set[str] = set()

        def read_one(lines: str) -> NetworkSection | None:
            used.add(lines)
            return self._memory.recall(stage, lines, lines, read_network)

        source, findings = read_file(file, content, hidden, read_one)
        if source.by_section:
            self._memory.retain(stage, used)
        return source, findings


class IncrementalPlanner:
    """Plan pass after pass for targets that change little. For one thread.

    compiled: what should exist for the last target; None before the first pass.
    host: the host as it was seen last; None before the first pass.
    names: network name by group, of the last pass; those that only the kernel has included.
    """

    def __init__(self, kernel: Kernel, memory: Memory | None = None) -> None:
        self.compiled: Compiled | None = None
        self.host: Host | None = None
        self.names: dict[str, str] = {}
        self._kernel = kernel
        self._memory = memory if memory is not None else Memory()

    def plan(self, target: Target, scope: Scope = EVERYTHING) -> PlannedRun:
        """Look at the kernel as far as the scope and the change of the target reach, and plan.

        A host that is no longer the same is a reason for a full observation.

        Raises:
            DumpError: the kernel could not be read.
        """
        if self.compiled is None or self.host is None:
            run = self._plan_everything(target, None)
        elif scope.is_everything:
            run = self._plan_everything(target, self.host)
        else:
            run = self._plan_part(target, scope, self.compiled, self.host)
        self.remember(run)
        return run

    def remember(self, run: PlannedRun) -> None:
        """Go on from this run."""
        known = {} if run.scope.is_everything else self.names
        self.compiled = run.compiled
        self.host = run.observed.host
        self.names = {**known, **run.plan.networks}

    def adopt(self, target: Target, run: PlannedRun) -> None:
        """Go on from a run for this target that another planner has made: nothing is compiled
        again.
        """
        self.remember(run)
        inputs = (target, policy_facts(run.observed.host))
        self._memory.learn("state", "", inputs, run.compiled)
        for part in run.compiled.parts.values():
            self._memory.learn("network", part.inputs.name, part.inputs, part)

    def compile(self, target: Target, host: Host) -> Compiled:
        """What should exist for the target on this host: networks whose inputs are as before are
        not compiled again.
        """
        compiled = compile_target(target, host, self._compile_network)
        self._memory.retain("network", target.intent.networks.keys())
        return compiled

    def _compile_network(self, inputs: CompileInputs) -> CompiledNetwork:
        previous: CompiledNetwork | None = self._memory.previous("network", inputs.name)
        keys = keys_of if previous is None else _keys_from(previous, inputs)
        return self._memory.recall(
            "network", inputs.name, inputs, lambda inputs: compile_network(inputs, keys)
        )

    def _compiled(self, target: Target, host: Host) -> Compiled:
        """As `compile`; nothing at all is done where target and host are as before."""
        return self._memory.recall(
            "state",
            "",
            (target, policy_facts(host)),
            lambda _inputs: self.compile(target, host),
        )

    def _plan_everything(self, target: Target, previous: Host | None) -> PlannedRun:
        root = self._look_at_root(target)
        host = root.host or Host()
        if previous is not None:
            host = _lasting(host, previous)
        compiled = self._compiled(target, host)
        observed = self._observe(target, EVERYTHING, root, compiled)
        return plan_from(compiled, dataclasses.replace(observed, host=host), EVERYTHING)

    def _plan_part(
        self, target: Target, scope: Scope, previous: Compiled, host: Host
    ) -> PlannedRun:
        compiled = self._compiled(target, host)
        scope = scope.with_groups(compiled.changed_groups(previous))
        root = self._look_at_root(target)
        now = _lasting(root.host or Host(), host)
        if policy_facts(now) != policy_facts(host):
            return self._plan_everything(target, host)
        if scope.follow_root:
            scope = scope.with_groups(_differing(root, compiled.state) - scope.paused)
        run = self._plan_scope(target, scope, root, compiled, now)
        # The gateway's table holds what networks in the root have there: rebuilt, it takes that
        # along, and they must be looked at too.
        while not all(scope.covers(group) for group in _lost_groups(run)):
            scope = scope.with_groups(_lost_groups(run))
            run = self._plan_scope(target, scope, self._look_at_root(target), compiled, now)
        return run

    def _plan_scope(
        self, target: Target, scope: Scope, root: Dump, compiled: Compiled, host: Host
    ) -> PlannedRun:
        observed = self._observe(target, scope, root, compiled)
        return plan_from(compiled, dataclasses.replace(observed, host=host), scope)

    def _look_at_root(self, target: Target) -> Dump:
        return self._kernel.dump(
            ROOT, target.intent.gateway.uplink, egress_destinations(target.intent)
        )

    def _observe(self, target: Target, scope: Scope, root: Dump, compiled: Compiled) -> Observed:
        uplink, ranges = target.intent.gateway.uplink, egress_destinations(target.intent)
        keep = shared_with(compiled.state)
        return observe(self._kernel, scope, uplink, ranges, root, keep, partial=True)


def planned_run(kernel: Kernel, target: Target) -> PlannedRun:
    """Look at everything, and plan the way from there to the target. Changes nothing.

    Raises:
        DumpError: the root could not be read.
    """
    return IncrementalPlanner(kernel).plan(target)


def replan(kernel: Kernel, target: Target, first: PlannedRun) -> PlannedRun:
    """Look again after a plan was applied: at what it touches, and at the gateway's own part.

    Raises:
        DumpError: the kernel could not be read.
    """
    planner = IncrementalPlanner(kernel)
    planner.adopt(target, first)
    return planner.plan(target, Scope.of(step.group for step in first.plan.steps))


def _lasting(host: Host, previous: Host) -> Host:
    """While there is no uplink, its MTU is taken to be what it was, so that an uplink that is lost
    changes no tunnel's MTU.
    """
    return host if host.uplink else dataclasses.replace(host, uplink_mtu=previous.uplink_mtu)


def _lost_groups(run: PlannedRun) -> set[str]:
    return groups_lost_with(run.compiled.state, run.gone)


def _differing(root: Dump, wanted: State) -> set[str]:
    """Groups that differ in the root.

    Of a pair of links the root shows one end: that it is there is all that counts.
    """
    have = {item.key: item for item in root.objects}
    ends = {link_key(ROOT, end.name) for end in root.ends}
    differ = {item.group for key, item in have.items() if _is_unwanted(item, wanted.get(key))}
    for key, item in wanted.objects.items():
        if key.netns != ROOT:
            continue
        is_there = key in ends if item.TWO_NAMESPACES else have.get(key) == item
        if not is_there:
            differ.add(item.group)
    return differ


def _is_unwanted(item: KernelObject, wanted: KernelObject | None) -> bool:
    """Whether something is there that should not be, and that can be taken away."""
    return wanted is None and item.removable


def _keys_from(previous: CompiledNetwork, inputs: CompileInputs) -> KeysOf:
    """Keys of endpoints as they were compiled before, where they follow from the same: to derive
    them is most of the work of compiling a network.
    """
    if previous.inputs.master != inputs.master:
        return keys_of
    peers = {item.label: item for item in previous.state if isinstance(item, WireguardPeer)}
    by_key_name: dict[str, tuple[Endpoint, WireguardPeer]] = {}
    for name, peer in peers.items():
        key_name = previous.inputs.allocation.endpoints[name].key_name or name
        by_key_name[key_name] = previous.inputs.network.endpoints[name], peer
    same_vcid = previous.inputs.allocation.vcid

    def keys(key_name: str, endpoint: Endpoint, vcid: int, master: Master) -> EndpointKeys:
        earlier = by_key_name.get(key_name) if vcid == same_vcid else None
        if earlier is None or _key_inputs(earlier[0]) != _key_inputs(endpoint):
            return keys_of(key_name, endpoint, vcid, master)
        return EndpointKeys(earlier[1].public_key, earlier[1].preshared_key)

    return keys


def _key_inputs(endpoint: Endpoint) -> tuple[object, ...]:
    """What an endpoint's keys follow from, beside the master secret, the VCID and the key name."""
    return (
        endpoint.public_key,
        endpoint.preshared_key,
        endpoint.preshared_key_file,
        endpoint.rotation,
    )
