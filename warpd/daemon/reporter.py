"""What the daemon tells of itself: lines of the log, and events for most of what happens.

Lives here: the words of log and events. Does not: what is counted (`stats`), what is wrong for a
while (`publisher`, by `service.conditions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog

from warpd import naming
from warpd.allocation.suspensions import Suspension
from warpd.daemon.clock import Clock, iso_seconds
from warpd.daemon.mailbox import Mailbox
from warpd.daemon.stats import SourceStatus
from warpd.errors import Finding, WarpError, render_headline
from warpd.networks.problems import Problem
from warpd.reconcile.diff import Conflict
from warpd.reconcile.engine import ApplyResult
from warpd.reconcile.plan import Step
from warpd.service.exports import ExportRequest

STEPS_MAX: Final = 200  # changes of one pass that become an event each
CONTESTED_MAX: Final = 200  # objects contested since one pass that are told of one by one
FINDINGS_MAX: Final = 20  # findings that one event lists


class Reporter:
    """Log and events of one daemon. For the loop's thread."""

    def __init__(self, mailbox: Mailbox, log: structlog.stdlib.BoundLogger, clock: Clock) -> None:
        self.log = log
        self._mailbox, self._clock = mailbox, clock

    def event(self, kind: str, **fields: Any) -> None:
        self._mailbox.tell(self._clock.timestamp(), kind, **fields)

    # -- the YAML

    def intent_applied(self, networks: int) -> None:
        self.log.info("intent applied", networks=networks)
        self.event("intent_applied", networks=networks)

    def intent_warning(self, warning: Finding) -> None:
        self.log.warning("config_warning", finding=render_headline(warning), hint=warning.hint)

    def intent_invalid(self, findings: tuple[Finding, ...]) -> None:
        for finding in findings:
            about = {"finding": render_headline(finding), "hint": finding.hint}
            self.log.error("the YAML is not valid; what was applied stays in force", **about)
        shown = [render_headline(finding) for finding in findings[:FINDINGS_MAX]]
        self.event("intent_invalid", findings=shown)

    def consent_required(self, why: str, command: str) -> None:
        """`command` is what gives the consent."""
        self.log.error(
            f"consent required: run `{command}`; the applied intent stays in force", why=why
        )
        self.event("awaiting_consent", why=why)

    def intent_kept(self, number: int, time: str) -> None:
        """`number` and `time` are those of the entry in the history that stays in force."""
        self.log.warning("the last good intent stays in force", number=number, time=time)

    def source_polled(self, before: SourceStatus, now: SourceStatus) -> None:
        if now.revision != before.revision:
            self.log.info("pulled", revision=now.revision)
            self.event("source_pulled", revision=now.revision)
        if now.error and now.error != before.error:
            self.log.error("pull failed; the applied configuration stays in force", error=now.error)
            self.event("source_failed", error=now.error)

    def requested(self, verb: str, by: str) -> None:
        """Somebody has changed something over the control socket; `by` names who."""
        self.log.info("request", verb=verb, by=by)
        self.event("request", verb=verb, by=by)

    # -- the state folder

    def state_unwritable(self, why: WarpError) -> None:
        text = "state folder not writable: additions are delayed"
        self.log.error(text, error=why.message, hint=why.hint)
        self.event("state_unwritable", error=why.message)

    def state_writable_again(self) -> None:
        self.log.info("state folder writable again")
        self.event("state_writable")

    def recovered_from_kernel(self, networks: int, unnamed: int) -> None:
        """`unnamed` is the number of endpoints of which only the keys are known."""
        about = {"networks": networks, "unnamed": unnamed}
        self.log.error("state lost: the applied intent was recovered from the kernel", **about)
        self.event("recovered_from_kernel", **about)

    def confirm_expired(self, number: int, back_to: int) -> None:
        self.log.warning("confirmation timed out: rolling back", number=number, to=back_to)

    def rolled_back(self, number: int, complete: bool) -> None:
        self.event("rollback", number=number, complete=complete)

    def exported(self, request: ExportRequest, version: int, by: str, chain: str) -> None:
        """Somebody took a config; `version` is its number, `chain` that of the log of exports."""
        about = {
            "network": request.network,
            "endpoint": request.endpoint,
            "config_version": version,
        }
        more = {"format": request.style, "by": by, "reason": request.reason}
        self.log.info("client config exported", **about, **more, chain=chain)
        self.event("exported", **about, **more)

    # -- suspensions

    def suspended(self, item: Suspension, name: tuple[str, str]) -> None:
        """`name` is the endpoint's of now."""
        until = None if item.until_s is None else iso_seconds(item.until_s)
        about = {"network": name[0], "endpoint": name[1], "by": item.by, "reason": item.reason}
        self.log.warning("suspended", **about, until=until)
        self.event("suspended", **about, until=until)

    def resumed(self, name: tuple[str, str], by: str) -> None:
        about = {"network": name[0], "endpoint": name[1], "by": by}
        self.log.warning("resumed", **about)
        self.event("resumed", **about)

    def suspension_over(self, item: Suspension, name: tuple[str, str]) -> None:
        """Its time is over."""
        self.resumed(name, f"its time was over ({item.by})")

    # -- the kernel

    def problem_begins(self, problem: Problem) -> None:
        finding = problem.finding
        about = {"network": problem.network, "code": finding.code, "error": finding.message}
        self.log.error("problem of this machine", **about, hint=finding.hint)
        self.event("problem", **about)

    def problem_over(self, problem: Problem) -> None:
        about = {"network": problem.network, "code": problem.finding.code}
        self.log.info("problem over", **about)
        self.event("problem_over", **about)

    def objects_contested(self, found: Mapping[str, str]) -> None:
        """Objects that are contested since the last pass: object -> network."""
        text = "another program keeps changing or deleting this object; repairs are delayed"
        for item, network in list(found.items())[:CONTESTED_MAX]:
            self.log.error(text, object=item, network=network)
            self.event("object_contested", object=item, network=network)
        more = len(found) - CONTESTED_MAX
        if more > 0:
            self.log.error("another program keeps changing or deleting more objects", more=more)

    def peer_address_set(self, about: Mapping[str, Any], error: str) -> None:
        """`about` has network, endpoint, name and address; `error` is "" where it succeeded."""
        if error:
            self.log.warning("peer address not set", **about, error=error)
        else:
            self.log.info("peer address set", **about)

    # -- a pass

    def busy(self, failure: WarpError) -> None:
        self.log.info("busy", error=failure.message)

    def pass_failed(self, failure: Exception) -> None:
        self.log.error("pass failed", error=str(failure))
        self.event("failed", error=str(failure))

    def pass_crashed(self, failure: Exception) -> None:
        """A mistake of ours; the log has its traceback."""
        self.log.exception("pass failed", error=repr(failure))
        self.event("failed", error=repr(failure))

    def pass_done(self, result: str, steps: int, seconds: float, look_seconds: float) -> None:
        took = {"seconds": round(seconds, 4), "look_seconds": round(look_seconds, 4)}
        self.log.info("pass", result=result, steps=steps, **took)

    def step_done(self, step: Step) -> None:
        self.log.info(step.change.action.value, **_log_fields(step), why=step.reason)

    def steps_applied(self, outcome: ApplyResult, is_repair: bool) -> None:
        for step in outcome.done[:STEPS_MAX]:
            self.event("change", **_event_fields(step), repair=is_repair)
        for step, fault in outcome.failed:
            self.log.error("step failed", **_log_fields(step), error=str(fault))
            self.event("failed", **_event_fields(step), error=str(fault))
        for step in outcome.unverified:
            self.log.error("verification failed", **_log_fields(step))

    def conflict(self, network: str, conflict: Conflict) -> None:
        """A foreign object stands where one of ours has to be, or a namespace is not readable."""
        why = {"unread": conflict.unread} if conflict.unread else {"foreign": conflict.foreign}
        about = {"object": str(conflict.key), **why}
        vcid = naming.vcid_of_namespace(conflict.group)
        self.log.error("conflict", vcid=vcid, network=network, **about)
        self.event("conflict", network=network, **about)


def _log_fields(step: Step) -> dict[str, Any]:
    return {**_about(step), "step": str(step.key)}


def _event_fields(step: Step) -> dict[str, Any]:
    action = step.change.action.value
    return {**_about(step), "action": action, "object": str(step.key), "why": step.reason}


def _about(step: Step) -> dict[str, Any]:
    endpoint = getattr(step.change.subject, "label", "")
    about: dict[str, Any] = {
        "network": step.network,
        "vcid": naming.vcid_of_namespace(step.group),
    }
    return {**about, "endpoint": endpoint} if endpoint else about
