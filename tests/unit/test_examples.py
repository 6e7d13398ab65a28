"""Every example is valid without a warning, can be built in both modes, and names the schema by a
path that is right.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tests.clients import config_of
from warpd.allocation.allocator import allocate
from warpd.allocation.model import Allocations
from warpd.clients import FORMATS
from warpd.intent.loader import load
from warpd.intent.model import Intent
from warpd.intent.network_types import NETWORK_TYPES
from warpd.intent.validation import check
from warpd.keys.derivation import Secret
from warpd.networks.compiler import compile_state
from warpd.testing.fake_kernel import PLAIN

FOLDER = Path(__file__).parents[2] / "examples"
# Files of other programs and units; tests beside these read them.
OF_OTHERS = {"ci", "cloud-init", "monitoring", "oidc", "propose", "webhooks"}
EXAMPLES = sorted(path for path in FOLDER.rglob("*.yaml") if not OF_OTHERS & set(path.parts))
MASTER = Secret(bytes(range(32)))
TODAY = date(2027, 1, 1)


def read(path: Path) -> Intent:
    loaded = load(path)
    assert not loaded.findings
    assert loaded.intent is not None
    return loaded.intent


def test_there_is_one_for_each_type_and_one_for_all() -> None:
    names = {path.stem for path in EXAMPLES}
    assert {*NETWORK_TYPES, "everything", "quickstart", "frankfurt", "amsterdam"} <= names
    built = {
        (one.type, one.isolation or "namespace")
        for one in read(FOLDER / "everything.yaml").networks.values()
    }
    assert built == {(kind, mode) for kind in NETWORK_TYPES for mode in ("namespace", "vrf")}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_sound(path: Path) -> None:
    intent = read(path)
    assert not check(intent)
    allocations, findings = allocate(intent, Allocations({}))
    assert not findings
    for mode in ("namespace", "vrf"):
        gateway = intent.gateway.model_copy(update={"isolation": mode})
        built = compile_state(
            intent.model_copy(update={"gateway": gateway}), allocations, MASTER, PLAIN, TODAY
        )
        assert not built.problems
        assert len(built.names) == len(intent.networks)
    schema = path.read_text().splitlines()[0].partition("$schema=")[2]
    assert (path.parent / schema).resolve().is_file()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_endpoint_of_an_example_has_a_config(path: Path) -> None:
    intent = read(path)
    allocations, _ = allocate(intent, Allocations({}))
    for name, network in intent.networks.items():
        for endpoint in network.endpoints:
            made = config_of(
                intent,
                allocations,
                MASTER,
                name,
                endpoint,
                public_host="203.0.113.1",
                mtu=1420,
                today=TODAY,
            )
            assert name in FORMATS["wg-quick"].text(made)


def test_every_example_says_what_it_is_for() -> None:
    for path in EXAMPLES:
        lines = path.read_text().splitlines()
        assert lines[1] == "#" and lines[2].startswith("# "), path.name
