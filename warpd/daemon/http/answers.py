"""What the routes of the control socket answer: a type for each shape.

They are for the description (`openapi`) and for the tests, which hold every answer to them. At run
time nothing is made of them.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from pydantic import with_config
from typing_extensions import TypedDict

Version = Literal[1]
Time = str  # ISO 8601 in UTC


# -- what several answers have


class Place(TypedDict):
    """A place in a file; line and column count from 1, `source` is the line."""

    file: str
    line: int
    column: int
    source: str


class FindingRow(TypedDict):
    """A problem of the YAML.

    - `code`: a stable name for scripts.
    - `path`: the value that is wrong, such as `networks.corp.subnet`.
    - `message`: what is wrong with it, to be read after the path.
    - `where`: null for what stands in no file; left out for who sees some networks only.
    """

    severity: Literal["error", "warning"]
    code: str
    path: str
    message: str
    hint: str
    where: NotRequired[Place | None]


class Error(TypedDict):
    """A refusal.

    - `code`: a stable name for scripts.
    - `hint`: what to do about it; "" where there is nothing to say.
    - `exit_code`: that of the command that does the same.
    - `findings`: the problems of the YAML as text; `problems`: the same with their places.
    - `retry_after_s`: seconds until another try may succeed.
    """

    version: Version
    error: str
    code: str
    hint: str
    exit_code: NotRequired[int]
    findings: NotRequired[list[str]]
    problems: NotRequired[list[FindingRow]]
    retry_after_s: NotRequired[int]


class Advice(TypedDict):
    """A sentence about what was found, and what to do about it."""

    message: str
    hint: str


class RiskRow(TypedDict):
    """What clients would notice.

    - `code`: a stable name; an apply agrees to it.
    - `path`: the part of the YAML that it concerns.
    """

    code: str
    path: str
    message: str
    hint: str


class ProblemRow(TypedDict):
    """What this machine lacks for a network; with `whole` nothing of it is made."""

    network: str
    code: str
    path: str
    message: str
    hint: str
    whole: bool


class ConditionRow(TypedDict):
    """What is wrong, or waits; `since` is null where no daemon has observed when it began."""

    code: str
    severity: Literal["error", "warning"]
    text: str
    hint: str
    since: Time | None


class BlockedRow(TypedDict):
    """An object of others in the way, or why a namespace could not be read."""

    network: str
    object: str
    foreign: str
    unread: str


class QuarantineRow(TypedDict):
    """Released allocations; `endpoint` is null for the network's own."""

    network: str
    endpoint: str | None
    until: Time
    values: dict[str, str]


class Dropped(TypedDict):
    """What was dropped for one reason."""

    packets: int
    bytes: int


class PendingRow(TypedDict):
    """An apply that is undone unless it is confirmed; `rollback_to` 0 removes everything."""

    number: int
    by: str
    until: Time
    rollback_to: int


class UnwrittenRow(TypedDict):
    """Why an intent could not be recorded, so that only removals of access were applied.

    `networks`: those that are not in force as the intent says; none for a rollback.
    """

    error: str
    code: str
    hint: str
    networks: list[str]
    unconfirmable: bool


# -- plan, apply, rollback


class StepRow(TypedDict):
    """One kernel step.

    - `step`: its number from 1; 0 outside a plan's order.
    - `network`: its name, or `gateway`.
    - `kind`, `netns`, `name`, `label`: the object; `netns` "" is the root.
    - `phase`: the order of creation, from `guard` to `permit`.
    - `before`, `after`: its values; null where there is no object. Keys are `(secret)`.
    - `fields`: which values differ.
    - `reason`: why the step is made.
    """

    step: int
    action: Literal["create", "update", "revoke", "delete"]
    network: str
    vcid: int | None
    kind: str
    phase: str
    netns: str
    name: str
    label: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    fields: list[str]
    reason: str


class FailedStepRow(StepRow):
    """A step that the kernel refused, and why."""

    error: str


