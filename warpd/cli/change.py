"""The commands validate, plan, apply and destroy."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from warpd import naming
from warpd.allocation.model import Allocations
from warpd.cli import asking, names, output
from warpd.cli.app import Output, app
from warpd.cli.conditions import intent_lines, watch_daemon
from warpd.cli.findings import FORMATS
from warpd.cli.findings.report import Report
from warpd.cli.output import Format
from warpd.errors import EXIT_CHANGES, EXIT_INVALID, Busy, InvalidIntent, WarpError, render_finding
from warpd.intent.file_names import MAIN_FILE
from warpd.reconcile.engine import PlannedRun, converge, removal
from warpd.reconcile.incremental import planned_run, replan
from warpd.reconcile.plan import Step, digest
from warpd.service import client
from warpd.service.commitment import (
    Applied,
    commit,
    has_devices,
    last_applied,
    refuse_lost_state,
    withdrawn_on_failure,
)
from warpd.service.history import History
from warpd.service.queries import await_confirmation, planned, refuse_stale, rollback_target
from warpd.service.rollback import seconds_of
from warpd.service.views.overview import Side, overview
from warpd.service.views.render import (
    VERSION,
    Paint,
    attention_lines,
    blocked_text,
    finding_of,
    headline,
    plan_json,
    plan_text,
    problem_lines,
    step_json,
    step_text,
    summary_text,
    wrapped,
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
from warpd.service.views.words import owner_text, plural
from warpd.service.workspace import LoadedIntent, Workspace, live_kernel, require_root
from warpd.store.private_file import write_private

if TYPE_CHECKING:
    from warpd.kernel.linux.live_kernel import LiveKernel

# What the text of an outcome calls the parts that were not done.
NOT_DONE_TITLES: Final = {
    "not tried": "skipped",
    "remains": "remaining",
    "verification failed": "unverified",
}

Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="show the kernel steps too")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]


@app.command()
def validate(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="instead of the configured one; - for stdin"),
    ] = None,
    style: Annotated[
        str,
        typer.Option(
            "--format",
            help=f"findings for a CI system instead: {', '.join(FORMATS)}",
            autocompletion=names.report_formats,
        ),
    ] = "",
    output_format: Output = Format.text,
) -> None:
    """Check the YAML: every problem at once, each at its line. Needs no root and no kernel."""
    report = _report_format(style)
    workspace, instead = _to_check(context.obj, file)
    data = asking.validate(workspace, instead)
    findings = [finding_of(item) for item in data["findings"]]
    if report is not None:
        output.say(report(Report(str(workspace.config), os.getcwd(), tuple(findings))))
        raise typer.Exit(0 if data["valid"] else EXIT_INVALID)
    if not data["valid"]:
        if output_format is Format.json:
            output.say(json.dumps(data, indent=2))
            raise typer.Exit(EXIT_INVALID)
        raise InvalidIntent(findings)
    for warning in findings:
        output.note(render_finding(warning))
    counts = (
        plural(data["networks"], "network"),
        plural(data["endpoints"], "endpoint"),
    )
    output.emit(data, f"{data['file']}: valid; {', '.join(counts)}", output_format)


def _report_format(name: str) -> Callable[[Report], str] | None:
    """Return a format for CI systems; None where none is named.

    Raises:
        WarpError: there is no such format.
    """
    if name and name not in FORMATS:
        text, hint = f"there is no format {name}", f"formats: {', '.join(FORMATS)}"
        raise WarpError(text, code="unknown-format", who="operator", hint=hint)
    return FORMATS.get(name)


def _to_check(
    workspace: Workspace, file: Path | None
) -> tuple[Workspace, dict[Path, bytes] | None]:
    """Return what is to be checked: the configured YAML, another file, or for `-` standard input in
    the place of the main file.
    """
    if file == Path("-"):
        main = workspace.config / MAIN_FILE if os.path.isdir(workspace.config) else workspace.config
        return workspace, {main: sys.stdin.buffer.read()}
    return (workspace if file is None else Workspace(file, workspace.store.folder)), None


@app.command()
def plan(
    context: typer.Context,
    out: Annotated[
        Path | None, typer.Option("--out", help="save the plan for `warpctl apply FILE`")
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="FILE",
            help="plan from this YAML (a file, a folder, or `empty`) without root or kernel",
        ),
    ] = "",
    verbose: Verbose = False,
    output_format: Output = Format.text,
) -> None:
    """Show what would change, a line for each network and endpoint. Nothing is changed or created.

    Exit code 0: in sync; 2: there are changes; 4: the YAML is invalid, and what is shown is the way
    to the last good intent.
    """
    workspace: Workspace = context.obj
    if against:
        _plan_against(workspace, against, out, verbose, output_format)
    data = (
        asking.DaemonGateway(workspace).plan() if asking.through_daemon() else _planned(workspace)
    )
    if out is not None and not data["findings"]:
        write_private(out, (json.dumps(data, indent=2) + "\n").encode())
    lines = [*intent_lines(data["conditions"]), plan_text(data, output.paint(), verbose)]
    output.emit(data, "\n".join(lines), output_format)
    _refuse_invalid(data)
    raise typer.Exit(EXIT_CHANGES if data["changes"] else 0)


def _plan_against(
    workspace: Workspace, against: str, out: Path | None, verbose: bool, output_format: Format
) -> NoReturn:
    """Show the plan from another YAML to this one, for review.

    Raises:
        WarpError: it is to be saved, although no gateway could apply it.
    """
    if out is not None:
        text = "a plan against a file is for review: no gateway can apply it"
        raise WarpError(text, code="usage", who="operator", hint="leave out --out or --against")
    # Imported here: the kernel in memory is needed by nothing else that warpctl does.
    from warpd.service.offline import planned_against

    data = planned_against(workspace, against)
    title = f"Not the live kernel, but a machine in memory: from {against} to {workspace.named}."
    lines = [*wrapped(title), "", plan_text(data, output.paint(), verbose)]
    output.emit(data, "\n".join(lines), output_format)
    raise typer.Exit(EXIT_CHANGES if data["changes"] else 0)


def _planned(workspace: Workspace) -> dict[str, Any]:
    running, _daemon, watched = watch_daemon(workspace)
    with live_kernel() as kernel:
        return planned(workspace, kernel, running, watched)


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
            help="undo it after this time (60s, 5m, 1h) unless `warpctl confirm` keeps it",
        ),
    ] = "",
    verbose: Verbose = False,
    output_format: Output = Format.text,
) -> None:
    """Plan, show the plan, ask, apply, and verify.

    A saved plan is refused if the YAML, the allocations or the kernel have changed since.
    """
    workspace: Workspace = context.obj
    request = ApplyRequest(
        saved=_saved(planfile) if planfile else None,
        yes=yes,
        within_s=seconds_of(confirm_within) if confirm_within else 0,
        verbose=verbose,
        output_format=output_format,
    )
    if asking.through_daemon():
        _apply_through_daemon(asking.DaemonGateway(workspace), request)
        return
    History(workspace).refuse_pending()
    agreement = _agreed(workspace, request)
    with live_kernel() as kernel, _writer(workspace, kernel) as obstacle:
        read = with_rollback(workspace, workspace.read())
        agreement.refuse_changed(workspace, kernel, read)
        History(workspace).refuse_pending()
        _commit_and_run(workspace, kernel, read, obstacle, request)


@dataclass(frozen=True, slots=True)
class ApplyRequest:
    """What the operator asked of `apply`.

    - `saved`: the digest of a saved plan; None where there is none.
    - `yes`: whether to ask nothing.
    - `within_s`: the time to confirm, in seconds; 0 for none.
    - `verbose`, `output_format`: how to show it.
    """

    saved: str | None
    yes: bool
    within_s: int
    verbose: bool
    output_format: Format


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the operator has agreed to.

    - `digest`: that of the plan; None for any plan.
    - `risks`: the messages of the risks; None for all risks.
    """

    digest: str | None
    risks: frozenset[str] | None

    def refuse_changed(self, workspace: Workspace, kernel: LiveKernel, read: LoadedIntent) -> None:
        """Refuse a plan or a risk that has come up since the operator agreed.

        Raises:
            Busy: there is one.
        """
        if self.digest is not None:
            refuse_stale(kernel, workspace.target(read, create=False), self.digest)
        self.refuse_new_risks(read)

    def refuse_new_risks(self, read: LoadedIntent) -> None:
        """Refuse a risk that the operator has not agreed to.

        Raises:
            Busy: there is one.
        """
        if self.risks is not None and any(item.message not in self.risks for item in read.risks):
            text = "the YAML has changed since: it now holds a risk that was not agreed to"
            raise Busy(text, code="plan-stale", hint="see it with `warpctl plan`")


