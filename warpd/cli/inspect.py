"""The commands that only look: status, network and endpoint list and show, doctor, exec, schema."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.cli import asking, names, output
from warpd.cli.app import Output, app, endpoint_app, network_app
from warpd.cli.conditions import (
    NOT_IN_SYNC,
    first_lines,
    intent_lines,
    read_now,
    watch_daemon,
)
from warpd.cli.names import EndpointName, NetworkName
from warpd.cli.output import Format
from warpd.cli.tables import (
    endpoint_page,
    endpoint_table,
    long_table,
    network_lines,
    network_page,
    network_state,
    networks_summary,
)
from warpd.cli.watch import watch
from warpd.errors import EXIT_FAILED, Finding, InvalidIntent, WarpError
from warpd.intent.intersection import different, restrict
from warpd.intent.schema import json_schema
from warpd.intent.types import natural
from warpd.reconcile.engine import PlannedRun, Target
from warpd.reconcile.incremental import planned_run
from warpd.service.commitment import in_kernel, last_read, shows_devices
from warpd.service.conditions import (
    EDIT_UNWRITTEN,
    NO_PLAN,
    Condition,
    Facts,
    conditions,
    merged,
)
from warpd.service.health import (
    DAMAGED,
    damaged,
    facts_on_disk,
    keyed_by_kernel,
    unresolved_names,
)
from warpd.service.queries import examined, known_endpoint, known_network
from warpd.service.views.endpoint_list import Order, chosen, ordered, summary
from warpd.service.views.render import (
    VERSION,
    blocked_text,
    problem_lines,
    quarantine_lines,
    warning_text,
    wrapped,
)
from warpd.service.views.report import status_data, with_waiting
from warpd.service.views.words import plural
from warpd.service.workspace import LoadedIntent, Workspace, live_kernel, require_root

if TYPE_CHECKING:
    from warpd.kernel.linux.live_kernel import LiveKernel


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a command shows of a gateway.

    - `read`: the YAML, or the last good intent while the YAML is not in force.
    - `target`: its target.
    - `found`: the observation and the plan.
    - `conditions`: what is wrong, or waits.
    - `daemon`: what the daemon says of itself; None where none answers.
    - `waiting`: the networks of which an edit waits to be written down.
    """

    read: LoadedIntent
    target: Target
    found: PlannedRun
    conditions: tuple[Condition, ...]
    daemon: Mapping[str, Any] | None
    waiting: frozenset[str] = frozenset()

    def rows(self) -> list[dict[str, Any]]:
        """Return the conditions as JSON."""
        return [item.as_json() for item in self.conditions]


def load_and_observe(workspace: Workspace) -> Inspection:
    """Observe the gateway, whatever state YAML, state folder and daemon are in.

    Raises:
        DumpError: the kernel could not be read.
        InvalidIntent: the YAML is invalid, and nothing was applied before.
        WarpError: the state folder cannot be read, or nothing in it tells what was applied.
    """
    running, daemon, watched = watch_daemon(workspace)
    now, findings = read_now(workspace)
    known = _shown(workspace, now, daemon)
    read = known or on_no_record(workspace, findings)
    target = workspace.target_to_show(read)
    with live_kernel() as kernel:
        found = planned_run(kernel, target)
        devices = shows_devices(found.observed)
        facts = facts_on_disk(
            workspace, now, findings, found.observed.host, running, found.compiled.problems, devices
        )
        facts = dataclasses.replace(facts, unresolved=_unresolved(target, running))
        if facts.lost_allocations or known is None:
            target, found = _in_kernel(workspace, read, kernel, target, found)
    if _keys_unknown(facts) or known is None:
        target, found = keyed_by_kernel(target, found)
    own = conditions(facts)
    # That warpd is silent comes before what is seen without it.
    rows = merged(watched, own) if daemon is None else merged(own, watched)
    return Inspection(read, target, found, rows, daemon, _waiting(now, read, daemon))


def _is_in_force(daemon: Mapping[str, Any] | None) -> bool:
    """Whether the YAML is in force, as far as the daemon denies it."""
    return daemon is None or bool(daemon["intent"]["in_force"])


def _unresolved(target: Target, running: bool) -> dict[str, str]:
    """Return the endpoints whose host names do not resolve; a running daemon tells them itself."""
    return {} if running else unresolved_names(target.intent, target.today)