class OverviewRow(TypedDict):
    """What changes, as people read it.

    - `endpoint`: "" for a network, and for the gateway.
    - `details`: what changes, a text each.
    - `connected_s`: seconds since the handshake of an endpoint with a session; else null.
    - `endpoints`, `connected`: of a network that is created or deleted, how many endpoints it has,
      and how many of these have a session.
    """

    action: Literal["create", "update", "delete", "rename"]
    subject: Literal["gateway", "network", "endpoint"]
    network: str
    endpoint: str
    vcid: int | None
    address: str
    details: list[str]
    reason: str
    connected_s: int | None
    endpoints: int
    connected: int


class Summary(TypedDict):
    """How many kernel steps there are of each action."""

    create: int
    update: int
    revoke: int
    delete: int


class ChangePlan(TypedDict):
    """The steps from the kernel to a change of the YAML."""

    version: Version
    changes: bool
    overview: list[OverviewRow]
    summary: Summary
    blocked: list[BlockedRow]
    warnings: list[Advice]
    steps: list[StepRow]
    digest: str
    problems: list[ProblemRow]
    risks: list[RiskRow]
    stale_configs: list[str]
    quarantine: list[QuarantineRow]


class PlanAnswer(ChangePlan):
    """The steps from the kernel to the YAML; while that is invalid, to the last good intent."""

    findings: list[FindingRow]
    conditions: list[ConditionRow]


class Outcome(TypedDict):
    """What an apply has done.

    - `complete`: everything is as the YAML asks for.
    - `skipped`: steps of a network that failed.
    - `remaining`: steps after a request to stop.
    - `unverified`: what the kernel has not as it should be.
    - `confirm_until`: when it is undone unless it is confirmed; null for never.
    - `unwritten`: why the intent could not be recorded; only what removes access was applied.
    """

    version: Version
    complete: bool
    done: list[StepRow]
    failed: list[FailedStepRow]
    skipped: list[StepRow]
    remaining: list[StepRow]
    unverified: list[StepRow]
    blocked: list[BlockedRow]
    problems: list[ProblemRow]
    warnings: list[Advice]
    overview: list[OverviewRow]
    risks: list[RiskRow]
    stale_configs: list[str]
    quarantine: list[QuarantineRow]
    confirm_until: Time | None
    unwritten: NotRequired[UnwrittenRow]


class WrittenFiles(TypedDict):
    """The files that were written; `if_rolled_back` says what becomes of them after an undo."""

    written: list[str]
    if_rolled_back: str


class ChangeOutcome(Outcome):
    """What an apply of a change has done; `files` are named as in GET /v1/yaml."""

    files: WrittenFiles


class Confirmed(TypedDict):
    """`confirmed` is the number of the history that is kept."""

    version: Version
    confirmed: int


class RestoredFiles(TypedDict):
    """The files that a rollback has written and removed."""

    written: list[str]
    removed: list[str]


class RollbackOutcome(TypedDict):
    """What a rollback has done; `in_force` is a number of the history, 0 for nothing."""

    version: Version
    complete: bool
    in_force: int
    done: list[StepRow]
    failed: list[FailedStepRow]
    unwritten: NotRequired[UnwrittenRow]
    files: NotRequired[RestoredFiles]


# -- status


class SuspendedBy(TypedDict):
    """Who has taken an endpoint out, and until when; null: until it is resumed."""

    since: Time
    until: Time | None
    by: str
    reason: str


