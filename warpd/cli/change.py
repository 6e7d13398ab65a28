"""validate, plan, apply, destroy: the commands that lead to changes, and the promises around them."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.cli import asking, output
from warpd.cli.app import Output, app
from warpd.cli.output import Format
from warpd.errors import EXIT_CHANGES, EXIT_INVALID, Busy, InvalidIntent, WarpError, render_finding
from warpd.intent.loader import MAIN_FILE
from warpd.reconcile.engine import PlannedRun, converge, planned_run, removal
from warpd.reconcile.incremental import replan
from warpd.reconcile.plan import Step, digest
from warpd.service import client
from warpd.service.commitment import Applied, commit, has_devices, last_applied, refuse_lost_state
from warpd.service.history import History
from warpd.service.queries import await_confirmation, refuse_stale, way_back
from warpd.service.rollback import seconds_of
from warpd.service.views.overview import Side, overview
from warpd.service.views.render import (
    VERSION,
    attention_lines,
    finding_of,
    headline,
    plan_json,
    plan_text,
    problem_lines,
    step_json,
    step_text,
    summary_text,
)
from warpd.service.views.report import (
    NOT_DONE,
    described,
    exit_code_of,
    outcome_json,
    unwritten_json,
    with_rollback,
    without_steps,
)
from warpd.service.workspace import LoadedIntent, Session, live_kernel, require_root
from warpd.store.private_file import write_private

if TYPE_CHECKING:
    from warpd.kernel.linux.live_kernel import LiveKernel

Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="the kernel steps too")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]


@app.command()
def validate(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="instead of the configured one; - for stdin"),
    ] = None,
    form: Output = Format.text,
) -> None:
    """Check the YAML: every problem at once, each at its line. Needs no root and no kernel."""
    data = asking.validate(*_to_check(context.obj, file))
    findings = [finding_of(item) for item in data["findings"]]
    if not data["valid"]:
        if form is Format.json:
            output.say(json.dumps(data, indent=2))
            raise typer.Exit(EXIT_INVALID)
        raise InvalidIntent(findings)
    for warning in findings:
        output.note(render_finding(warning))
    counts = (
        output.plural(data["networks"], "network"),
        output.plural(data["endpoints"], "endpoint"),
    )
    output.emit(data, f"{data['file']}: valid; {', '.join(counts)}", form)


def _to_check(session: Session, file: Path | None) -> tuple[Session, dict[Path, bytes] | None]:
    """What is to be checked: the configured YAML, another file, or for `-` what comes by stdin in
    the place of the main file.
    """
    if file == Path("-"):
        main = session.config / MAIN_FILE if os.path.isdir(session.config) else session.config
        return session, {main: sys.stdin.buffer.read()}
    return (session if file is None else Session(file, session.store.folder)), None


@app.command()
def plan(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option("--out", help="save the plan for `warpctl apply FILE`")
    ] = None,
    verbose: Verbose = False,
    form: Output = Format.text,
) -> None:
    """Show what would change, a line per network and endpoint. Changes nothing, creates nothing.

    Exit code 0: in sync; 2: there are changes.
    """
    session: Session = context.obj
    data = asking.DaemonGateway(session).plan() if asking.through_daemon() else _planned(session)
    if out is not None:
        write_private(out, (json.dumps(data, indent=2) + "\n").encode())
    output.emit(data, plan_text(data, output.paint(), verbose), form)
    raise typer.Exit(EXIT_CHANGES if data["changes"] else 0)


def _planned(session: Session) -> dict[str, Any]:
    read = with_rollback(session, session.read())
    goal = session.goal(read, create=False)
    with live_kernel() as kernel:
        refuse_lost_state(session, read, kernel)
        return described(session, goal, planned_run(kernel, goal), read)


@app.command()
def apply(
    context: typer.Context,
    planfile: Annotated[
        Path | None, typer.Argument(help="a plan saved by `warpctl plan --out`")
    ] = None,
    yes: Yes = False,
    confirm_within: Annotated[
        str,
        typer.Option(
            "--confirm-within",
            help="undo it after this time (60s, 5m, 1h) unless `warpctl confirm` says yes",
        ),
    ] = "",
    verbose: Verbose = False,
    form: Output = Format.text,
) -> None:
    """Plan, show, ask, apply, and look again.

    A saved plan is refused when the world has moved since.
    """
    session: Session = context.obj
    within_s = seconds_of(confirm_within) if confirm_within else 0
    if asking.through_daemon():
        _apply_through_daemon(
            asking.DaemonGateway(session),
            _saved(planfile) if planfile else None,
            yes,
            within_s,
            verbose,
            form,
        )
        return
    History(session).refuse_pending()
    promised = _saved(planfile) if planfile else None
    agreed = None if yes else _risks(session, form) if promised is not None else frozenset[str]()
    if promised is None and not yes:
        promised, agreed = _ask(session, form, verbose)
    with live_kernel() as kernel, _writer(session, kernel) as obstacle:
        read = with_rollback(session, session.read())
        if promised is not None:
            refuse_stale(kernel, session.goal(read, create=False), promised)
        _refuse_unsaid(read, agreed)
        History(session).refuse_pending()
        previous, back_to, by = _last_applied(session), way_back(session, kernel, within_s), _who()
        done = commit(session, read, by, kernel, lambda: previous, obstacle)
        found = planned_run(kernel, done.goal)
        data = without_steps(
            session, done.goal, found, read, previous.read.intent if previous is not None else None
        )
        if done.unwritten is not None:
            data["unwritten"] = unwritten_json(done.unwritten, within_s)
        if (yes or planfile is not None) and form is Format.text and data["changes"]:
            output.note(plan_text({**data, "steps": []}, output.paint(sys.stderr)))
        data["confirm_until"] = await_confirmation(
            session, done.number, back_to, within_s if done.unwritten is None else 0, by
        )
        _run(kernel, found, lambda: replan(kernel, done.goal, found), data, form, verbose)


def _writer(
    session: Session, kernel: LiveKernel
) -> contextlib.AbstractContextManager[WarpError | None]:
    """A state folder that must have been there is somewhere: a new one would stand in its way."""
    make = session.store.folder.exists() or not has_devices(kernel)
    return session.store.writer_if_possible("warpctl apply", make=make)


def _last_applied(session: Session) -> Applied | None:
    """From the history, before anything is written there; None also where it cannot be read."""
    with contextlib.suppress(WarpError, OSError):
        return last_applied(session)
    return None


def _who() -> str:
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()} (warpctl apply)"


def _apply_through_daemon(
    daemon: asking.DaemonGateway,
    promised: str | None,
    yes: bool,
    within_s: int,
    verbose: bool,
    form: Format,
) -> None:
    """Show, ask, and have the daemon apply what was shown."""
    data, began = daemon.plan(), time.monotonic()
    if form is Format.text and (data["changes"] or data["risks"]):
        output.note(plan_text(data, output.paint(sys.stderr), verbose))
    wish: dict[str, Any] = {"yes": True}
    if not yes:
        if (promised is None and data["changes"]) or data["risks"]:
            agree("Apply?", form, [risk["message"] for risk in data["risks"]])
        wish["digest"] = promised or data["digest"]
    elif promised is not None:
        wish["digest"] = promised
    if within_s:
        wish["confirm_within_s"] = within_s
    result = daemon.ask("POST", "/v1/apply", wish)
    output.emit(result, result_text({**data, **result}, time.monotonic() - began), form)
    raise typer.Exit(exit_code_of(result))


def _saved(path: Path) -> str:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")
        digest: str = data["digest"]
        return digest
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as failure:
        raise WarpError(
            f"{path} is not a plan of this warpctl: {failure}",
            code="plan-unreadable",
            who="operator",
            hint="make one with `warpctl plan --out FILE`",
        ) from None


def _ask(session: Session, form: Format, verbose: bool) -> tuple[str, frozenset[str]]:
    """Show the plan and ask, before anything is locked; the digest of what was agreed to, and its
    risks.
    """
    read = with_rollback(session, session.read())
    goal = session.goal(read, create=False)
    with live_kernel() as kernel:
        refuse_lost_state(session, read, kernel)
        found = planned_run(kernel, goal)
    data = described(session, goal, found, read)
    if data["changes"] or read.risks:
        output.note(plan_text(data, output.paint(sys.stderr), verbose))
        agree("Apply?", form, [item.message for item in read.risks])
    return digest(found.plan.steps), frozenset(item.message for item in read.risks)


def _risks(session: Session, form: Format) -> frozenset[str]:
    """Of a saved plan only the risks are asked about: its steps were agreed to by saving it."""
    read = with_rollback(session, session.read())
    for item in read.risks:
        output.note(f"{output.paint(sys.stderr)('risk', '31')}: {item.message}\nhint: {item.hint}")
    if read.risks:
        agree("Apply all the same?", form, [item.message for item in read.risks])
    return frozenset(item.message for item in read.risks)


def _refuse_unsaid(read: LoadedIntent, agreed: frozenset[str] | None) -> None:
    """Raises: Busy when a risk has come up since the operator agreed; None is `--yes`, which agrees
    to all.
    """
    if agreed is not None and any(item.message not in agreed for item in read.risks):
        text = "the YAML has changed since: it now holds a risk that was not agreed to"
        raise Busy(text, code="plan-stale", hint="look at it with `warpctl plan`")


def agree(question: str, form: Format, risks: Sequence[str] = ()) -> None:
    """Raises: WarpError when nobody says yes."""
    if form is Format.json or not sys.stdin.isatty():
        text = "this asks before it changes anything, and nobody is there to answer"
        hint = f"say --yes to go on although {risks[0]}" if risks else "say --yes"
        raise WarpError(text, code="declined", who="operator", hint=hint)
    if not typer.confirm(question, err=True):
        raise WarpError("nothing was changed", code="declined", who="operator")


@app.command()
def destroy(
    context: typer.Context,
    network: Annotated[str | None, typer.Option("--network", help="only this network")] = None,
    yes: Yes = False,
    verbose: Verbose = False,
    form: Output = Format.text,
) -> None:
    """Remove everything of ours from the kernel, and nothing else.

    Allocations and keys stay; needs no state folder.
    """
    session: Session = context.obj
    require_root("destroy")
    _refuse_beside_daemon(session)
    with live_kernel() as kernel, session.store.writer_if_possible("warpctl destroy") as obstacle:
        if obstacle is not None:  # a full disk must not keep anybody from removing
            output.note(f"warning: the state folder takes no writes: {obstacle}")
        group = _group_named(session, kernel, network) if network else None
        found = removal(kernel, group)
        data = _destruction(session, found)
        if data["changes"] and form is Format.text:
            output.note(
                plan_text(
                    {**data, **plan_json(found.plan, (), data["overview"])},
                    output.paint(sys.stderr),
                    verbose,
                )
            )
        if not yes and data["changes"]:
            agree("Remove all this?", form)
        with contextlib.suppress(WarpError):
            History(session).clear_pending()  # nothing is left that a timer should undo
        _run(kernel, found, lambda: removal(kernel, group), data, form, verbose)


def _refuse_beside_daemon(session: Session) -> None:
    """Raises: Busy when a daemon is at work, which would make everything again at once."""
    if client.answers() or session.store.is_kept():
        text = "warpd is running: it would make again within seconds what is removed"
        hint = "`systemctl stop warpd` first; `enabled: false` in the YAML removes one network"
        raise Busy(text, code="daemon-running", hint=hint)


def _destruction(session: Session, found: PlannedRun) -> dict[str, Any]:
    """The headline of a plan that takes everything away; names of endpoints come from the state
    folder, if it can be read.
    """
    allocations = Allocations()
    with contextlib.suppress(WarpError, OSError):
        allocations = session.store.read_allocations()
    seen = overview(
        found.plan,
        Side(None, allocations),
        Side(),
        found.observed.traffic,
        int(time.time()),
        datetime.now(UTC).date(),
    )
    return {
        **headline(found.plan, (), [row.as_json() for row in seen.rows]),
        "risks": [risk.as_json() for risk in seen.risks],
    }


def _group_named(session: Session, kernel: LiveKernel, name: str) -> str:
    """The namespace of a network, by what the kernel's aliases say, or else the grants."""
    for group, known in removal(kernel).plan.networks.items():
        if known == name:
            return group
    allocations = session.store.read_allocations().networks
    if name in allocations:
        return naming.namespace(allocations[name].vcid)
    raise WarpError(
        f"there is no network {name}",
        code="unknown-network",
        who="operator",
        hint="see `warpctl network list`",
    )


