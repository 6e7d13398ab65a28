"""explain: would it pass, and what decides."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated

import typer

from warpd.cli import output
from warpd.cli.app import Output, app
from warpd.cli.edit import EndpointName
from warpd.cli.inspect import see, split_name
from warpd.cli.output import Format
from warpd.compile import targets
from warpd.errors import WarpError
from warpd.explain import Protocol, Stage, explain, passes, question_of
from warpd.judge import Unreadable
from warpd.reconcile import Goal, Prospect
from warpd.render import VERSION
from warpd.session import Session, live_kernel, require_root
from warpd.state import ROOT, Host

NEEDS_PORT = ("tcp", "udp")


@app.command("explain")
def explain_(
    context: typer.Context,
    name: EndpointName,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="an address, or NETWORK/NAME of another endpoint")],
    protocol: Annotated[Protocol, typer.Option("--proto", help="tcp, udp or icmp (ping)")] = "icmp",
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="of the target; 443 if left out")] = None,
    form: Output = Format.text,
) -> None:
    """Would a packet of this endpoint pass, and which AllowedIPs, route or rule decides? Looks at the kernel, sends nothing.

    The packet is the first one of a connection; answers to it come back the same way.
    """
    require_root("warpctl explain")
    session: Session = context.obj
    seen = see(session)
    goal, found = seen.goal, seen.found
    network, endpoint = split_name(goal, name)
    port = port or (443 if protocol in NEEDS_PORT else 0)
    question = question_of(goal, found.observed.host, network, endpoint, _address(goal, target), protocol, port)
    try:
        way = explain(found.observed.state, _host_towards(goal, question.target), question)
    except Unreadable as failure:
        text = f"our table holds a rule that is not ours: {failure}"
        raise WarpError(text, code="foreign-rule", who="operator", hint="warpctl plan; warpctl apply") from None
    data = {
        "version": VERSION,
        "network": network,
        "endpoint": endpoint,
        "target": question.target,
        "protocol": protocol,
        "port": question.port or None,
        "passes": passes(way),
        "in_sync": found.plan.empty,
        "decided_by": _json(way[-1]),
        "path": [_json(stage) for stage in way],
    }
    output.emit(data, _text(way, found), form)


def _host_towards(goal: Goal, target: str) -> Host:
    """The machine, and how it reaches this address.

    Raises:
        LookFailed: the kernel could not be read.
    """
    prefix = str(ip_network(target))
    with live_kernel() as kernel:
        return kernel.dump(ROOT, goal.intent.gateway.uplink, (*targets(goal.intent), prefix)).host or Host()


def _json(stage: Stage) -> dict[str, object]:
    return {"where": stage.where, "what": stage.what, "goes_on": stage.goes_on}


def _text(way: tuple[Stage, ...], found: Prospect) -> str:
    rows = [f"{'  ' if stage.goes_on else '* '}{stage.where}: {stage.what}" for stage in way]
    late = [] if found.plan.empty else ["the kernel is not as the YAML says: this is the way as it is now (`warpctl plan`)"]
    return "\n".join([*rows, *late, "passes" if passes(way) else "does not pass"])


def _address(goal: Goal, target: str) -> str:
    """Of an endpoint, or as it was given."""
    if "/" in target:
        network, endpoint = split_name(goal, target)
        return str(goal.grants.networks[network].endpoints[endpoint].address)
    try:
        return str(ip_address(target.strip("[]")))
    except ValueError:
        hint = "write an IPv4 or IPv6 address, or NETWORK/NAME; host names are not looked up"
        raise WarpError(f"{target} is not an address", code="bad-target", who="operator", hint=hint) from None