class EndpointFields(TypedDict):
    """An endpoint as it is in force, and in the kernel.

    - `expires`: the first day without access; `expires_in_days` counts to it.
    - `in_force`: neither it nor its network is disabled, and it is neither expired nor suspended.
    - `in_kernel`: the kernel has a peer for it.
    - `routes`: the prefixes behind it.
    - `last_handshake`: seconds since the epoch; null for never.
    - `handshake_age_s`: the same in seconds before this answer; null for never, and where it lies
      in the future because the clock was set back.
    - `received_bytes`, `sent_bytes`: as the gateway counts, since the peer was made.
    - `endpoint`: where it connects from; `(hidden)` without the right `see-addresses`.
    - `suspended`: who has taken it out; null where nobody has.
    - `config_version`: of its config as it is now.
    - `config_exported`: whether somebody has taken that version.
    """

    network: str
    name: str
    type: str
    description: str
    enabled: bool
    expires: str | None
    expires_in_days: int | None
    in_force: bool
    in_kernel: bool
    address: str
    address6: str | None
    public_key: str
    routes: list[str]
    last_handshake: int | None
    handshake_age_s: int | None
    received_bytes: int
    sent_bytes: int
    endpoint: str | None
    suspended: SuspendedBy | None
    config_version: int
    config_exported: bool


class NetworkLimits(TypedDict):
    """Limits in force, defaults too."""

    connections: int
    connections_per_second: int


class ResourceRow(TypedDict):
    """What a remote-resource-gateway lets its endpoints reach."""

    subnet: str
    protocol: str | None
    ports: list[str]
    via: str | None
    description: str


class NetworkHead(TypedDict):
    """A network as it is in force, and in the kernel.

    - `vcid`: the number that names of its objects have.
    - `netns`: its namespace; null for one in the root, in a VRF.
    - `device`: its WireGuard device.
    - `transit`: the addresses between it and the root.
    - `allow_private`: private prefixes that its endpoints may reach.
    - `vlan_id`, `vlan_range`: of an L2 network.
    - `up`: the kernel has its device.
    - `in_sync`: nothing is to be changed, no foreign object is in its way, this machine can build
      it, and no edit of it waits for the state folder.
    - `changes`: how many steps are to be made.
    - `blocked`: foreign objects in its way, or why its namespace could not be read.
    - `ethernet`: whether it carries frames.
    - `egress`: whether its traffic leaves by the host's links.
    - `problems`: what this machine lacks for it.
    - `drops`: what was dropped in it, by reason.
    - `objects`: how many should exist, by phase; {} where this machine cannot build it.
    """

    network: str
    name: str
    type: str
    ethernet: bool
    egress: bool
    description: str
    vcid: int
    isolation: str
    netns: str | None
    device: str
    subnet: str
    subnet6: str | None
    gateway_address: str
    gateway_address6: str | None
    port: int
    routing_table: int
    transit: str
    mtu: int
    expected_users: int
    peer_communication: bool
    nat: bool
    nat6: bool
    dns: list[str]
    allow_private: list[str]
    resources: list[ResourceRow]
    vlan_id: int | None
    vlan_range: str | None
    limits: NetworkLimits
    enabled: bool
    up: bool
    in_sync: bool
    changes: int
    blocked: list[str]
    problems: list[ProblemRow]
    drops: dict[str, Dropped]
    objects: dict[str, int]


class NetworkFields(NetworkHead):
    """The same with its endpoints."""

    endpoints: list[EndpointFields]


class ExpiringRow(TypedDict):
    """An endpoint that expires within a week."""

    name: str
    expires: str
    expires_in_days: int


class CountedEndpoints(TypedDict):
    """What is counted of the endpoints of a network; `states`: how many there are of each."""

    states: dict[str, int]
    received_bytes: int
    sent_bytes: int
    expiring: list[ExpiringRow]


class NetworkSummary(NetworkHead):
    """The same with what is counted of its endpoints."""

    counted: CountedEndpoints


class NetworkAnswer(NetworkFields):
    """One network with its endpoints."""

    version: Version


class Networks(TypedDict):
    """All networks that are seen."""

    version: Version
    networks: list[NetworkFields]


class Endpoints(TypedDict):
    """The endpoints of one network."""

    version: Version
    endpoints: list[EndpointFields]


class BlockedObject(TypedDict):
    """An object of others in the way, or why a namespace could not be read."""

    object: str
    foreign: str
    unread: str


