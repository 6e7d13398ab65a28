"""What a command loads before it works: nothing that only other commands need.

Each in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

ENCODE = """
from warpd.kernel.netlink.rtnl import encode
from warpd.kernel.kinds.address import Address, create_address
from warpd.kernel.state import Key
for message in create_address(Address("", "wg-1", "10.0.0.1/32", Key("link", "", "wg-1"))):
    assert encode(message, lambda value: 7)[2]
"""


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["pyroute2", "ruamel.yaml", "segno"])
def test_the_commands_are_ready_without(package: str) -> None:
    loaded = loaded_after("import warpd.cli.app\nfrom warpd.cli import change, export, inspect")
    assert "warpd.cli.change" in loaded
    assert package not in loaded


def test_reading_plain_yaml_takes_libyaml_alone() -> None:
    loaded = loaded_after(
        "from warpd.yamlfile.parser import read_tree\nassert read_tree('a: 1').value == {'a': 1}"
    )
    assert ("yaml._yaml" in loaded) == ("ruamel.yaml" not in loaded)


def test_what_libyaml_refuses_is_still_read() -> None:
    loaded = loaded_after(
        "from warpd.yamlfile.parser import read_tree\nassert read_tree('a: [::1]').value == {'a':"
        " ['::1']}"
    )
    assert "ruamel.yaml" in loaded


def test_messages_are_made_without_pyroute2() -> None:
    """Its package loads 226 modules: 12 MiB and 0.1 s of each apply."""
    assert not [name for name in loaded_after(ENCODE) if name.startswith("pyroute2")]