def _agreed(workspace: Workspace, request: ApplyRequest) -> Agreement:
    """Ask the operator, before anything is locked.

    Raises:
        WarpError: the operator declines, or nobody can be asked.
    """
    if request.yes:
        return Agreement(request.saved, None)
    if request.saved is not None:
        return Agreement(request.saved, _agreed_risks(workspace, request.output_format))
    return _agreed_plan(workspace, request)


def _commit_and_run(
    workspace: Workspace,
    kernel: LiveKernel,
    read: LoadedIntent,
    obstacle: WarpError | None,
    request: ApplyRequest,
) -> None:
    """Record the intent, start the timer of an unconfirmed apply, and apply."""
    previous, by = _last_applied(workspace), _who()
    back_to = rollback_target(workspace, kernel, request.within_s)
    history = History(workspace)
    mark = history.mark() if request.within_s else None
    done = commit(history, read, by, kernel, lambda: previous, obstacle)
    found = planned_run(kernel, done.target)
    intent_before = previous.read.intent if previous is not None else None
    data = without_steps(workspace, done.target, found, read, intent_before)
    within_s = request.within_s
    if done.unwritten is not None:
        data["unwritten"] = unwritten_json(done.unwritten, done.waiting, within_s)
        within_s = 0
    was_shown = not request.yes and request.saved is None
    if not was_shown and request.output_format is Format.text and data["changes"]:
        output.note(plan_text({**data, "steps": []}, output.paint(sys.stderr)))
    with withdrawn_on_failure(history, mark, read, done):
        data["confirm_until"] = await_confirmation(workspace, done.number, back_to, within_s, by)
    _run(
        kernel,
        found,
        lambda: replan(kernel, done.target, found),
        data,
        request.output_format,
        request.verbose,
    )