class LastPass(TypedDict, total=False):
    """The last pass; {} before the first one."""

    result: str
    time: Time
    seconds: float


class SourceState(TypedDict):
    """Where the YAML comes from; an identity restricted to some networks sees the revision only."""

    kind: NotRequired[str]
    origin: NotRequired[str]
    revision: str | None
    last_success: NotRequired[float | None]
    error: NotRequired[str | None]


class IntentState(TypedDict):
    """Whether the YAML as it is is in force, and why not."""

    in_force: bool | None
    since: Time | None
    awaiting_consent: str | None
    findings: list[str]


class DaemonPending(PendingRow):
    """The same with the seconds that are left."""

    left_s: float


class ContestedRow(TypedDict):
    """An object that another program changes again and again."""

    object: str
    network: str


class FailingRow(TypedDict):
    """A network whose passes fail: how often in a row, and when the next try is."""

    network: str
    times: int
    next_try_s: float


class DaemonFields(TypedDict):
    """How the daemon is. For an identity that is restricted to some networks, fields about the
    gateway are null or "".

    - `version`: of the program.
    - `source`: where the YAML comes from; null for a local file.
    - `next_resync_s`: seconds until the next periodic resync.
    - `pending_confirm`: an apply that is undone unless it is confirmed.
    - `contested_objects`: those that another program changes again and again.
    - `failing`: networks whose last pass failed.
    - `event_overruns`: how often events of the kernel were lost.
    - `last_event`: the number of the latest event.
    """

    version: str
    pid: int | None
    config: str
    source: SourceState | None
    state_dir: str
    last_pass: LastPass
    next_resync_s: float
    gateway: str
    intent: IntentState
    pending_confirm: DaemonPending | None
    contested_objects: list[ContestedRow]
    failing: list[FailingRow]
    event_overruns: int
    conditions: list[ConditionRow]
    last_event: int


class DaemonAnswer(DaemonFields):
    """How the daemon is; `version` is that of the program."""


class Look(TypedDict):
    """When the kernel was observed for this answer."""

    as_of: Time
    generation: int


class StatusDaemon(DaemonFields):
    """The same with the look that the answer is of."""

    look: Look


class StatusHead(TypedDict):
    """What runs, but for the networks.

    - `pending_networks`: those with changes.
    - `blocked`: objects of others in the way.
    - `drops`: what the root has dropped, by reason.
    - `quarantine`: released allocations that nobody else is given yet.
    - `conditions`: what is wrong, or waits; errors first.
    """

    version: Version
    gateway: str
    uplink: str | None
    in_sync: bool
    pending_networks: list[str]
    blocked: list[BlockedObject]
    problems: list[ProblemRow]
    drops: dict[str, Dropped]
    warnings: list[Advice]
    quarantine: list[QuarantineRow]
    pending_confirm: PendingRow | None
    conditions: list[ConditionRow]
    daemon: StatusDaemon


class Status(StatusHead):
    """What runs."""

    networks: list[NetworkFields]


class StatusSummary(StatusHead):
    """What runs, without the endpoints, but with what is counted of them."""

    networks: list[NetworkSummary]


class SampleRow(TypedDict):
    """What was carried in `seconds` from `time` on."""

    time: Time
    seconds: float
    received_bytes: int
    sent_bytes: int
    connected: int


class SampleList(TypedDict):
    """The last day, of `network` or (null) of all that are seen; `since`: when counting began."""

    version: Version
    network: str | None
    since: Time | None
    every_s: int
    recorded: bool
    samples: list[SampleRow]


# -- endpoints


class EndpointRow(EndpointFields):
    """An endpoint with the one word that its figures come to."""

    state: Literal[
        "online", "stale", "present", "missing", "suspended", "disabled", "expired", "off"
    ]