def on_no_record(workspace: Workspace, findings: tuple[Finding, ...]) -> LoadedIntent:
    """Return the YAML where neither the allocations nor the history can be read.

    The kernel has what the YAML leaves to warpd.

    Raises:
        InvalidIntent: the YAML is invalid, and nothing was applied before.
    """
    if damaged(workspace) is None or findings:
        raise InvalidIntent(findings)
    return workspace.read(previous=Allocations())


def _keys_unknown(facts: Facts) -> bool:
    """Whether the keys of endpoints can only be read from the kernel."""
    return bool(facts.lost_master or facts.unusable_master or facts.lost_allocations)


def _shown(
    workspace: Workspace, now: LoadedIntent | None, daemon: Mapping[str, Any] | None
) -> LoadedIntent | None:
    """Return the YAML, or what is in force instead of it."""
    if now is not None and _is_in_force(daemon):
        return now
    return kept(workspace, now, daemon) or now


def _waits(daemon: Mapping[str, Any] | None) -> bool:
    """Whether an edit waits for the daemon to write it down, while what it removes is removed."""
    rows = daemon["conditions"] if daemon is not None else ()
    return any(row["code"] == EDIT_UNWRITTEN for row in rows)


def _waiting(
    now: LoadedIntent | None, shown: LoadedIntent, daemon: Mapping[str, Any] | None
) -> frozenset[str]:
    """Return the networks of which an edit waits to be written down."""
    if now is None or not _waits(daemon):
        return frozenset()
    return different(now.intent, shown.intent)


def kept(
    workspace: Workspace, now: LoadedIntent | None, daemon: Mapping[str, Any] | None
) -> LoadedIntent | None:
    """Return what the daemon keeps the kernel at while the YAML is not in force.

    It is what was applied last; while an edit waits to be written down, without what that removes.
    """
    last = applied_last(workspace)
    if last is None or now is None or not _waits(daemon):
        return last
    return dataclasses.replace(last, intent=restrict(last.intent, now.intent))


def applied_last(workspace: Workspace) -> LoadedIntent | None:
    """Return what was applied last; None also where the history is damaged."""
    try:
        return last_read(workspace)
    except WarpError as failure:
        if failure.code not in DAMAGED:
            raise
        return None


def _in_kernel(
    workspace: Workspace, read: LoadedIntent, kernel: LiveKernel, target: Target, found: PlannedRun
) -> tuple[Target, PlannedRun]:
    """Return the target and the run for what the kernel shows, where the allocations are lost.

    Where it shows too little, they stay as they are.
    """
    with contextlib.suppress(WarpError):
        shown = in_kernel(workspace, read, kernel)
        if shown is not None:
            return shown.target, planned_run(kernel, shown.target)
    return target, found


@app.command()
def status(
    context: typer.Context,
    network: Annotated[
        str | None,
        typer.Argument(metavar="NETWORK", help="only this one", autocompletion=names.network_names),
    ] = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="show it again every two seconds, with rates")
    ] = False,
    output_format: Output = Format.text,
) -> None:
    """Show what runs: in sync or not, sessions, traffic and drops, network by network.

    Root reads the kernel; members of the groups warpd and warpd-read are answered by the daemon.
    """
    workspace: Workspace = context.obj
    if watching and output_format is Format.text:
        watch(lambda: _only(_status(workspace), network), status_text)
        return
    data = _only(_status(workspace), network)
    output.emit(data, status_text(data), output_format)


def _only(data: dict[str, Any], network: str | None) -> dict[str, Any]:
    """Leave out the other networks.

    Raises:
        WarpError: there is no network of this name.
    """
    if network is None:
        return data
    by_name = {item["name"]: item for item in data["networks"]}
    known_network(by_name, network)
    return {**data, "networks": [by_name[network]]}


def _status(workspace: Workspace) -> dict[str, Any]:
    if asking.through_daemon():
        return asking.DaemonGateway(workspace).status()
    seen = load_and_observe(workspace)
    data = status_data(workspace, seen.read, seen.target, seen.found)
    data |= {"conditions": seen.rows(), "daemon": seen.daemon}
    codes = {item.code for item in seen.conditions}
    data = with_waiting(data, codes, seen.waiting)
    return {**data, "in_sync": data["in_sync"] and not codes & NOT_IN_SYNC}


