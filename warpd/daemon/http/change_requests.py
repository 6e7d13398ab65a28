"""Bodies of requests for a change, as values: nothing unknown, nothing of another type. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from warpd.daemon.http.messages import BODY_MAX, HttpError
from warpd.intent.model import Endpoint, Gateway, Network
from warpd.service.edits import Edit
from warpd.service.rollback import WITHIN_MAX_S, WITHIN_MIN_S

EDITS_MAX: Final = 200
NAME_MAX: Final = 200  # characters of a name
DEPTH_MAX: Final = 4  # of lists and mappings in a field
TEXT_MAX: Final = 1024 * 1024  # characters of a CSV text or of a file
CODES_MAX: Final = 20  # that are agreed to
FILES_MAX: Final = 1000
SHOWN_MAX: Final = 200  # characters of what is wrong that an answer repeats

GATEWAY_FIELDS: Final = frozenset(Gateway.model_fields)
NETWORK_FIELDS: Final = frozenset(Network.model_fields) - {"endpoints"}
ENDPOINT_FIELDS: Final = frozenset(Endpoint.model_fields)


def _plain(value: Any, depth: int = DEPTH_MAX) -> bool:
    """Whether a value can be written into the YAML."""
    if type(value) in (str, int, bool):
        return True
    if not depth or not isinstance(value, list | dict):
        return False
    items = value.values() if isinstance(value, dict) else value
    return all(_plain(item, depth - 1) for item in items)


def _check_fields(fields: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    for name, value in fields.items():
        if name not in known:
            from warpd.yamlfile.editor import nearest  # with the first mistake

            raise ValueError(f"there is no field {name[:40]}: {nearest(name, known)}")
        if value is not None and not _plain(value):
            text = "no text, whole number, true or false, nor a list or object of these"
            raise ValueError(f"{name} is {text}")
    return fields


def _check_given(fields: dict[str, Any]) -> dict[str, Any]:
    if None in fields.values():
        raise ValueError("null removes a field, and there is none yet")
    return fields


def _described(known: frozenset[str], nullable: bool = True) -> dict[str, Any]:
    """What `_check_fields` permits; what a field may be is in the schema of the YAML."""
    value = _plain_schema(DEPTH_MAX)
    if nullable:
        value = {**value, "type": [*value["type"], "null"]}
    return {"propertyNames": {"enum": sorted(known)}, "additionalProperties": value}


def _plain_schema(depth: int) -> dict[str, Any]:
    """What `_plain` permits."""
    scalars = ["string", "integer", "boolean"]
    if not depth:
        return {"type": scalars}
    inner = _plain_schema(depth - 1)
    types = [*scalars, "array", "object"]
    return {"type": types, "items": inner, "additionalProperties": inner}


# Described, and refused by `rollback.within` in words of its own.
WITHIN: Final = Field(json_schema_extra={"minimum": WITHIN_MIN_S, "maximum": WITHIN_MAX_S})

Name = Annotated[str, Field(min_length=1, max_length=NAME_MAX)]
Text = Annotated[str, Field(max_length=TEXT_MAX)]
GatewayFields = Annotated[
    dict[str, Any],
    Field(min_length=1, json_schema_extra=_described(GATEWAY_FIELDS)),
    AfterValidator(lambda fields: _check_fields(fields, GATEWAY_FIELDS)),
]
NetworkFields = Annotated[
    dict[str, Any],
    Field(min_length=1, json_schema_extra=_described(NETWORK_FIELDS)),
    AfterValidator(lambda fields: _check_fields(fields, NETWORK_FIELDS)),
]
EndpointFields = Annotated[
    dict[str, Any],
    Field(min_length=1, json_schema_extra=_described(ENDPOINT_FIELDS)),
    AfterValidator(lambda fields: _check_fields(fields, ENDPOINT_FIELDS)),
]


GivenNetworkFields = Annotated[
    NetworkFields,
    AfterValidator(_check_given),
    Field(json_schema_extra=_described(NETWORK_FIELDS, nullable=False)),
]
GivenEndpointFields = Annotated[
    EndpointFields,
    AfterValidator(_check_given),
    Field(json_schema_extra=_described(ENDPOINT_FIELDS, nullable=False)),
]


class Body(BaseModel):
    """The body of a request, or a part of it."""

    # Built with the first request: an idle daemon does not need them.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class SetGateway(Body):
    op: Literal["set_gateway"]
    fields: GatewayFields


class AddNetwork(Body):
    op: Literal["add_network"]
    network: Name
    fields: GivenNetworkFields


class SetNetwork(Body):
    op: Literal["set_network"]
    network: Name
    fields: NetworkFields


class RenameNetwork(Body):
    op: Literal["rename_network"]
    network: Name
    to: Name


class RemoveNetwork(Body):
    op: Literal["remove_network"]
    network: Name


class AddEndpoint(Body):
    op: Literal["add_endpoint"]
    network: Name
    endpoint: Name
    fields: GivenEndpointFields


class SetEndpoint(Body):
    op: Literal["set_endpoint"]
    network: Name
    endpoint: Name
    fields: EndpointFields


class RenameEndpoint(Body):
    op: Literal["rename_endpoint"]
    network: Name
    endpoint: Name
    to: Name


class OneEndpoint(Body):
    op: Literal["remove_endpoint", "rotate_endpoint"]
    network: Name
    endpoint: Name


AnyEdit = Annotated[
    SetGateway
    | AddNetwork
    | SetNetwork
    | RenameNetwork
    | RemoveNetwork
    | AddEndpoint
    | SetEndpoint
    | RenameEndpoint
    | OneEndpoint,
    Field(discriminator="op"),
]


class EditsBody(Body):
    """Edits, in this order."""

    edits: Annotated[list[AnyEdit], Field(min_length=1, max_length=EDITS_MAX)]

    @property
    def as_edits(self) -> list[Edit]:
        return [Edit(**edit.model_dump()) for edit in self.edits]

    @property
    def networks(self) -> frozenset[str]:
        """The networks that it names."""
        renamed = (edit.to for edit in self.edits if isinstance(edit, RenameNetwork))
        named = (edit.network for edit in self.edits if not isinstance(edit, SetGateway))
        return frozenset([*named, *renamed])

    @property
    def names_gateway(self) -> bool:
        """Whether it is about the gateway, and not about some networks only."""
        return any(isinstance(edit, SetGateway) for edit in self.edits)

    @property
    def is_of_keys(self) -> bool:
        """Whether it gives endpoints other keys, and nothing else."""
        return all(_gives_keys(edit) for edit in self.edits)


def _gives_keys(edit: AnyEdit) -> bool:
    if isinstance(edit, SetEndpoint):
        return edit.fields.keys() == {"public_key"}
    return isinstance(edit, OneEndpoint) and edit.op == "rotate_endpoint"


class CsvBody(Body):
    """Endpoints as a CSV text, for one network; `type` is that of rows that have none."""

    csv: Text
    network: Name
    type: Name | None = None

    @property
    def networks(self) -> frozenset[str]:
        """The network that it names."""
        return frozenset({self.network})


class FilesBody(Body):
    """The texts of whole files by name."""

    files: Annotated[dict[str, Text], Field(min_length=1, max_length=FILES_MAX)]

    @property
    def contents(self) -> dict[str, bytes]:
        return {name: text.encode() for name, text in self.files.items()}


ChangeRequest = EditsBody | CsvBody | FilesBody


class ReviewedApply(Body):
    """How a reviewed change is applied."""

    digest: Name
    agree: Annotated[list[Name], Field(max_length=CODES_MAX)] = []
    confirm_within_s: Annotated[int, WITHIN] | None = None


class Proposal(Body):
    """What the commit of a proposed change says, and whether it is pushed as a branch."""

    message: Text
    branch: bool = False


AnyBody = TypeVar("AnyBody", bound=Body)


def change_request(body: Mapping[str, Any], size: int) -> ChangeRequest:
    """Read the body of POST /v1/changes; `size` is its length in bytes.

    Raises:
        HttpError: it is not of that shape, or too large.
    """
    if "csv" in body:
        return body_of(CsvBody, body)
    if "files" in body:
        return body_of(FilesBody, body)
    if size > BODY_MAX:
        raise HttpError(413, "the body is too large", hint="send fewer edits, or a CSV")
    return body_of(EditsBody, body)


def body_of(kind: type[AnyBody], body: Mapping[str, Any]) -> AnyBody:
    """Read a body.

    Raises:
        HttpError: it is not of that shape; the first thing that is wrong with it is said.
    """
    try:
        return kind.model_validate(body)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_context=False, include_input=False)[0]
        steps = [str(step)[:40] for step in first["loc"]]
        text = first["msg"].removeprefix("Value error, ")[:SHOWN_MAX]
        hint = f"it takes: {', '.join(kind.model_fields)}"
        raise HttpError(400, f"{'.'.join(steps)}: {text}", code="bad-request", hint=hint) from None