def _writer(
    workspace: Workspace, kernel: LiveKernel
) -> contextlib.AbstractContextManager[WarpError | None]:
    """Lock the state folder; make one only where nothing was ever applied.

    A state folder that must exist is elsewhere, perhaps not mounted, and a new one would hide it.
    """
    make = workspace.store.folder.exists() or not has_devices(kernel)
    return workspace.store.writer_if_possible("warpctl apply", make=make)


def _last_applied(workspace: Workspace) -> Applied | None:
    """Return what was applied before; None also where the history cannot be read."""
    with contextlib.suppress(WarpError, OSError):
        return last_applied(workspace)
    return None


def _who() -> str:
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()} (warpctl apply)"


def _apply_through_daemon(daemon: asking.DaemonGateway, request: ApplyRequest) -> None:
    """Show the plan, ask, and let the daemon apply what was shown."""
    data, began = daemon.plan(), time.monotonic()
    _refuse_invalid(data)
    if request.output_format is Format.text and (data["changes"] or data["risks"]):
        output.note(plan_text(data, output.paint(sys.stderr), request.verbose))
    body: dict[str, Any] = {"yes": True}
    agreed_digest = request.saved
    if not request.yes:
        _agree_to(data, request)
        agreed_digest = request.saved or data["digest"]
    if agreed_digest is not None:
        body["digest"] = agreed_digest
    if request.within_s:
        body["confirm_within_s"] = request.within_s
    result = daemon.ask("POST", "/v1/apply", body)
    output.emit(
        result, result_text({**data, **result}, time.monotonic() - began), request.output_format
    )
    raise typer.Exit(exit_code_of(result))


def _agree_to(data: dict[str, Any], request: ApplyRequest) -> None:
    """Ask about a plan; about a saved one only if it has risks.

    Raises:
        WarpError: the operator declines, or nobody can be asked.
    """
    if data["risks"] or (request.saved is None and data["changes"]):
        require_consent(
            "Apply?", request.output_format, [risk["message"] for risk in data["risks"]]
        )