def _run(
    kernel: LiveKernel,
    found: PlannedRun,
    replan: Callable[[], PlannedRun],
    data: dict[str, Any],
    form: Format,
    verbose: bool = False,
) -> None:
    """Apply a plan under the operator's signals, and report."""
    began = time.monotonic()
    progress = _Progress(
        found.plan.steps, verbose, form is Format.text and output.colour(sys.stderr)
    )
    with signals() as stop:
        outcome = converge(kernel, replan, found, progress, stop)
    result = outcome_json(outcome, data)
    output.emit(result, result_text({**data, **result}, time.monotonic() - began), form)
    raise typer.Exit(exit_code_of(result))


class _Progress:
    """Tells of each network when its last step is done, with the seconds since the apply began;
    only on a terminal.
    """

    def __init__(self, steps: Sequence[Step], verbose: bool, shown: bool) -> None:
        self._left = Counter(step.network for step in steps)
        self._verbose, self._shown = verbose, shown
        self._began = time.monotonic()

    def __call__(self, step: Step) -> None:
        if not self._shown:
            return
        if self._verbose:
            output.note(step_text(step_json(step, 0), output.paint(sys.stderr)))
        self._left[step.network] -= 1
        if self._left[step.network] == 0:
            output.note(f"  {step.network} done after {time.monotonic() - self._began:.1f} s")


