"""(intent, allocations, keys, host facts) -> State: every object that should exist. Pure.

Each network is compiled by itself (`compile_network`), and the gateway's own objects from all of
them (`gateway`). Does not live here: what a type lets through (`types`), where things live
(`isolation`), how a difference is repaired (`reconcile`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from warpd.allocation.model import Allocations, NetworkAllocation
from warpd.allocation.suspensions import Suspension
from warpd.intent.model import Endpoint, Gateway, Intent, Network
from warpd.kernel.kinds.link import KIND as LINK
from warpd.kernel.state import ROOT, Host, Key, State
from warpd.keys import derivation
from warpd.networks import gateway, tunnel
from warpd.networks.firewall.local_delivery import with_transit
from warpd.networks.host_facts import driver, policy_facts
from warpd.networks.isolation import mode
from warpd.networks.peer_keys import EndpointKeys, keys_of, network_key_of
from warpd.networks.placement import RootContribution
from warpd.networks.problems import Problem, clash, problems_of
from warpd.networks.resolved import (
    ResolvedEndpoint,
    ResolvedNetwork,
    Withheld,
    dns_of,
    resolve,
    withheld_endpoints,
)
from warpd.networks.types import type_named

KeysOf = Callable[[str, Endpoint, int, derivation.Master], EndpointKeys]


@dataclass(frozen=True, slots=True)
class CompileInputs:
    """Everything that one network is compiled from: equal inputs, equal objects.

    name, network: as the YAML has it.
    allocation: which numbers it has.
    gateway: the settings of the whole gateway.
    master: where keys are derived from.
    host: the facts that decide what is wanted (host_facts.policy_facts), with the routes to this
        network's own destinations only.
    withheld: its endpoints that are past their `expires`, or suspended. The day itself is no input,
        nor are suspensions elsewhere: they change nothing for a network without such endpoints.
    """

    name: str
    network: Network
    allocation: NetworkAllocation
    gateway: Gateway
    master: derivation.Master
    host: Host
    withheld: Mapping[str, Withheld]


@dataclass(frozen=True, slots=True)
class CompiledNetwork:
    """One network, compiled.

    inputs: what it was compiled from.
    network: the same with every default decided.
    contribution: its objects, and what the gateway's own objects need to know of it.
    state: every object of the network.
    """

    inputs: CompileInputs
    network: ResolvedNetwork
    contribution: RootContribution
    state: State

    @property
    def group(self) -> str:
        return self.contribution.group


CompileNetwork = Callable[[CompileInputs], CompiledNetwork]


@dataclass(frozen=True, slots=True)
class Compiled:
    """What should exist, and what this machine keeps networks from.

    state: every object, of all networks and of the gateway.
    problems: in the order of the networks' names.
    names: network name by group (the name of its namespace).
    parts: compiled networks by group; none of a network that cannot be compiled here.
    shared: the gateway's own objects.
    """

    state: State
    problems: tuple[Problem, ...]
    names: Mapping[str, str]
    parts: Mapping[str, CompiledNetwork] = field(default_factory=dict)
    shared: State = field(default_factory=State)

    @property
    def stopped(self) -> frozenset[str]:
        """Groups to which nothing is given."""
        return frozenset(problem.group for problem in self.problems if problem.whole)

    def of(self, groups: Collection[str]) -> State:
        """What should exist of these groups; ROOT is the gateway."""
        parts = [self.parts[group].state for group in groups if group in self.parts]
        if ROOT in groups:
            parts.append(self.shared)
        return State.joined(parts)

    def changed_groups(self, previous: Compiled) -> set[str]:
        """Groups of which something else should exist than `previous` says."""
        changed = previous.parts.keys() - self.parts.keys()
        for group, part in self.parts.items():
            if not _is_same(part, previous.parts.get(group)):
                changed.add(group)
        if self.shared.objects != previous.shared.objects:
            changed.add(ROOT)
        return changed


def _is_same(part: CompiledNetwork, other: CompiledNetwork | None) -> bool:
    """The identity first: it is cheaper to ask than to compare all objects."""
    return part is other or (other is not None and part.state.objects == other.state.objects)


def compile_network(inputs: CompileInputs, keys: KeysOf = keys_of) -> CompiledNetwork:
    """Compile one network.

    `keys` gives the keys of an endpoint by key name, endpoint, VCID and master secret.

    Raises:
        ValueError: the network claims one object of the kernel twice.
    """
    network = resolved(inputs)
    # What this machine cannot make is compiled as what it could make: nothing of it is given, and
    # what is to be revoked is still found.
    isolation = mode(network.isolation)
    if isolation.unsupported_reason(network):
        isolation = mode("namespace")
    kind = type_named(network.intent.type)
    placement = isolation.placement_of(network)
    peers = [
        _peer(endpoint, network.vcid, inputs.master, keys)
        for endpoint in network.endpoints_in_force()
    ]
    private = network_key_of(network.intent, inputs.gateway, network.vcid, inputs.master)
    inner = [
        *tunnel.objects(network, placement, _driver(inputs), private, peers),
        *kind.objects(network, placement, peers),
    ]
    built = isolation.build(
        network, kind.egress_requirements(network), kind.firewall_policy(network), inner
    )
    return CompiledNetwork(inputs, network, built, State.of(built.objects))


def compile_state(
    intent: Intent,
    allocations: Allocations,
    master: derivation.Master,
    host: Host,
    today: date,
    compile_one: CompileNetwork = compile_network,
    suspensions: Collection[Suspension] = (),
) -> Compiled:
    """Compile every enabled network, and the gateway's own objects.

    `host` is the machine as it was seen; `today` is the day in UTC, for endpoints that expire;
    `suspensions` are those that count now. A network that claims what another one has, or the
    gateway, is a problem: it is left out.
    """
    facts = _facts(host, intent.gateway)
    parts: dict[str, CompiledNetwork] = {}
    problems: list[Problem] = []
    for inputs in _inputs(intent, allocations, master, facts, today, suspensions):
        network = resolved(inputs)
        problems += problems_of(network, intent.gateway, host)
        try:
            parts[inputs.name] = compile_one(inputs)
        except ValueError as failure:
            problems.append(clash(network, str(failure)))
    parts, clashes = _without_clashes(parts)
    shared = _shared(facts, parts.values(), intent.gateway)
    parts, taken = _beside_gateway(parts, shared, host)
    if taken:
        clashes += taken
        shared = _shared(facts, parts.values(), intent.gateway)
    return _joined(parts.values(), shared, (*problems, *clashes))


def egress_destinations(intent: Intent) -> tuple[str, ...]:
    """Ranges that networks may reach by other links than the uplink: the host must forward answers
    on those that lead there.
    """
    ranges: set[str] = set()
    for network in intent.networks.values():
        if network.enabled:
            ranges |= _destinations(network, intent.gateway)
    return tuple(sorted(ranges))


def _destinations(network: Network, settings: Gateway) -> set[str]:
    kind = type_named(network.type)
    ranges = kind.egress_destinations(network, dns_of(network, settings))
    return {str(item) for item in ranges}


def resolved(inputs: CompileInputs) -> ResolvedNetwork:
    """The network with every default decided."""
    return resolve(
        inputs.name,
        inputs.network,
        inputs.allocation,
        inputs.gateway,
        inputs.host,
        inputs.withheld,
    )


def _facts(host: Host, settings: Gateway) -> Host:
    """The facts that decide what is wanted; the pool of transit links counts as local addresses."""
    facts = policy_facts(host)
    return dataclasses.replace(facts, local=with_transit(facts.local, settings.pools.transit))


def _facts_for(network: Network, settings: Gateway, facts: Host) -> Host:
    """The facts without the routes to what only other networks reach: a new destination of one
    network changes nothing for the others.
    """
    own = _destinations(network, settings)
    range_routes = tuple(one for one in facts.range_routes if one.target in own)
    return dataclasses.replace(facts, range_routes=range_routes)


def _inputs(
    intent: Intent,
    allocations: Allocations,
    master: derivation.Master,
    facts: Host,
    today: date,
    suspensions: Collection[Suspension],
) -> Iterator[CompileInputs]:
    for name, network in sorted(intent.networks.items()):
        if network.enabled:
            allocation = allocations.networks[name]
            yield CompileInputs(
                name=name,
                network=network,
                allocation=allocation,
                gateway=intent.gateway,
                master=master,
                host=_facts_for(network, intent.gateway, facts),
                withheld=withheld_endpoints(name, network, allocation, today, suspensions),
            )


def _peer(
    endpoint: ResolvedEndpoint, vcid: int, master: derivation.Master, keys: KeysOf
) -> tunnel.TunnelPeer:
    public, shared = keys(endpoint.key_name, endpoint.intent, vcid, master)
    return tunnel.TunnelPeer(
        name=endpoint.name,
        public_key=public,
        preshared_key=shared,
        address=endpoint.address,
        address6=endpoint.address6,
        routes=endpoint.intent.routes,
        leg=endpoint.leg,
        vni=endpoint.vni,
        keepalive=endpoint.gateway_keepalive_s,
        endpoint=endpoint.intent.endpoint,
        share=endpoint.share,
    )


def _driver(inputs: CompileInputs) -> str:
    """As `host_facts.driver`; where this machine has none, the one that the YAML asks for."""
    wanted = "tun" if inputs.gateway.wireguard == "userspace" else "wireguard"
    return driver(inputs.gateway, inputs.host) or wanted


def _without_clashes(
    parts: Mapping[str, CompiledNetwork],
) -> tuple[dict[str, CompiledNetwork], list[Problem]]:
    """Leave out networks that claim an object of the kernel which another one has.

    The first one in the order of names keeps it.
    """
    try:
        State.joined(part.state for part in parts.values())
    except ValueError:
        return _first_of_each(parts)
    return dict(parts), []


def _first_of_each(
    parts: Mapping[str, CompiledNetwork],
) -> tuple[dict[str, CompiledNetwork], list[Problem]]:
    owners: dict[Key, str] = {}
    sound: dict[str, CompiledNetwork] = {}
    clashes: list[Problem] = []
    for name, part in sorted(parts.items()):
        taken = next((key for key in sorted(part.state.objects) if key in owners), None)
        if taken is None:
            owners |= dict.fromkeys(part.state.objects, name)
            sound[name] = part
        else:
            text = f"network {owners[taken]} has {taken} already"
            clashes.append(clash(part.network, text))
    return sound, clashes


def _beside_gateway(
    parts: Mapping[str, CompiledNetwork], shared: State, host: Host
) -> tuple[dict[str, CompiledNetwork], list[Problem]]:
    """Leave out networks that claim an object of the gateway's own."""
    exits = {link.name for link in host.exits if not link.ours}
    kept: dict[str, CompiledNetwork] = {}
    problems: list[Problem] = []
    for name, part in parts.items():
        kept[name] = _without_exits(part, shared, exits)
        problem = _taken_by_gateway(kept[name], shared)
        if problem is not None:
            del kept[name]
            problems.append(problem)
    return kept, problems


