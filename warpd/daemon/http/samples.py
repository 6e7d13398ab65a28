"""The route of samples: what a network, or all that are seen, carried in the last day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from warpd.daemon.clock import iso_seconds
from warpd.daemon.http import answers
from warpd.daemon.http.messages import HttpRequest, HttpResponse, json_response
from warpd.daemon.http.parameters import Parameter
from warpd.daemon.http.reads import seen_view
from warpd.daemon.http.route import NAMED, HttpRoute, NetworkScope, no_network
from warpd.daemon.http.services import Services
from warpd.daemon.samples import EVERY_S, Sample, Samples
from warpd.service.rights import Identity, Right


async def show_samples(services: Services, request: HttpRequest) -> HttpResponse:
    """What was carried in the last day, in steps of five minutes: of `network`, or of all seen."""
    network = request.query.get("network", "")
    if network and network not in (await seen_view(services, request)).networks:
        raise no_network(network)
    samples = services.mailbox.samples
    return json_response(
        {
            "version": 1,
            "network": network or None,
            "since": iso_seconds(samples.since_s) if samples.since_s else None,
            "every_s": int(EVERY_S),
            "recorded": samples.is_kept,
            "samples": list(_rows(samples, network, request.who)),
        }
    )


def _rows(samples: Samples, network: str, who: Identity) -> Iterator[dict[str, Any]]:
    """Of one network, or of all that somebody sees; without the times when there was none."""
    names: tuple[str, ...] = ()
    places: list[int] = []
    for sample in samples.rows:
        if sample.names is not names:
            names = sample.names
            places = _places(names, network, who)
        if places or not network:
            yield _row(sample, places)


def _places(names: tuple[str, ...], network: str, who: Identity) -> list[int]:
    return [place for place, name in enumerate(names) if network in ("", name) and who.sees(name)]


def _row(sample: Sample, places: list[int]) -> dict[str, Any]:
    found = sample.sum_of(places)
    return {
        "time": iso_seconds(sample.began_s),
        "seconds": round(sample.seconds, 1),
        "received_bytes": found.received,
        "sent_bytes": found.sent,
        "connected": found.connected,
    }


ROUTES: Final = (
    HttpRoute(
        "GET",
        "/v1/samples",
        Right.VIEW,
        NetworkScope.FILTERED,
        show_samples,
        answers.SampleList,
        query=(Parameter("network", "of this network only"),),
        refusals=NAMED,
    ),
)
