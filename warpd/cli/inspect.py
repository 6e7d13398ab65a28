"""status, network list/show, endpoint list/show, doctor, exec, schema: the commands that only look."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from warpd import naming
from warpd.cli import asking, names, output
from warpd.cli.app import Output, app, endpoint_app, network_app
from warpd.cli.lists import Order, chosen, ordered, summary
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
from warpd.intent.schema import json_schema
from warpd.intent.types import natural
from warpd.reconcile.engine import PlannedRun, Target, planned_run
from warpd.service import client
from warpd.service.commitment import in_kernel, last_read, shows_devices
from warpd.service.conditions import Condition, conditions, from_json, merged
from warpd.service.health import facts_on_disk, keyed_by_kernel
from warpd.service.queries import examined, known_endpoint, known_network
from warpd.service.views.render import (
    VERSION,
    Paint,
    noted,
    problem_lines,
    quarantine_lines,
    warning_text,
    wrapped,
)
from warpd.service.views.report import status_data
from warpd.service.workspace import LoadedIntent, Session, live_kernel, require_root

if TYPE_CHECKING:
    from warpd.kernel.linux.live_kernel import LiveKernel

# Conditions that make what is shown something else than what the YAML says.
OF_THE_INTENT: Final = frozenset(
    {
        "master-lost",
        "allocations-lost",
        "endpoints-unnamed",
        "yaml-invalid",
        "awaiting-consent",
        "edit-unwritten",
        "confirm-pending",
        "rolled-back",
    }
)
NOT_IN_SYNC: Final = frozenset({"master-lost", "allocations-lost", "edit-unwritten"})
COLOURS: Final[Mapping[str, str]] = {"error": "31", "warning": "33"}


@dataclass(frozen=True, slots=True)
class Inspection:
    """One look: at the YAML, or at the last good intent while the YAML is not in force."""

    read: LoadedIntent
    goal: Target
    found: PlannedRun
    conditions: tuple[Condition, ...]
    daemon: Mapping[str, Any] | None  # as the daemon tells it; None where none answers

    def rows(self) -> list[dict[str, Any]]:
        return [item.as_json() for item in self.conditions]


def see(session: Session) -> Inspection:
    """Look, whatever state YAML, state folder and daemon are in.

    Raises:
        InvalidIntent: the YAML is invalid, and nothing was applied before.
    """
    running, daemon = _ask_daemon(session)
    now, findings = _read(session)
    waits = daemon is not None and not daemon["intent"]["in_force"]
    read = (last_read(session) if now is None or waits else None) or now
    if read is None:
        raise InvalidIntent(findings)
    goal = session.goal(read, create=False)
    with live_kernel() as kernel:
        found = planned_run(kernel, goal)
        devices = shows_devices(found.observed)
        facts = facts_on_disk(
            session, now, findings, found.observed.host, running, found.compiled.problems, devices
        )
        if facts.lost_allocations:
            goal, found = _in_kernel(session, read, kernel, goal, found)
    if facts.lost_master or facts.lost_allocations:
        goal, found = keyed_by_kernel(goal, found)
    watched = from_json(daemon["conditions"]) if daemon is not None else ()
    return Inspection(read, goal, found, merged(conditions(facts), watched), daemon)


def _in_kernel(
    session: Session, read: LoadedIntent, kernel: LiveKernel, goal: Target, found: PlannedRun
) -> tuple[Target, PlannedRun]:
    """The goal that the kernel shows, where the allocations are lost; as it was, where it shows too
    little.
    """
    with contextlib.suppress(WarpError):
        shown = in_kernel(session, read, kernel)
        if shown is not None:
            return shown.goal, planned_run(kernel, shown.goal)
    return goal, found


def _read(session: Session) -> tuple[LoadedIntent | None, tuple[Finding, ...]]:
    """The YAML as it is now; None, and why, when it is invalid."""
    try:
        return session.read(), ()
    except InvalidIntent as failure:
        return None, failure.findings


def _ask_daemon(session: Session) -> tuple[bool, Mapping[str, Any] | None]:
    """Whether a daemon keeps this gateway, and what it tells of itself."""
    try:
        daemon: Mapping[str, Any] = client.ask("GET", "/v1/daemon")
        if (
            "conditions" in daemon
            and Path(daemon["state_dir"]).absolute() == session.store.folder.absolute()
        ):
            return True, daemon
    except WarpError:
        pass
    return session.store.is_kept(), None


def first_lines(rows: Sequence[Mapping[str, Any]], paint: Paint) -> list[str]:
    """What is wrong or waits, above everything else."""
    return [
        noted(row["severity"], COLOURS[row["severity"]], _condition_text(row), row["hint"], paint)
        for row in rows
    ]


def _condition_text(row: Mapping[str, Any]) -> str:
    since = f" (since {row['since']})" if row["since"] else ""
    return f"{row['text']}{since}"


def intent_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """As `first_lines`, of what makes a list show something else than the YAML."""
    return first_lines([row for row in rows if row["code"] in OF_THE_INTENT], output.paint())


@app.command()
def status(
    context: typer.Context,
    network: Annotated[
        str | None,
        typer.Argument(metavar="NETWORK", help="only this one", autocompletion=names.network_names),
    ] = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="draw it again every two seconds, with rates")
    ] = False,
    form: Output = Format.text,
) -> None:
    """What runs: in sync or not, sessions, traffic and drops, network by network.

    Root looks at the kernel; a member of the groups warpd or warpd-read is told by the daemon.
    """
    session: Session = context.obj
    if watching and form is Format.text:
        watch(lambda: _only(_status(session), network), status_text)
        return
    data = _only(_status(session), network)
    output.emit(data, status_text(data), form)


def _only(data: dict[str, Any], network: str | None) -> dict[str, Any]:
    """Without the other networks. Raises: WarpError when there is none of this name."""
    if network is None:
        return data
    kept = {each["name"]: each for each in data["networks"]}
    known_network(kept, network)
    return {**data, "networks": [kept[network]]}


def _status(session: Session) -> dict[str, Any]:
    if asking.through_daemon():
        return asking.DaemonGateway(session).status()
    seen = see(session)
    data = status_data(session, seen.read, seen.goal, seen.found)
    data |= {"conditions": seen.rows(), "daemon": seen.daemon}
    codes = {item.code for item in seen.conditions}
    return {**data, "in_sync": data["in_sync"] and not codes & NOT_IN_SYNC}


def status_text(data: Mapping[str, Any]) -> str:
    paint = output.paint()
    rows = data.get("conditions", (data.get("daemon") or {}).get("conditions", ()))
    lost = any(row["code"] in ("master-lost", "allocations-lost") for row in rows)
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
    lines += [f"blocked {item['object']}: {item['foreign']}" for item in data["blocked"]]
    return "\n".join([*lines, *_quarantine_summary(data["quarantine"])])


def _quarantine_summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    text = (
        f"{output.plural(len(rows), 'former owner')} of quarantined allocations: `warpctl endpoint"
        " list --all`"
    )
    return ["", *wrapped(text)]


# -- networks and endpoints


@network_app.command("list")
def network_list(context: typer.Context, form: Output = Format.text) -> None:
    """All networks of the YAML, with what each was granted."""
    data = _status(context.obj)
    rows = [
        (
            n["name"],
            n["type"],
            str(n["vcid"]),
            n["subnet"],
            str(n["port"]),
            str(len(n["endpoints"])),
            network_state(n),
        )
        for n in sorted(data["networks"], key=lambda each: natural(each["name"]))
    ]
    heads = ("NETWORK", "TYPE", "VCID", "SUBNET", "PORT", "ENDPOINTS", "STATE")
    told = data["conditions"]
    table = [output.table(rows, heads), ""] if rows else []
    text = "\n".join([*intent_lines(told), *table, networks_summary(data["networks"])])
    output.emit({"version": VERSION, "networks": data["networks"], "conditions": told}, text, form)


@network_app.command("show")
def network_show(context: typer.Context, name: NetworkName, form: Output = Format.text) -> None:
    """One network: what it is for, what may pass, how it is, its endpoints."""
    seen = _status(context.obj)
    networks = {network["name"]: network for network in seen["networks"]}
    known_network(networks, name)
    data = {"version": VERSION, **networks[name], "conditions": seen["conditions"]}
    output.emit(
        data, "\n".join([*intent_lines(seen["conditions"]), *network_page(networks[name])]), form
    )


@endpoint_app.command("list")
def endpoint_list(
    context: typer.Context,
    network: Annotated[
        str | None, typer.Argument(help="only this network's", autocompletion=names.network_names)
    ] = None,
    network_option: Annotated[
        str | None,
        typer.Option("--network", help="only this network's", autocompletion=names.network_names),
    ] = None,
    order: Annotated[Order, typer.Option("--sort", help="by what")] = Order.name,
    online: Annotated[bool, typer.Option("--online", help="those with a session")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="those whose session has ended")] = False,
    never: Annotated[bool, typer.Option("--never", help="those that never connected")] = False,
    long: Annotated[
        bool,
        typer.Option("-l", "--long", help="also IPv6 address, public key and where they come from"),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="also what is quarantined")] = False,
    form: Output = Format.text,
) -> None:
    """All endpoints, or one network's, and a line that counts them."""
    seen = _status(context.obj)
    networks = {each["name"]: each for each in seen["networks"]}
    network = network or network_option
    if network is not None:
        known_network(networks, network)
    wanted = [network] if network else sorted(networks)
    rows = [row for each in wanted for row in networks[each]["endpoints"]]
    shown = ordered(chosen(rows, online, stale, never), order)
    waiting = [row for row in seen["quarantine"] if network in (None, row["network"])]
    table = endpoint_table([{**row, "name": f"{row['network']}/{row['name']}"} for row in shown])
    more = ["", long_table(shown)] if long and shown else []
    lines = [table, *more, "", summary(rows)] if shown else [summary(rows)]
    lines += quarantine_lines(waiting) if every else []
    data = {
        "version": VERSION,
        "endpoints": shown,
        "quarantine": waiting,
        "conditions": seen["conditions"],
    }
    output.emit(data, "\n".join([*intent_lines(seen["conditions"]), *lines]), form)


