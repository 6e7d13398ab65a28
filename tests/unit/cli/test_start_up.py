"""What a command loads before it works: nothing that only other commands need.

Each in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.models import CommandInfo

from warpd.cli.app import MODULES, app, main, register
from warpd.cli.arguments import command, in_order

ENCODE = """
from warpd.kernel.netlink.rtnl_encoder import encode
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


UNUSED = (
    "pyroute2",
    "ruamel.yaml",
    "segno",
    "yaml.scanner",
    "cryptography.x509",
    "warpd.cli.web",
    "warpd.service.users",
)


def test_a_plan_is_ready_without_what_other_commands_need() -> None:
    loaded = loaded_after("from warpd.cli.app import register\nregister('plan')")
    assert "warpd.cli.change" in loaded
    assert not loaded & set(UNUSED)


def test_each_command_is_imported_when_it_is_named() -> None:
    register("")
    registered = {
        *((command_name(info), module_of(info)) for info in app.registered_commands),
        *(
            (str(group.name), module_of(info))
            for group in app.registered_groups
            if group.typer_instance is not None
            for info in group.typer_instance.registered_commands
        ),
    }
    assert registered == {(name, module) for name in MODULES for module in MODULES[name]}


def command_name(info: CommandInfo) -> str:
    assert info.callback is not None
    return info.name or info.callback.__name__


def module_of(info: CommandInfo) -> str:
    assert info.callback is not None
    return str(info.callback.__module__).rpartition(".")[2]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("plan", "plan"),
        ("-c x.yaml plan", "plan"),
        ("endpoint -c x.yaml list -o json", "endpoint"),
        ("-ojson --state-dir=y network list", "network"),
        ("--version", "--version"),
        ("-c", ""),
        ("", ""),
    ],
)
def test_the_command_of_a_line(words: str, wanted: str) -> None:
    assert command(in_order(words.split())) == wanted


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


def test_an_interrupt_while_it_loads_ends_it_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_command: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("warpd.cli.app.register", interrupted)
    monkeypatch.setattr(sys, "argv", ["warpctl", "plan"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130 and capsys.readouterr() == ("", "")