def result_text(result: dict[str, Any], seconds: float) -> str:
    """What became of a plan that was shown before: what failed, what remains, and the verdict.

    `result` is an outcome's JSON together with the headline of its plan.
    """
    paint = output.paint()
    lines = [
        f"blocked {b['network']}: {b['object']} is not ours: {b['foreign']}"
        for b in result["blocked"]
    ]
    lines += problem_lines(result["problems"], paint) if result["done"] else []
    lines += [f"failed  {step['network']}: {step['error']}" for step in result["failed"]]
    for title, part in (
        ("not tried", "skipped"),
        ("remains", "remaining"),
        ("not as promised", "unverified"),
    ):
        lines += [
            f"{title} {step['network']}: {step['action']} {step['kind']} {step['name']}"
            for step in result[part]
        ]
    if "unwritten" in result:
        lines.append(
            f"waits   what gives access: {result['unwritten']['error']}. What takes it away was"
            " done."
        )
        if result["unwritten"]["unconfirmable"]:
            lines.append(
                "waits   --confirm-within: there is no place to note what to go back to, so nothing"
                " will be undone."
            )
    if result["remaining"]:
        lines.append("Stopped as asked; `warpctl apply` goes on from here.")
    if result.get("confirm_until"):
        lines.append(
            f"Undone at {result['confirm_until']} unless `warpctl confirm` says yes before."
        )
    stopped = any(result[part] for part in NOT_DONE if part != "blocked")
    if not result["done"] and not stopped and not result["changes"]:
        return "\n".join([*attention_lines(result, paint), *lines, summary_text(result)])
    verdict = paint("Applied", "32") if result["complete"] else paint("Applied in part", "31")
    counts = (
        f"{len(result['done'])} kernel steps done, {len(result['failed'])} failed, in"
        f" {seconds:.1f} s"
    )
    return "\n".join([*lines, f"{verdict}: {counts}."])


class signals:
    """SIGHUP and SIGPIPE do not end an apply; the first SIGINT or SIGTERM ends it after the step in
    hand.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Callable[[], bool]:
        for number in (signal.SIGHUP, signal.SIGPIPE):
            self._before[number] = signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)
        return lambda: self._asked

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._asked:
            output.note("stopping after the step in hand")
        self._asked = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