def status_text(data: Mapping[str, Any]) -> str:
    paint = output.paint()
    rows = data.get("conditions", (data.get("daemon") or {}).get("conditions", ()))
    lost = any(row["code"] in NO_PLAN for row in rows)
    see_plan = "" if lost else " (see `warpctl plan`)"
    sync = paint("in sync", "32") if data["in_sync"] else paint("not in sync", "33") + see_plan
    lines = [
        *first_lines(rows, paint),
        f"{data['gateway']}: {sync}, uplink {data['uplink'] or 'none'}",
    ]
    lines += problem_lines(data.get("problems", ()), paint)
    for network in data["networks"]:
        lines += ["", *network_lines(network)]
    lines += [warning_text(warning, paint) for warning in data["warnings"]]
    lines += [f"blocked {blocked_text(item)[0]}" for item in data["blocked"]]
    return "\n".join([*lines, *_quarantine_summary(data["quarantine"])])


def _quarantine_summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    text = (
        f"{plural(len(rows), 'former owner')} of quarantined allocations: `warpctl endpoint"
        " list --all`"
    )
    return ["", *wrapped(text)]


# -- networks and endpoints


@network_app.command("list")
def network_list(context: typer.Context, output_format: Output = Format.text) -> None:
    """Show all networks of the YAML, with the allocations of each."""
    data = _status(context.obj)
    networks = sorted(data["networks"], key=lambda network: natural(network["name"]))
    rows = [_network_cells(network) for network in networks]
    heads = ("NETWORK", "TYPE", "VCID", "SUBNET", "PORT", "ENDPOINTS", "STATE")
    lines = intent_lines(data["conditions"])
    if rows:
        lines += [output.table(rows, heads), ""]
    lines.append(networks_summary(data["networks"]))
    shown = {name: data[name] for name in ("version", "networks", "conditions")}
    output.emit(shown, "\n".join(lines), output_format)


def _network_cells(network: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        network["name"],
        network["type"],
        str(network["vcid"]),
        network["subnet"],
        str(network["port"]),
        str(len(network["endpoints"])),
        network_state(network),
    )


@network_app.command("show")
def network_show(
    context: typer.Context, name: NetworkName, output_format: Output = Format.text
) -> None:
    """Show one network: its purpose, what may pass, its state, its endpoints."""
    seen = _status(context.obj)
    networks = {network["name"]: network for network in seen["networks"]}
    known_network(networks, name)
    data = {"version": VERSION, **networks[name], "conditions": seen["conditions"]}
    output.emit(
        data,
        "\n".join([*intent_lines(seen["conditions"]), *network_page(networks[name])]),
        output_format,
    )


@endpoint_app.command("list")
def endpoint_list(
    context: typer.Context,
    network: Annotated[
        str | None, typer.Argument(help="only of this network", autocompletion=names.network_names)
    ] = None,
    network_option: Annotated[
        str | None,
        typer.Option("--network", help="only of this network", autocompletion=names.network_names),
    ] = None,
    order: Annotated[Order, typer.Option("--sort", help="the order")] = Order.name,
    online: Annotated[bool, typer.Option("--online", help="only those with a session")] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="only those whose session has ended")
    ] = False,
    never: Annotated[bool, typer.Option("--never", help="only those that never connected")] = False,
    long: Annotated[
        bool,
        typer.Option(
            "-l", "--long", help="also IPv6 address, public key and where packets come from"
        ),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="also the quarantined allocations")] = False,
    output_format: Output = Format.text,
) -> None:
    """Show all endpoints, or those of one network, and a line that counts them."""
    network = _one_network(network, network_option)
    seen = _only(_status(context.obj), network)
    rows = _endpoint_rows(seen)
    shown = ordered(chosen(rows, online, stale, never), order)
    quarantined = [row for row in seen["quarantine"] if network in (None, row["network"])]
    lines = intent_lines(seen["conditions"])
    if shown:
        full = [{**row, "name": f"{row['network']}/{row['name']}"} for row in shown]
        lines += [endpoint_table(full), ""]
        if long:
            lines += [long_table(shown), ""]
    lines.append(summary(rows))
    if every:
        lines += quarantine_lines(quarantined)
    data = {
        "version": VERSION,
        "endpoints": shown,
        "quarantine": quarantined,
        "conditions": seen["conditions"],
    }
    output.emit(data, "\n".join(lines), output_format)


def _one_network(argument: str | None, option: str | None) -> str | None:
    """Return the network that is named in one of two ways; None for all.

    Raises:
        WarpError: they name two.
    """
    if argument and option and argument != option:
        raise WarpError(
            f"{argument} and --network {option} are two networks",
            code="usage",
            who="operator",
            hint="leave one of them out",
        )
    return argument or option


def _endpoint_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the endpoints of all networks, in the order of the networks' names."""
    rows: list[dict[str, Any]] = []
    for network in sorted(data["networks"], key=lambda item: str(item["name"])):
        rows += network["endpoints"]
    return rows


