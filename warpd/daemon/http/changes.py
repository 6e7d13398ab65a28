"""Routes that change the YAML: looked at first, then applied by digest, or proposed as a patch."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from warpd.daemon.http import answers, visibility
from warpd.daemon.http.change_requests import (
    TEXT_MAX,
    ChangeRequest,
    CsvBody,
    EditsBody,
    FilesBody,
    Proposal,
    ReviewedApply,
    body_of,
    change_request,
)
from warpd.daemon.http.kept_candidates import KEPT_S
from warpd.daemon.http.messages import (
    HttpError,
    HttpRequest,
    HttpResponse,
    json_response,
    private_response,
)
from warpd.daemon.http.parameters import SHOWN_MAX
from warpd.daemon.http.route import LOOKED, NAMED, HttpRoute, NetworkScope, require_right
from warpd.daemon.http.services import Services
from warpd.daemon.http.statuses import CONFLICTS, status_of
from warpd.errors import Finding, InvalidIntent, WarpError, render_finding
from warpd.service.candidates import MASS_REMOVAL, Candidate, YamlSnapshot, identity
from warpd.service.edits import (
    Draft,
    YamlFiles,
    add_endpoints,
    editable,
    edited,
    endpoints_of,
    in_order_of_lines,
    name_of,
    names_of,
    replaced,
)
from warpd.service.patch import patch_of
from warpd.service.rights import Identity, Right
from warpd.service.views.render import finding_json
from warpd.service.views.scoped import diff_of_networks

if TYPE_CHECKING:
    from warpd.imports.csv import EndpointTable

CSV_NAME: Final = "csv"  # of the text, in findings
NAME_LENGTH: Final = 12  # of the id of a change, in the name of its branch
EDITING_S: Final = 20.0  # the longest that edits of a large file may take


async def show_yaml(services: Services, request: HttpRequest) -> HttpResponse:
    """The files of the YAML as they are, and whether they can be changed here."""
    snapshot = await services.lookups.single("yaml", {}, request.is_urgent)
    paths = names_of(snapshot.loaded)
    raw = snapshot.loaded.contents
    files = {name: raw[path].decode(errors="replace") for name, path in paths.items()}
    why = _why_fixed(snapshot)
    about = {"gateway": snapshot.gateway, "editable": not why, "why": why}
    return private_response({"version": 1, "files": files, **about})


async def make_change(services: Services, request: HttpRequest) -> HttpResponse:
    """Look at a change: `edits`, `csv` for a `network`, or `files`; nothing is written."""
    asked = change_request(request.arguments, request.body_bytes)
    _refuse_unseen(request.who, asked)
    if not (isinstance(asked, EditsBody) and asked.is_of_keys):
        require_right(request.who, Right.CHANGE)
    async with services.editing:
        snapshot = await services.lookups.single("yaml", {}, request.is_urgent)
        try:
            candidate = await _looked_at(services, request, snapshot, asked)
        except InvalidIntent as failure:
            others = _unseen(services, request.who, snapshot)
            raise _invalid(request.who, failure, others) from None
    refused = candidate.changes.outside(request.who.sees)
    if refused and not request.who.sees_all:
        raise _denied(request.who, refused)
    if not candidate.changes.is_of_keys:
        require_right(request.who, Right.CHANGE)
    if not services.candidates.keep(candidate):
        raise HttpError(413, "the files are too large to be changed this way")
    answer = {**candidate.answer, **_abilities(services, snapshot)}
    if not request.who.sees_all:
        others = _unseen(services, request.who, snapshot)
        answer = await asyncio.to_thread(_seen, answer, candidate, request.who, others)
    return private_response(answer)


async def apply_change(services: Services, request: HttpRequest) -> HttpResponse:
    """Write the files of a reviewed change and apply them; 409 `stale`: the world has moved."""
    candidate, asked = _kept(services, request), body_of(ReviewedApply, request.arguments)
    if MASS_REMOVAL in asked.agree:
        require_right(request.who, Right.ADMINISTER)
    refused = candidate.applies.outside(request.who.sees)
    if refused and not request.who.sees_all:
        raise _denied(request.who, refused, "the YAML holds changes that are not applied yet: ")
    _refuse_more_than_keys(request.who, candidate)
    arguments: dict[str, Any] = {
        "candidate": candidate,
        "by": request.who.user,
        "digest": asked.digest,
        "agree": asked.agree,
    }
    if asked.confirm_within_s is not None:
        arguments["confirm_within_s"] = asked.confirm_within_s
    try:
        data = await services.lookups.ask("apply_change", arguments)
    except WarpError as failure:
        if failure.code not in CONFLICTS:
            raise
        raise _as_answer(failure, _unseen(services, request.who)) from None
    services.candidates.forget(candidate.id)
    if not request.who.sees_all:
        data = visibility.outcome(data, request.who, _unseen(services, request.who))
    return json_response(data)


async def propose_change(services: Services, request: HttpRequest) -> HttpResponse:
    """A reviewed change as a patch for `git am`, with a `message`, or also as a `branch`; nothing
    is written here.
    """
    candidate, asked = _kept(services, request), body_of(Proposal, request.arguments)
    if not request.who.sees_all:  # lines beside the change may be of other networks
        raise _denied(request.who, ("whole files",))
    snapshot = await services.lookups.single("yaml", {}, request.is_urgent)
    if identity(snapshot.loaded) != candidate.base:
        text = "the files of the YAML have changed since this change was made"
        raise HttpError(409, text, code="stale", hint="make the change again, and review it")
    folder = "" if snapshot.folder == "." else snapshot.folder.strip("/") + "/"
    main = Path(snapshot.loaded.sources[0].file)
    files = [(folder + name_of(draft.file, main), draft) for draft in candidate.drafts]
    try:
        patch = patch_of(files, request.who.user, asked.message, time.time())
    except WarpError as failure:
        raise _as_answer(failure) from None
    data: dict[str, Any] = {"version": 1, "patch": patch}
    if asked.branch:
        title = asked.message.strip().splitlines()[0]
        data["branch"] = await services.branches.push(candidate.id[:NAME_LENGTH], title, patch)
    return private_response(data)


# -- making


def _drafted(
    snapshot: YamlSnapshot, asked: ChangeRequest, who: Identity
) -> tuple[tuple[Draft, ...], EndpointTable | None]:
    """The files that change, and the rows of a CSV. On a thread of its own: it may take seconds.

    Raises:
        HttpError: it cannot be edited that way. InvalidIntent: a file cannot be read.
    """
    files, rows = editable(snapshot.loaded, snapshot.allocations), None
    try:
        if isinstance(asked, FilesBody):
            files = replaced(files, asked.contents)
        elif isinstance(asked, CsvBody):
            from warpd.imports.csv import read_endpoints  # with the first list

            there = endpoints_of(files, asked.network)
            rows = read_endpoints(asked.csv.encode(), CSV_NAME, there, asked.type)
            if rows.endpoints:
                files = add_endpoints(files, asked.network, rows.endpoints)
        else:
            files = _all_edited(files, asked)
    except InvalidIntent:
        raise
    except WarpError as failure:
        raise _as_answer(failure, visibility.unseen(snapshot.loaded.owners, who)) from None
    if rows is not None and not rows.endpoints:
        raise InvalidIntent(rows.findings)
    return tuple(files.drafts.values()), rows


def _all_edited(files: YamlFiles, asked: EditsBody) -> YamlFiles:
    """Raises: HttpError, WarpError."""
    until_s = time.monotonic() + EDITING_S
    for edit in asked.as_edits:
        if time.monotonic() > until_s:
            text = f"the edits take longer than {EDITING_S:.0f} s"
            raise HttpError(413, text, hint="send fewer at a time, or a CSV")
        files = edited(files, edit)
    return files


async def _looked_at(
    services: Services, request: HttpRequest, snapshot: YamlSnapshot, asked: ChangeRequest
) -> Candidate:
    """The loop's look at a change.

    Raises:
        InvalidIntent: it would be invalid: with every problem, also of the rows of a CSV.
        HttpError: it cannot be edited that way. Busy: the files are others by now.
    """
    drafts, rows = await asyncio.to_thread(_drafted, snapshot, asked, request.who)
    arguments = {"base": identity(snapshot.loaded), "drafts": drafts}
    findings: list[Finding] = []
    try:
        found: Candidate = await services.lookups.single("candidate", arguments, request.is_urgent)
    except InvalidIntent as failure:
        if not isinstance(asked, CsvBody) or rows is None:
            raise
        findings = [rows.relocate(item, asked.network) for item in failure.findings]
    findings += rows.findings if rows is not None else ()
    if findings:
        raise InvalidIntent(in_order_of_lines(findings))
    return found


def _invalid(who: Identity, failure: InvalidIntent, others: frozenset[str]) -> HttpError:
    """Every problem that this identity may see; `others` are the networks that it does not see."""
    findings = [item for item in failure.findings if who.sees_all or _is_about(item, who)]
    if not who.sees_all:
        findings = [_without_others(item, others) for item in findings]
    return HttpError(
        422,
        failure.message,
        code=failure.code,
        hint=_mend_hint(len(failure.findings) - len(findings)),
        exit_code=failure.exit_code,
        findings=[render_finding(item) for item in findings],
        problems=[finding_json(item) for item in findings],
    )


def _is_about(finding: Finding, who: Identity) -> bool:
    """Whether a problem is of a network that is seen, or of the CSV that was sent."""
    if finding.where is not None and finding.where.file == CSV_NAME:
        return True
    steps = finding.path.split(".")
    return steps[0] == "networks" and len(steps) > 1 and who.sees(steps[1])


def _mend_hint(hidden: int) -> str:
    hint = "nothing was stored; fix it and send it again"
    return hint if not hidden else f"{hint}; {hidden} of the problems are of networks not seen"


def _without_others(finding: Finding, others: frozenset[str]) -> Finding:
    """The same without names of other networks, and without the line, which may hold more."""
    where = finding.where
    return dataclasses.replace(
        finding,
        message=visibility.redacted(finding.message, others),
        hint=visibility.redacted(finding.hint, others),
        where=dataclasses.replace(where, source="") if where is not None else None,
    )


def _as_answer(failure: WarpError, others: frozenset[str] = frozenset()) -> HttpError:
    """A failure that the client can fix, as an answer without the names of `others`."""
    return HttpError(
        status_of(failure),
        visibility.redacted(failure.message, others),
        code=failure.code,
        hint=visibility.redacted(failure.hint, others),
        exit_code=failure.exit_code,
    )


# -- what somebody may see and do


def _refuse_unseen(who: Identity, asked: ChangeRequest) -> None:
    """Refuse what names networks that are not seen: as if they were not there.

    What a change touches is found by comparing intents; this only keeps names from being guessed.

    Raises:
        HttpError: there is such a name, or whole files are asked for.
    """
    if who.sees_all:
        return
    if isinstance(asked, FilesBody):
        raise _denied(who, ("whole files",))
    if isinstance(asked, EditsBody) and asked.names_gateway:
        raise _denied(who, ("the gateway",))
    for name in sorted(asked.networks):
        if not who.sees(name):
            raise _denied(who, (name[:SHOWN_MAX],))


def _refuse_more_than_keys(who: Identity, candidate: Candidate) -> None:
    """Refuse whoever may only rotate keys to apply more than that.

    Raises:
        HttpError: it changes more, or there is more in the YAML that is not in force yet.
    """
    if not candidate.changes.is_of_keys:
        require_right(who, Right.CHANGE)
    if not candidate.applies.is_of_keys and not who.may(Right.CHANGE):
        text = "permission denied: the YAML holds changes that are not applied yet"
        raise HttpError(403, text, code="denied", hint="an operator has to apply them first")


def _denied(who: Identity, what: Sequence[str], why: str = "") -> HttpError:
    """The answer to a change of what this identity may not change; it names nothing unseen but
    what was asked for.
    """
    seen = ", ".join(who.networks)
    named = ", ".join(what) if not why else "parts of it are of others"
    text = f"permission denied: {why}{who.user} may not change {named}"
    return HttpError(403, text, code="denied", hint=f"its networks: {seen}")


def _unseen(
    services: Services, who: Identity, snapshot: YamlSnapshot | None = None
) -> frozenset[str]:
    """The names of networks that are not seen: of those in force, and of those in the YAML."""
    view = services.mailbox.view
    names = set(view.networks) if view is not None else set()
    return visibility.unseen(names | set(snapshot.loaded.owners if snapshot else ()), who)


def _seen(
    answer: Mapping[str, Any], candidate: Candidate, who: Identity, others: frozenset[str]
) -> dict[str, Any]:
    """An answer without what is of networks that are not seen."""
    files = []
    drafts = (draft for draft in candidate.drafts if draft.old != draft.new)
    for row, draft in zip(answer["files"], drafts, strict=True):
        files.append({**row, "diff": diff_of_networks(draft, row["file"], who.sees)})
    return visibility.change({**answer, "files": files}, who, others)


def _why_fixed(snapshot: YamlSnapshot) -> str:
    """Why the files cannot be changed here; "" where they can."""
    if not snapshot.origin:
        return ""
    return f"the YAML comes from {snapshot.origin}: propose a change, and merge it there"


def _abilities(services: Services, snapshot: YamlSnapshot) -> dict[str, Any]:
    """What can be done with a change."""
    why = _why_fixed(snapshot)
    branches = services.branches.can_push
    return {"editable": not why, "why": why, "branches": branches, "expires_in_s": int(KEPT_S)}


def _kept(services: Services, request: HttpRequest) -> Candidate:
    """The change in the path.

    Raises:
        HttpError: it is not kept, or of networks that are not seen.
    """
    found = services.candidates.get(request.names["id"])
    if found is not None and (request.who.sees_all or not found.changes.outside(request.who.sees)):
        return found
    raise HttpError(
        404,
        "there is no such change",
        code="unknown-change",
        hint=f"a change is kept for {KEPT_S / 60:.0f} minutes: make it again",
    )


# Whoever may not more than rotate is held to that by the handlers.
ROTATE: Final = Right.ROTATE
CHANGE, GATEWAY, FILTERED = Right.CHANGE, NetworkScope.GATEWAY, NetworkScope.FILTERED
ROUTES: Final = (
    HttpRoute("GET", "/v1/yaml", CHANGE, GATEWAY, show_yaml, answers.YamlTexts, refusals=LOOKED),
    HttpRoute(
        "POST",
        "/v1/changes",
        ROTATE,
        FILTERED,
        make_change,
        answers.ChangeAnswer,
        ChangeRequest,
        refusals=NAMED,
        body_max=2 * TEXT_MAX,
    ),
    HttpRoute(
        "POST",
        "/v1/changes/{id}/apply",
        ROTATE,
        FILTERED,
        apply_change,
        answers.ChangeOutcome,
        ReviewedApply,
        refusals=NAMED,
    ),
    HttpRoute(
        "POST",
        "/v1/changes/{id}/propose",
        CHANGE,
        FILTERED,
        propose_change,
        answers.Patch,
        Proposal,
        refusals=(*NAMED, 502),
    ),
)
