"""`explain` says of real packets what becomes of them: each question is asked, and the packet sent.

Topology: lan.py.
"""

from __future__ import annotations

import json

import pytest

from .lan import DNS4, INTERNET4, INTERNET6, LAN_HOST4, UPLINK4
from .packet import new_ident
from .standing import Standing

QUESTIONS = [
    ("h1", INTERNET4, "tcp", 7777),
    ("h1", INTERNET6, "udp", 7777),
    ("h1", "h2", "icmp", 0),
    ("h1", "gateway", "icmp", 0),
    ("h1", "gateway", "tcp", 22),
    ("h1", UPLINK4, "tcp", 22),
    ("h1", LAN_HOST4, "udp", 7777),
    ("m1", "m2", "udp", 7777),
    ("m1", "h1", "udp", 7777),
    ("v", INTERNET4, "udp", 7777),
    ("v", INTERNET6, "udp", 7777),
    ("l", LAN_HOST4, "tcp", 7777),
    ("l", DNS4, "udp", 53),
    ("l", DNS4, "udp", 54),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: "-".join(map(str, each)))
def test_it_says_what_happens(listeners: Standing, question: tuple[str, str, str, int]) -> None:
    name, target, protocol, port = question
    member = listeners[name]
    if target in listeners.members:
        target = listeners[target].config.address4
    target = {"gateway": member.gateway4}.get(target, target)
    words = [
        "explain",
        f"{member.network}/{name}",
        target,
        "--proto",
        protocol,
        *(["--port", str(port)] if port else []),
    ]
    said = json.loads(listeners.gateway.warpctl(*words, "-o", "json").checked().out)
    send = getattr(member.host, "ping" if protocol == "icmp" else protocol)
    happened = bool(send(target, *((port, new_ident()) if port else ())))
    assert said["passes"] is happened, said["path"]
    assert said["in_sync"] and said["decided_by"] == said["path"][-1]
