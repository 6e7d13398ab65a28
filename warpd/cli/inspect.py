"""status, network list/show, endpoint list/show, doctor, exec, schema: the commands that only look."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from warpd import client
from warpd.cli import names, output
from warpd.cli.app import Output, app, endpoint_app, network_app
from warpd.cli.lists import Order, chosen, ordered, presence, summary
from warpd.cli.output import Format
from warpd.cli.watch import watch
from warpd.doctor import examine
from warpd.errors import EXIT_FAILED, Finding, InvalidIntent, WarpError
from warpd.intent import Intent
from warpd.objects.netns import netns_name
from warpd.reconcile import Goal, Prospect, prospect
from warpd.render import VERSION, problem_lines, quarantine_lines, warning_text
from warpd.report import status_data, version_of
from warpd.schema import json_schema
from warpd.session import Read, Session, live_kernel, require_root
from warpd.status import endpoint_json, network_json, quarantine_json, status_json


def see(session: Session) -> tuple[Read, Goal, Prospect]:
    read = session.read()
    goal = session.goal(read, create=False)
    with live_kernel() as kernel:
        return read, goal, prospect(kernel, goal)


@app.command()
def status(
    context: typer.Context,
    network: Annotated[
        str | None, typer.Argument(metavar="NETWORK", help="only this one", autocompletion=names.network_names)
    ] = None,
    watching: Annotated[bool, typer.Option("--watch", help="draw it again every two seconds, with rates")] = False,
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
    kept = [each for each in data["networks"] if each["name"] == network]
    if not kept:
        known = ", ".join(each["name"] for each in data["networks"]) or "none"
        raise WarpError(f"there is no network {network}", code="unknown-network", who="operator", hint=f"networks: {known}")
    return {**data, "networks": kept}


def _status(session: Session) -> dict[str, Any]:
    if client.told_by_daemon():
        return client.ask("GET", "/v1/status")
    read, goal, found = see(session)
    return status_data(session, read, goal, found)


def status_text(data: Mapping[str, Any]) -> str:
    paint = output.paint()
    sync = paint("in sync", "32") if data["in_sync"] else paint("not in sync", "33") + " (see `warpctl plan`)"
    lines = [f"{data['gateway']}: {sync}, uplink {data['uplink'] or 'none'}"]
    lines += problem_lines(data["problems"], paint)
    for network in data["networks"]:
        lines += ["", *_network_lines(network)]
    lines += [warning_text(warning, paint) for warning in data["warnings"]]
    lines += [f"blocked {item['object']}: {item['foreign']}" for item in data["blocked"]]
    return "\n".join([*lines, *quarantine_lines(data["quarantine"])])


def _network_lines(network: Mapping[str, Any]) -> list[str]:
    state = _state_of(network)
    head = f"{network['name']}  {network['type']}  VCID {network['vcid']}  {network['subnet']}  port {network['port']}  {state}"
    dropped = {reason: count["packets"] for reason, count in network["drops"].items() if count["packets"]}
    drops = "  ".join(f"{reason} {count}" for reason, count in dropped.items())
    rows = ordered(network["endpoints"], Order.name)
    body = endpoint_table(rows).splitlines() if rows else []
    return [head, *(f"  {row}" for row in body), *([f"  dropped: {drops}"] if drops else [])]


def _state_of(network: Mapping[str, Any]) -> str:
    if not network["enabled"]:
        return "disabled"
    if network["changes"]:
        return f"{network['changes']} changes wait"
    return "in sync" if network["in_sync"] else "not in sync"


def endpoint_table(endpoints: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            e["name"],
            e["type"],
            e["address"],
            _age(e["handshake_age_s"]),
            _size(e["received_bytes"]),
            _size(e["sent_bytes"]),
            _state(e),
        )
        for e in endpoints
    ]
    return output.table(rows, ("ENDPOINT", "TYPE", "ADDRESS", "HANDSHAKE", "RECEIVED", "SENT", "STATE"))


def _state(endpoint: Mapping[str, Any]) -> str:
    there = presence(endpoint)
    if there not in ("present", "online", "stale"):
        return there
    if endpoint["expires_in_days"] is not None:
        there += f", expires in {output.plural(endpoint['expires_in_days'], 'day')}"
    return there if endpoint.get("config_exported", True) else f"{there}, config not exported"


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "never"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


# -- networks and endpoints


@network_app.command("list")
def network_list(context: typer.Context, form: Output = Format.text) -> None:
    """All networks of the YAML, with what each was granted."""
    _read, goal, found = see(context.obj)
    data = status_json(goal, found, int(time.time()))
    rows = [
        (n["name"], n["type"], str(n["vcid"]), n["subnet"], str(n["port"]), str(len(n["endpoints"])), _sync(n))
        for n in data["networks"]
    ]
    heads = ("NETWORK", "TYPE", "VCID", "SUBNET", "PORT", "ENDPOINTS", "STATE")
    output.emit({"version": VERSION, "networks": data["networks"]}, output.table(rows, heads), form)


def _sync(network: Mapping[str, Any]) -> str:
    return "disabled" if not network["enabled"] else "in sync" if network["in_sync"] else "not in sync"


@network_app.command("show")
def network_show(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")], form: Output = Format.text
) -> None:
    """One network: its grants, its state, its endpoints."""
    _read, goal, found = see(context.obj)
    known_network(goal, name)
    data = {"version": VERSION, **network_json(goal, found, name, int(time.time()))}
    facts = {key: value for key, value in data.items() if not isinstance(value, list | dict) and key != "version"}
    text = _facts(facts) + "\n\n" + endpoint_table(data["endpoints"])
    output.emit(data, text, form)


def _facts(data: Mapping[str, Any]) -> str:
    width = max(len(key) for key in data)
    return "\n".join(f"{key.ljust(width)}  {'-' if value is None else value}" for key, value in data.items())


@endpoint_app.command("list")
def endpoint_list(
    context: typer.Context,
    network: Annotated[str | None, typer.Argument(help="only this network's", autocompletion=names.network_names)] = None,
    network_option: Annotated[
        str | None, typer.Option("--network", help="only this network's", autocompletion=names.network_names)
    ] = None,
    order: Annotated[Order, typer.Option("--sort", help="by what")] = Order.name,
    online: Annotated[bool, typer.Option("--online", help="those with a session")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="those whose session has ended")] = False,
    never: Annotated[bool, typer.Option("--never", help="those that never connected")] = False,
    long: Annotated[bool, typer.Option("-l", "--long", help="also IPv6 address, public key and where they come from")] = False,
    every: Annotated[bool, typer.Option("--all", help="also what is quarantined")] = False,
    form: Output = Format.text,
) -> None:
    """All endpoints, or one network's, and a line that counts them."""
    session: Session = context.obj
    read, goal, found = see(session)
    network = network or network_option
    if network is not None:
        known_network(goal, network)
    wanted = [network] if network else sorted(goal.intent.networks)
    now, versions = int(time.time()), session.store.versions()
    rows = [
        {**endpoint_json(goal, found, each, name, now), **version_of(versions, goal, found, each, name)}
        for each in wanted
        for name in goal.intent.networks[each].endpoints
    ]
    shown = ordered(chosen(rows, online, stale, never), order)
    waiting = [row for row in quarantine_json(read.resting) if network in (None, row["network"])]
    table = endpoint_table([{**row, "name": f"{row['network']}/{row['name']}"} for row in shown])
    lines = [table, *(_long_lines(shown) if long else ()), "", summary(rows)] if shown else [summary(rows)]
    lines += quarantine_lines(waiting) if every else []
    data = {"version": VERSION, "endpoints": shown, "quarantine": waiting}
    output.emit(data, "\n".join(lines), form)