def _refuse_invalid(data: Mapping[str, Any]) -> None:
    """Refuse a plan that leads to the last good intent.

    Raises:
        InvalidIntent: the YAML is invalid, for the findings of the plan.
    """
    if data["findings"]:
        raise InvalidIntent(finding_of(item) for item in data["findings"])


def _saved(path: Path) -> str:
    """Return the digest of a saved plan.

    Raises:
        WarpError: the file is not a plan of this version.
    """
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


def _agreed_plan(workspace: Workspace, request: ApplyRequest) -> Agreement:
    """Show the plan and ask about it.

    Raises:
        WarpError: the operator declines, or nobody can be asked.
    """
    read = with_rollback(workspace, workspace.read())
    target = workspace.target(read, create=False)
    with live_kernel() as kernel:
        refuse_lost_state(workspace, read, kernel)
        found = planned_run(kernel, target)
    data = described(workspace, target, found, read)
    if data["changes"] or read.risks:
        output.note(plan_text(data, output.paint(sys.stderr), request.verbose))
        require_consent("Apply?", request.output_format, [item.message for item in read.risks])
    risks = frozenset(item.message for item in read.risks)
    return Agreement(digest(found.plan.steps), risks)


def _agreed_risks(workspace: Workspace, output_format: Format) -> frozenset[str]:
    """Ask about the risks of a saved plan; its steps were agreed to when it was saved.

    Raises:
        WarpError: the operator declines, or nobody can be asked.
    """
    read = with_rollback(workspace, workspace.read())
    for item in read.risks:
        output.note(f"{output.paint(sys.stderr)('risk', '31')}: {item.message}\nhint: {item.hint}")
    if read.risks:
        require_consent("Apply nevertheless?", output_format, [item.message for item in read.risks])
    return frozenset(item.message for item in read.risks)


def require_consent(question: str, output_format: Format, risks: Sequence[str] = ()) -> None:
    """Ask the operator a question.

    Raises:
        WarpError: the answer is no, or there is no terminal to ask on.
    """
    if output_format is Format.json or not sys.stdin.isatty():
        text = "this asks before it changes anything, and nobody is there to answer"
        hint = f"pass --yes to go on although {risks[0]}" if risks else "pass --yes"
        raise WarpError(text, code="declined", who="operator", hint=hint)
    if not typer.confirm(question, err=True):
        raise WarpError("nothing was changed", code="declined", who="operator")


@app.command()
def destroy(
    context: typer.Context,
    network: Annotated[str | None, typer.Option("--network", help="only this network")] = None,
    yes: Yes = False,
    verbose: Verbose = False,
    output_format: Output = Format.text,
) -> None:
    """Remove everything that warpd has made from the kernel, and nothing else.

    Allocations and keys stay. No state folder is needed.
    """
    workspace: Workspace = context.obj
    require_root("destroy")
    _refuse_beside_daemon(workspace)
    with live_kernel() as kernel, workspace.store.writer_if_possible("warpctl destroy") as obstacle:
        if obstacle is not None:  # a removal needs no disk
            output.note(f"warning: the state folder takes no writes: {obstacle}")
        group = _group_named(workspace, kernel, network) if network else None
        found = removal(kernel, group)
        data = _destruction(workspace, found)
        if data["changes"] and output_format is Format.text:
            shown = {**data, **plan_json(found.plan, (), data["overview"])}
            output.note(plan_text(shown, output.paint(sys.stderr), verbose))
        if not yes and data["changes"]:
            require_consent("Remove all this?", output_format)
        with contextlib.suppress(WarpError):
            History(workspace).clear_pending()  # nothing is left that a timer should undo
        _run(kernel, found, lambda: removal(kernel, group), data, output_format, verbose)


def _refuse_beside_daemon(workspace: Workspace) -> None:
    """Refuse to remove what a running daemon would make again at once.

    Raises:
        Busy: a daemon keeps this gateway.
    """
    if client.answers() or workspace.store.has_daemon():
        text = "warpd is running: it would make again within seconds what is removed"
        hint = "`systemctl stop warpd` first; `enabled: false` in the YAML removes one network"
        raise Busy(text, code="daemon-running", hint=hint)