def _without_exits(part: CompiledNetwork, shared: State, exits: Collection[str]) -> CompiledNetwork:
    """Leave the settings of the host's own links to the gateway where a bridge would have the name
    of one.

    The link itself then keeps the network from being built, as each that is not ours.
    """
    if not any(Key(LINK, ROOT, name) in part.state.objects for name in exits):
        return part
    own = {key: item for key, item in part.state.objects.items() if key not in shared.objects}
    return dataclasses.replace(part, state=State(own))


def _taken_by_gateway(part: CompiledNetwork, shared: State) -> Problem | None:
    """A network may claim what is the gateway's own: a setting of the uplink, say, whose name its
    bridge would have.
    """
    key = next((key for key in sorted(shared.objects) if key in part.state.objects), None)
    return None if key is None else clash(part.network, f"{key} is the gateway's own")


def _shared(facts: Host, parts: Collection[CompiledNetwork], settings: Gateway) -> State:
    members = [gateway.Member(part.network, part.contribution) for part in parts]
    return State.of(gateway.objects(facts, members, settings))


def _joined(
    parts: Collection[CompiledNetwork], shared: State, problems: Sequence[Problem]
) -> Compiled:
    return Compiled(
        state=State.joined([*(part.state for part in parts), shared]),
        problems=tuple(problems),
        names={part.group: part.inputs.name for part in parts},
        parts={part.group: part for part in parts},
        shared=shared,
    )