def _long_line(row: Mapping[str, Any]) -> tuple[str, ...]:
    return f"{row['network']}/{row['name']}", row["address6"] or "-", row["endpoint"] or "-", row["public_key"]


def _long_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = [
        (f"{row['network']}/{row['name']}", row["address6"] or "-", row["endpoint"] or "-", row["public_key"]) for row in rows
    ]
    return ["", output.table(cells, ("ENDPOINT", "IPV6", "COMES FROM", "PUBLIC KEY"))]


@endpoint_app.command("show")
def endpoint_show(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="NETWORK/NAME")], form: Output = Format.text
) -> None:
    """One endpoint: its addresses, key, traffic and config version."""
    session: Session = context.obj
    _read, goal, found = see(session)
    network, endpoint = split_name(goal, name)
    data = {
        "version": VERSION,
        **endpoint_json(goal, found, network, endpoint, int(time.time())),
        **version_of(session.store.versions(), goal, found, network, endpoint),
    }
    output.emit(data, _facts({key: value for key, value in data.items() if key != "version"}), form)


def known_network(goal: Goal, name: str) -> None:
    if name not in goal.intent.networks:
        known = ", ".join(sorted(goal.intent.networks)) or "none"
        raise WarpError(f"there is no network {name}", code="unknown-network", who="operator", hint=f"networks: {known}")