def _destruction(workspace: Workspace, found: PlannedRun) -> dict[str, Any]:
    """Return the headline of a plan that removes everything.

    The names of endpoints come from the state folder, if it can be read.
    """
    allocations = Allocations()
    with contextlib.suppress(WarpError, OSError):
        allocations = workspace.store.read_allocations()
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


def _group_named(workspace: Workspace, kernel: LiveKernel, name: str) -> str:
    """Return the group of a network's objects, by the kernel's aliases or else the allocations.

    Raises:
        WarpError: neither of them has the network.
    """
    for group, known in removal(kernel).plan.networks.items():
        if known == name:
            return group
    allocations = workspace.store.read_allocations().networks
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
    output_format: Format,
    verbose: bool = False,
) -> None:
    """Apply a plan, obey signals of the operator meanwhile, and show the outcome."""
    began = time.monotonic()
    progress = _Progress(
        found.plan.steps, verbose, output_format is Format.text and output.colour(sys.stderr)
    )
    with signals() as stop:
        outcome = converge(kernel, replan, found, progress, stop)
    result = outcome_json(outcome, data)
    output.emit(result, result_text({**data, **result}, time.monotonic() - began), output_format)
    raise typer.Exit(exit_code_of(result))


class _Progress:
    """Report each network when its last step is done, with the seconds since the apply began.

    It is silent if `shown` is false.
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
            seconds = time.monotonic() - self._began
            output.note(f"  {owner_text(step.network)} done after {seconds:.1f} s")


def result_text(result: dict[str, Any], seconds: float) -> str:
    """Return the outcome of a plan that was shown before: failures, what remains, the verdict.

    Args:
        result: the JSON of an outcome, joined with the headline of its plan.
        seconds: how long the apply took.
    """
    paint = output.paint()
    lines = [*_not_done_lines(result, paint), *_open_lines(result)]
    stopped = any(result[part] for part in NOT_DONE if part != "blocked")
    if not result["done"] and not stopped and not result["changes"]:
        return "\n".join([*attention_lines(result, paint), *lines, summary_text(result)])
    verdict = paint("Applied", "32") if result["complete"] else paint("Applied in part", "31")
    counts = (
        f"{len(result['done'])} kernel steps done, {len(result['failed'])} failed, in"
        f" {seconds:.1f} s"
    )
    return "\n".join([*lines, f"{verdict}: {counts}."])


def _not_done_lines(result: dict[str, Any], paint: Paint) -> list[str]:
    """Return what was blocked, failed, was not tried, or is not as planned."""
    lines = [
        f"blocked {owner_text(item['network'])}: {blocked_text(item)[0]}"
        for item in result["blocked"]
    ]
    if result["done"]:
        lines += problem_lines(result["problems"], paint)
    lines += [
        f"failed  {owner_text(step['network'])}: {step['error']}" for step in result["failed"]
    ]
    for title, part in NOT_DONE_TITLES.items():
        lines += [
            f"{title} {owner_text(step['network'])}: {step['action']} {step['kind']} {step['name']}"
            for step in result[part]
        ]
    return lines


def _open_lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield what somebody still has to do or to wait for."""
    unwritten = result.get("unwritten")
    if unwritten is not None:
        yield from _waiting_lines(unwritten)
    if result["remaining"]:
        yield "Stopped as asked; `warpctl apply` goes on from here."
    if result.get("confirm_until"):
        yield f"Undone at {result['confirm_until']} unless `warpctl confirm` keeps it before."


def _waiting_lines(unwritten: Mapping[str, Any]) -> Iterator[str]:
    """Yield what of an apply waits for the state folder, why, and what to do about it."""
    to = f" to {', '.join(unwritten['networks'])}" if unwritten["networks"] else ""
    yield f"pending additions{to}: {unwritten['error']}. Removals were applied."
    if unwritten["hint"]:
        yield f"hint: {unwritten['hint']}"
    if unwritten["unconfirmable"]:
        yield (
            "pending --confirm-within: the deadline could not be recorded, so that nothing will be"
            " undone."
        )


class signals:
    """A context in which SIGHUP and SIGPIPE do not end an apply.

    The first SIGINT or SIGTERM ends it after the current step.
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
            output.note("stopping after the current step")
        self._asked = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