class EndpointPage(TypedDict):
    """`next` is sent as `after` for the next page, null on the last one; `previous` as `before` for
    the page before, null on the first one. `first` is the number of its first row, from 1.
    """

    version: Version
    endpoints: list[EndpointRow]
    previous: str | None
    next: str | None
    first: int
    total: int


class ExportedRow(TypedDict):
    """Who took a config, when and in which format."""

    time: Time
    user: str
    format: str


class ConfigRow(TypedDict):
    """A version of an endpoint's config, the day it was first seen, and who took it."""

    version: int
    date: str
    exported: bool
    exports: list[ExportedRow]


class EndpointAnswer(EndpointRow):
    """One endpoint, with the versions of its config that are on record, the oldest first."""

    configs: list[ConfigRow]

    version: Version


# -- history, events, checks


class HistoryRow(TypedDict):
    """An applied intent.

    - `by`: who applied it.
    - `networks`: how many there were.
    - `active_s`: for how many seconds it was in force, over rollbacks too, before what is in force
      changed last; null where that was not recorded.
    - `active_since`: since when it is in force.
    """

    number: int
    time: Time
    by: str
    networks: int
    digest: str
    in_force: bool
    active_s: int | None
    active_since: Time | None


class HistoryList(TypedDict):
    """What was applied, the oldest first."""

    version: Version
    history: list[HistoryRow]
    pending_confirm: PendingRow | None


class EntryAnswer(HistoryRow):
    """An entry with its files, their difference from the files in force, and what a rollback to it
    would do; null where that is not known.
    """

    version: Version
    files: dict[str, str]
    diff: str
    overview: list[OverviewRow] | None
    risks: list[RiskRow] | None


@with_config(extra="allow")
class EventLine(TypedDict):
    """Something that happened; what else an event has depends on `kind`."""

    number: int
    time: Time
    kind: str


# `from` is a word of Python's own.
EntryDifference = TypedDict(
    "EntryDifference",
    {"version": Version, "from": HistoryRow, "to": HistoryRow, "diff": str},
)


class Validation(TypedDict):
    """The problems of the YAML; what it holds, where there is no error among them."""

    version: Version
    valid: bool
    findings: list[FindingRow]
    file: NotRequired[str]
    networks: NotRequired[int]
    endpoints: NotRequired[int]


class CheckRow(TypedDict):
    """What was checked, what was found, and what to do about it."""

    name: str
    state: Literal["ok", "warn", "fail"]
    text: str
    hint: str


class Checks(TypedDict):
    """All checks of this machine."""

    version: Version
    checks: list[CheckRow]


class StageRow(TypedDict):
    """Where a packet is, what happens there, and whether it goes on."""

    where: str
    what: str
    passes: bool


class SessionOfEndpoint(TypedDict):
    """The session of the endpoint that would send."""

    presence: Literal["online", "stale", "never"]
    handshake_age_s: int | None
    remote_address: str
    text: str


class Explanation(TypedDict):
    """Whether a packet would pass, and what decides that."""

    version: Version
    network: str
    endpoint: str
    target: str
    protocol: str
    port: int | None
    passes: bool
    in_sync: bool
    decided_by: StageRow
    path: list[StageRow]
    session: SessionOfEndpoint
    warnings: list[Advice]
    not_observable: list[str]


# -- changes of the YAML


class YamlTexts(TypedDict):
    """The files by name; `why` they cannot be changed here, where that is so.

    - `gateway`: the fields that its section has, of the intent in force.
    """

    version: Version
    files: dict[str, str]
    gateway: dict[str, Any]
    editable: bool
    why: str


class FileDifference(TypedDict):
    """The unified difference of one file."""

    file: str
    diff: str