@endpoint_app.command("show")
def endpoint_show(
    context: typer.Context, name: EndpointName, output_format: Output = Format.text
) -> None:
    """Show one endpoint: its addresses, key, traffic and config version."""
    seen = _status(context.obj)
    known_endpoint({network["name"]: _names(network) for network in seen["networks"]}, name)
    rows = _endpoint_rows(seen)
    found = next(row for row in rows if f"{row['network']}/{row['name']}" == name)
    data = {"version": VERSION, **found, "conditions": seen["conditions"]}
    output.emit(
        data, "\n".join([*intent_lines(seen["conditions"]), *endpoint_page(found)]), output_format
    )


def _names(network: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(endpoint["name"] for endpoint in network["endpoints"])


# -- doctor, exec, schema


def _inside_vrf(network: str, vrf: str) -> list[str]:
    """Return the command of iproute2 that runs a program in a VRF.

    A BPF program on its cgroup ties it to the VRF (ip-vrf(8)).

    Raises:
        WarpError: there is no such VRF.
    """
    try:
        socket.if_nametoindex(vrf)
    except OSError:
        raise WarpError(
            f"network {network} is not in the kernel", who="operator", hint="see `warpctl plan`"
        ) from None
    return ["ip", "vrf", "exec", vrf]


@app.command()
def doctor(context: typer.Context, output_format: Output = Format.text) -> None:
    """Check this machine: kernel features, programs, conflicts with other firewalls.

    Exit code 1 when something is wrong.
    """
    data = _examined(context.obj)
    paint = output.paint()
    marks = {"ok": paint("ok   ", "32"), "warn": paint("warn ", "33"), "fail": paint("fail ", "31")}
    lines = [
        f"{marks[check['state']]} {check['name']}: {check['text']}" + _hint(check["hint"])
        for check in data["checks"]
    ]
    output.emit(data, "\n".join(lines), output_format)
    if any(check["state"] == "fail" for check in data["checks"]):
        raise typer.Exit(EXIT_FAILED)


def _hint(text: str) -> str:
    return f"\n        {text}" if text else ""


def _examined(workspace: Workspace) -> dict[str, Any]:
    """Run the checks; for users without the rights of root the daemon does it, if one answers."""
    if asking.through_daemon():
        try:
            return asking.DaemonGateway(workspace).doctor()
        except WarpError as failure:
            if failure.code != "no-daemon":
                raise
    running, _daemon, watched = watch_daemon(workspace)
    return examined(workspace, asking.allocations(workspace), running, watched)


@app.command(
    "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def exec_(
    context: typer.Context,
    network: Annotated[str, typer.Argument(metavar="NETWORK", autocompletion=names.network_names)],
    command: Annotated[
        list[str], typer.Argument(metavar="CMD...", help="what to run there, after --")
    ],
) -> None:
    """Run a command inside a network, for example `warpctl exec privacy -- ping 10.100.0.1`."""
    from warpd.kernel.linux import namespaces

    workspace: Workspace = context.obj
    require_root("exec")
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise WarpError(
            "exec needs a command", who="operator", hint="warpctl exec NETWORK -- ip addr"
        )
    vcid = _vcid_of(workspace, network)
    if shutil.which(command[0]) is None:
        raise WarpError(f"there is no program {command[0]}", who="operator")
    try:
        namespaces.enter_permanently(
            os.open(namespaces.path_of(naming.namespace(vcid)), os.O_RDONLY | os.O_CLOEXEC)
        )
    except FileNotFoundError:
        command = [*_inside_vrf(network, naming.vrf(vcid)), *command]
    os.execvp(command[0], command)  # noqa: S606  # running the operator's own command is what this is for


def _vcid_of(workspace: Workspace, network: str) -> int:
    """Return the VCID of a network.

    It comes from the allocations, so that the command works with an invalid YAML too.

    Raises:
        WarpError: there is no such network.
    """
    allocations = workspace.store.read_allocations().networks
    if network not in allocations:
        allocations = workspace.read().allocations.networks
    if network not in allocations:
        known = ", ".join(sorted(allocations)) or "none"
        raise WarpError(
            f"there is no network {network}",
            code="unknown-network",
            who="operator",
            hint=f"networks: {known}",
        )
    return allocations[network].vcid


@app.command()
def schema() -> None:
    """Print the JSON Schema of the YAML, for editors: `# yaml-language-server: $schema=...`."""
    output.say(json.dumps(json_schema(), indent=2))