def split_name(goal: Goal, text: str) -> tuple[str, str]:
    """NETWORK/NAME -> both, or an error that lists what there is."""
    network, slash, name = text.partition("/")
    if not slash:
        raise WarpError(f"{text} is not NETWORK/NAME", code="bad-name", who="operator", hint="for example privacy/phone-1")
    known_network(goal, network)
    endpoints = goal.intent.networks[network].endpoints
    if name not in endpoints:
        known = ", ".join(sorted(endpoints)) or "none"
        raise WarpError(
            f"network {network} has no endpoint {name}", code="unknown-endpoint", who="operator", hint=f"endpoints: {known}"
        )
    return network, name


# -- doctor, exec, schema


def _inside_vrf(network: str, vrf: str) -> list[str]:
    """A program is tied to a VRF by a BPF program on its cgroup (ip-vrf(8)): iproute2 knows how."""
    try:
        socket.if_nametoindex(vrf)
    except OSError:
        raise WarpError(f"network {network} is not in the kernel", who="operator", hint="see `warpctl plan`") from None
    return ["ip", "vrf", "exec", vrf]


@app.command()
def doctor(context: typer.Context, form: Output = Format.text) -> None:
    """Check this machine: kernel features, programs, conflicts with other firewalls. Exit code 1 when something is wrong."""
    session: Session = context.obj
    intent: Intent | None = None
    grants, findings = session.store.read_grants(), tuple[Finding, ...]()
    try:
        read = session.read()
        intent, grants = read.intent, read.grants
    except InvalidIntent as failure:
        findings = failure.findings
    checks = examine(intent, grants, findings)
    paint = output.paint()
    marks = {"ok": paint("ok   ", "32"), "warn": paint("warn ", "33"), "fail": paint("fail ", "31")}
    lines = [
        f"{marks[check.state]} {check.name}: {check.text}" + (f"\n        {check.hint}" if check.hint else "") for check in checks
    ]
    data = {"version": VERSION, "checks": [check.as_json() for check in checks]}
    output.emit(data, "\n".join(lines), form)
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(EXIT_FAILED)


@app.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec_(
    context: typer.Context,
    network: Annotated[str, typer.Argument(metavar="NETWORK")],
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="what to run there, after --")],
) -> None:
    """Run a command inside a network, for example `warpctl exec privacy -- ping 10.100.0.1`."""
    from warpd.kernel import live_netns

    session: Session = context.obj
    require_root("exec")
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise WarpError("exec needs a command", who="operator", hint="warpctl exec NETWORK -- ip addr")
    vcid = _vcid_of(session, network)
    if shutil.which(command[0]) is None:
        raise WarpError(f"there is no program {command[0]}", who="operator")
    try:
        live_netns.stay(os.open(live_netns.path_of(netns_name(vcid)), os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        command = [*_inside_vrf(network, f"vrf-{vcid}"), *command]
    os.execvp(command[0], command)  # noqa: S606  # running the operator's own command is what this is for


def _vcid_of(session: Session, network: str) -> int:
    """From the grants alone: a broken YAML must not keep the operator out."""
    grants = session.store.read_grants().networks
    if network not in grants:
        grants = session.read().grants.networks
    if network not in grants:
        known = ", ".join(sorted(grants)) or "none"
        raise WarpError(f"there is no network {network}", code="unknown-network", who="operator", hint=f"networks: {known}")
    return grants[network].vcid


@app.command()
def schema() -> None:
    """Print the JSON Schema of the YAML, for editors: `# yaml-language-server: $schema=...`."""
    output.say(json.dumps(json_schema(), indent=2))