class ChangeAnswer(TypedDict):
    """A change that was looked at; nothing is written.

    - `id`: by which it is applied or proposed, within `expires_in_s` seconds.
    - `networks`, `gateway`: what it touches, by comparing the intents.
    - `agree`: the codes of risks that an apply has to agree to.
    - `digest`: of its plan; an apply names it.
    - `editable`: whether it can be applied here; `why` not.
    - `branches`: whether it can be pushed as a branch.
    """

    version: Version
    id: str
    files: list[FileDifference]
    networks: list[str]
    gateway: bool
    plan: ChangePlan
    findings: list[FindingRow]
    risks: list[RiskRow]
    agree: list[str]
    stale_configs: list[str]
    digest: str
    editable: bool
    why: str
    branches: bool
    expires_in_s: int


class Branch(TypedDict):
    """A branch that was pushed: `url` of the merge request, `server_output` of the server."""

    name: str
    url: str
    server_output: str


class Patch(TypedDict):
    """A patch for `git am`; with `branch`, where it was pushed."""

    version: Version
    patch: str
    branch: NotRequired[Branch]


# -- suspensions, exports, links


class SuspensionRow(SuspendedBy):
    """A suspended endpoint."""

    network: str
    endpoint: str


class Suspensions(TypedDict):
    """All suspended endpoints that are seen."""

    version: Version
    suspensions: list[SuspensionRow]


class Suspended(TypedDict):
    """`suspended` is null after a resume; `unwritten`: why a restart would end it."""

    version: Version
    network: str
    endpoint: str
    suspended: SuspendedBy | None
    done: bool
    unwritten: str | None


class Export(TypedDict):
    """A config with its keys."""

    version: Version
    network: str
    endpoint: str
    format: str
    file: str
    config: str
    config_version: int


class ExportRow(TypedDict):
    """Who took which config.

    - `number`: of the row, from 1.
    - `network`, `endpoint`: their names at that time.
    - `reason`: in the words of who took it; "" where nobody asked.
    """

    number: int
    time: Time
    user: str
    network: str
    endpoint: str
    config_version: int
    format: str
    reason: str


class ExportList(TypedDict):
    """The latest first.

    - `next`: sent as `before` for the next page; null on the last one.
    - `altered_before`: the number of the first row before which the log on disk is not what was
      written; null: it is whole.
    """

    version: Version
    exports: list[ExportRow]
    next: int | None
    altered_before: int | None


class NewLink(TypedDict):
    """A one-time link; `secret` is shown once."""

    version: Version
    id: str
    secret: str
    expires: Time


class Redeemed(TypedDict):
    """The config that a link leads to."""

    version: Version
    network: str
    file: str
    config: str


class Ended(TypedDict):
    """The id of what was ended."""

    version: Version
    ended: str


# -- sessions and tokens


class SessionFields(TypedDict):
    """Who asks. `credential` is the id of a token or session; null for who asks by the socket."""

    user: str
    role: str | None
    rights: list[str]
    networks: list[str]
    expires: Time | None
    signed_in_s_ago: int | None
    credential: str | None
    kind: Literal["session", "token", "socket"]


class SessionAnswer(SessionFields):
    """Who asks."""

    version: Version


class NewSession(TypedDict):
    """A new session; `token` is shown once."""

    version: Version
    token: str
    session: SessionFields


class OidcOffer(TypedDict):
    """How one signs in by a provider; nothing but empty texts where none is set up."""

    version: Version
    offered: bool
    name: str
    authorization_endpoint: str
    client_id: str
    scope: str


class TokenFields(TypedDict):
    """A token without what it could be used by."""

    id: str
    name: str
    role: str
    networks: list[str]
    created_by: str
    created: Time
    expires: Time
    last_used: Time | None


class SessionRow(TokenFields):
    """An open session."""

    signed_in: Time


class Sessions(TypedDict):
    """All open sessions."""

    version: Version
    sessions: list[SessionRow]


class Tokens(TypedDict):
    """All tokens."""

    version: Version
    tokens: list[TokenFields]


class NewToken(TokenFields):
    """A new token; `token` is shown once."""

    version: Version
    token: str


class Revoked(TypedDict):
    """The id of what was revoked."""

    version: Version
    revoked: str
