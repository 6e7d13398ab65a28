"""The dashboard imports nothing of the rest of warpd: what it repeats of it is the same."""

from __future__ import annotations

from typing import get_args

from warpd.clients import FORMATS
from warpd.intent.model import EndpointType
from warpd.intent.network_types import NETWORK_TYPES
from warpd.kernel.state import SESSION_S, Phase
from warpd.service.rights import ROLES
from warpd.service.views.endpoint_list import Order
from warpd.web import listing, phases, summary, wizards
from warpd.web.pages import access, handing_out


def test_it_offers_every_client_format() -> None:
    assert tuple(FORMATS) == handing_out.FORMATS


def test_it_has_a_form_for_every_type_of_network() -> None:
    assert tuple(wizard["type"] for wizard in wizards.WIZARDS) == NETWORK_TYPES


def test_it_knows_types_of_endpoints_roles_orders_and_phases() -> None:
    assert get_args(EndpointType) == wizards.ENDPOINT_TYPES
    assert tuple(ROLES) == access.ROLES
    assert tuple(Order) == listing.SORTS
    assert tuple(phase.name.lower() for phase in Phase) == phases.PHASES


def test_a_session_ends_for_it_when_it_ends_for_the_daemon() -> None:
    assert summary.CONNECTED_S == SESSION_S