@endpoint_app.command("show")
def endpoint_show(context: typer.Context, name: EndpointName, form: Output = Format.text) -> None:
    """One endpoint: its addresses, key, traffic and config version."""
    seen = _status(context.obj)
    known_endpoint({network["name"]: _names(network) for network in seen["networks"]}, name)
    rows = [row for network in seen["networks"] for row in network["endpoints"]]
    found = next(row for row in rows if f"{row['network']}/{row['name']}" == name)
    data = {"version": VERSION, **found, "conditions": seen["conditions"]}
    output.emit(data, "\n".join([*intent_lines(seen["conditions"]), *endpoint_page(found)]), form)


def _names(network: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(endpoint["name"] for endpoint in network["endpoints"])


# -- doctor, exec, schema


def _inside_vrf(network: str, vrf: str) -> list[str]:
    """A program is tied to a VRF by a BPF program on its cgroup (ip-vrf(8)): iproute2 knows how."""
    try:
        socket.if_nametoindex(vrf)
    except OSError:
        raise WarpError(
            f"network {network} is not in the kernel", who="operator", hint="see `warpctl plan`"
        ) from None
    return ["ip", "vrf", "exec", vrf]


@app.command()
def doctor(context: typer.Context, form: Output = Format.text) -> None:
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
    output.emit(data, "\n".join(lines), form)
    if any(check["state"] == "fail" for check in data["checks"]):
        raise typer.Exit(EXIT_FAILED)


def _hint(text: str) -> str:
    return f"\n        {text}" if text else ""


def _examined(session: Session) -> dict[str, Any]:
    """By the daemon where there is one and this user is not root."""
    if asking.through_daemon():
        try:
            return asking.DaemonGateway(session).doctor()
        except WarpError as failure:
            if failure.code != "no-daemon":
                raise
    running, daemon = _ask_daemon(session)
    watched = from_json(daemon["conditions"]) if daemon is not None else ()
    return examined(session, asking.allocations(session), running, watched)


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

    session: Session = context.obj
    require_root("exec")
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise WarpError(
            "exec needs a command", who="operator", hint="warpctl exec NETWORK -- ip addr"
        )
    vcid = _vcid_of(session, network)
    if shutil.which(command[0]) is None:
        raise WarpError(f"there is no program {command[0]}", who="operator")
    try:
        namespaces.stay(
            os.open(namespaces.path_of(naming.namespace(vcid)), os.O_RDONLY | os.O_CLOEXEC)
        )
    except FileNotFoundError:
        command = [*_inside_vrf(network, naming.vrf(vcid)), *command]
    os.execvp(command[0], command)  # noqa: S606  # running the operator's own command is what this is for


def _vcid_of(session: Session, network: str) -> int:
    """From the grants alone: a broken YAML must not keep the operator out."""
    allocations = session.store.read_allocations().networks
    if network not in allocations:
        allocations = session.read().allocations.networks
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
