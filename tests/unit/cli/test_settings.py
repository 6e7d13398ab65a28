"""A day's work: renaming, switching, setting, handing out many configs, lists, and options wherever
people write them.
"""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.command import Run
from warpd.cli import names
from warpd.cli.arguments import in_order
from warpd.cli.fields import resources_of
from warpd.cli.tables import handshake
from warpd.errors import WarpError
from warpd.service.queries import files_diff
from warpd.service.views.endpoint_list import Order, chosen, ordered, presence, summary
from warpd.service.workspace import Workspace

TEXT = """\
version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  corp: # the office
    type: remote-resource-gateway
    resources: [{subnet: 10.1.0.0/16}]
    endpoints:
      laptop-2: {type: mobile} # hers
      laptop-10: {type: mobile, enabled: false}
      hq: {type: cpe, routes: [192.168.1.0/24]}
  web: {type: secure-internet, endpoints: {phone: {type: mobile}}}
"""


def test_global_options_may_stand_behind_the_command(yaml: Path) -> None:
    behind = [
        "endpoint",
        "list",
        "web",
        "--never",
        "-c",
        str(yaml),
        f"--state-dir={yaml.parent}/state",
        "--help",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "warpd.cli", *behind],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and "Show all endpoints" in done.stdout
    behind = ["validate", "-c", str(yaml), "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "warpd.cli", *behind],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["file"] == str(yaml)


def test_an_endpoint_is_renamed_and_keeps_what_it_holds(run: Run, yaml: Path) -> None:
    workspace = Workspace(yaml, yaml.parent / "state")
    workspace.commit(workspace.read())
    before = workspace.read().allocations.networks["corp"].endpoints["laptop-2"].address
    assert run("endpoint", "rename", "corp/laptop-2", "annas-laptop")[0] == 0
    assert "      annas-laptop: {type: mobile, renamed_from: laptop-2} # hers\n" in yaml.read_text()
    after = (
        Workspace(yaml, yaml.parent / "state")
        .read()
        .allocations.networks["corp"]
        .endpoints["annas-laptop"]
    )
    assert (after.address, after.key_name) == (before, "laptop-2")
    assert (
        run("endpoint", "rename", "corp/annas-laptop", "anna")[0] == 0
    )  # not applied in between: it never held that name
    assert "      anna: {type: mobile, renamed_from: laptop-2} # hers\n" in yaml.read_text()
    code, _, err = run("endpoint", "rename", "corp/anna", "hq")
    assert code == 1 and "hq exists already" in err


def test_a_network_is_renamed(run: Run, yaml: Path) -> None:
    assert run("network", "rename", "corp", "office")[0] == 0
    text = yaml.read_text()
    assert (
        "  office: # the office\n" in text
        and "renamed_from: corp" in text
        and "  corp:" not in text
    )


@pytest.mark.parametrize(
    ("kind", "place", "name"), [("network", "", "corp"), ("endpoint", "web/", "phone")]
)
def test_a_rename_is_undone_before_it_is_applied(
    run: Run, yaml: Path, kind: str, place: str, name: str
) -> None:
    workspace = Workspace(yaml, yaml.parent / "state")
    workspace.commit(workspace.read())
    for old, new in ((name, "first"), ("first", "second"), ("second", name)):
        code, _, err = run(kind, "rename", f"{place}{old}", new)
        assert code == 0, err
    assert yaml.read_text() == TEXT


def test_an_endpoint_of_a_renamed_network_keeps_what_it_holds(run: Run, yaml: Path) -> None:
    workspace = Workspace(yaml, yaml.parent / "state")
    workspace.commit(workspace.read())
    assert run("network", "rename", "corp", "office")[0] == 0
    for old, new in (("laptop-2", "anna"), ("anna", "annas-laptop")):
        assert run("endpoint", "rename", f"office/{old}", new)[0] == 0
    assert "annas-laptop: {type: mobile, renamed_from: laptop-2} # hers" in yaml.read_text()


def test_two_networks_are_not_listed_as_one(run: Run, yaml: Path) -> None:
    code, out, err = run("endpoint", "list", "web", "--network", "corp")
    assert (code, out) == (1, "") and "web and --network corp are two networks" in err


def test_switched_off_and_on_leaves_the_file_as_it_was(run: Run, yaml: Path) -> None:
    assert run("endpoint", "disable", "corp/laptop-2")[0] == 0
    assert "laptop-2: {type: mobile, enabled: false} # hers" in yaml.read_text()
    assert run("endpoint", "enable", "corp/laptop-2")[0] == 0
    assert yaml.read_text() == TEXT
    assert run("endpoint", "enable", "corp/laptop-2")[0] == 1
    assert (
        run("endpoint", "enable", "corp/laptop-10")[0] == 0
        and "laptop-10: {type: mobile}\n" in yaml.read_text()
    )


def test_fields_are_set_and_taken_out(run: Run, yaml: Path) -> None:
    assert (
        run(
            "endpoint",
            "set",
            "corp/hq",
            "--keepalive",
            "25",
            "--routes",
            "192.168.1.0/24,192.168.2.0/24",
        )[0]
        == 0
    )
    assert (
        "hq: {type: cpe, routes: [192.168.1.0/24, 192.168.2.0/24], keepalive: 25}"
        in yaml.read_text()
    )
    assert run("endpoint", "set", "corp/hq", "--keepalive", "30", "--unset", "routes")[0] == 0
    assert "hq: {type: cpe, keepalive: 30}" in yaml.read_text()
    assert (
        run("network", "set", "corp", "--resource", "10.9.0.0/24:tcp/443", "--mtu", "1380")[0] == 0
    )
    assert "resources: [{subnet: 10.9.0.0/24, protocol: tcp, ports: [443]}]" in yaml.read_text()
    assert (
        "    mtu: 1380\n" in yaml.read_text()
        and "# the office" in yaml.read_text()
        and "# hers" in yaml.read_text()
    )
    before = yaml.read_text()
    for words in (("--mtu", "7"), ("--unset", "subnet"), ()):
        assert run("network", "set", "corp", *words)[0] != 0
    assert yaml.read_text() == before


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        ("10.9.0.0/24", [{"subnet": "10.9.0.0/24"}]),
        (
            "10.9.0.0/24:tcp/443,8000-8100",
            [{"subnet": "10.9.0.0/24", "protocol": "tcp", "ports": [443, "8000-8100"]}],
        ),
        (
            "10.9.0.0/24:icmp,10.8.0.0/16",
            [{"subnet": "10.9.0.0/24", "protocol": "icmp"}, {"subnet": "10.8.0.0/16"}],
        ),
        (
            "fd00::/64:udp/53@hq",
            [{"subnet": "fd00::/64", "protocol": "udp", "ports": [53], "via": "hq"}],
        ),
        ("fd00::1", [{"subnet": "fd00::1"}]),
    ],
)
def test_resources_in_a_word(text: str, resources: list[dict[str, Any]]) -> None:
    assert resources_of([text]) == resources


def test_many_configs_at_once(run: Run, yaml: Path) -> None:
    out = yaml.parent / "out"
    code, text, _ = run("endpoint", "config", "corp", "--out", str(out))
    assert code == 0 and "2 configs" in text  # laptop-10 is disabled
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.conf"))
    assert files == ["corp/hq.conf", "corp/laptop-2.conf"]
    assert all(stat.S_IMODE(os.stat(out / file).st_mode) == 0o600 for file in files)
    archive = yaml.parent / "all.zip"
    assert run("endpoint", "config", "--all", "--out", str(archive))[0] == 0
    with zipfile.ZipFile(archive) as packed:
        assert sorted(packed.namelist()) == [
            *files,
            "web/phone.conf",
        ] and b"PrivateKey" in packed.read("web/phone.conf")
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert run("endpoint", "config", "corp/l*", "--out", str(yaml.parent / "some"))[0] == 0
    assert [path.name for path in (yaml.parent / "some" / "corp").iterdir()] == ["laptop-2.conf"]
    code, text, err = run("endpoint", "config", "corp")
    assert code == 1 and "--out FOLDER" in err and "PrivateKey" not in text
    assert (
        run("endpoint", "config", "corp/x*", "--out", str(out))[0] == 1
        and run("endpoint", "config")[0] == 1
    )


def test_validate_takes_a_file_or_stdin(
    run: Run, yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = yaml.parent / "other.yaml"
    other.write_text("version: 1\nnetworks: 7\n")
    assert run("validate", str(other))[0] == 4 and run("validate")[0] == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"version: 2\n")))
    assert run("validate", "-")[0] == 4


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("plan -c x.yaml -o json", "-c x.yaml plan -o json"),
        ("-o json plan", "plan -o json"),
        ("-o json network list --state-dir=s", "--state-dir=s network list -o json"),
        ("endpoint show a/b -ojson -cx", "-cx endpoint show -ojson a/b"),
        ("exec corp -- ping -c 3 x", "exec corp -- ping -c 3 x"),
        ("exec corp ping -c 3 x", "exec corp ping -c 3 x"),
        ("-c x exec corp -- ping -c 3 x", "-c x exec corp -- ping -c 3 x"),
        ("--help", "--help"),
    ],
)
def test_options_stand_where_people_write_them(words: str, wanted: str) -> None:
    assert in_order(words.split()) == wanted.split()


@pytest.mark.parametrize("words", [("-h",), ("plan", "-h"), ("endpoint", "config", "-h")])
def test_a_short_word_for_help(run: Run, words: tuple[str, ...]) -> None:
    code, out, _ = run(*words)
    assert code == 0 and "Usage:" in out


def row(name: str, age: int | None, **more: Any) -> dict[str, Any]:
    base = {
        "network": "n",
        "name": name,
        "address": "10.0.0.1",
        "in_force": True,
        "in_kernel": True,
        "enabled": True,
    }
    return {
        **base,
        "handshake_age_s": age,
        "received_bytes": 0,
        "sent_bytes": 0,
        "expires_in_days": None,
        **more,
    }


def test_a_handshake_in_the_future_is_stale_and_of_unknown_age() -> None:
    """The clock was set back since, and a phone that is off must not be shown as online."""
    ahead = row("phone", None, last_handshake=2_000_086_400)
    assert presence(ahead) == "stale" and chosen([ahead], False, True, False) == [ahead]
    assert handshake(ahead) == "unknown" and handshake(row("new", None)) == "never"


def test_lists_are_counted_filtered_and_in_the_order_of_people() -> None:
    rows = [
        row("l-10", 5),
        row("l-2", 500, address="10.0.0.9", received_bytes=7),
        row("l-1", None),
        row("old", 9, in_force=False, expires_in_days=-3),
        row("off", 9, in_force=False, enabled=False),
        row("out", 9, in_force=False, expires_in_days=3, suspended={"by": "anna"}),
        row("both", 9, in_force=False, expires_in_days=0, suspended={"by": "anna"}),
    ]
    assert [presence(each) for each in rows] == [
        "online",
        "stale",
        "present",
        "expired",
        "disabled",
        "suspended",
        "expired",
    ]
    counts = "7 endpoints: 1 online, 1 stale, 1 never connected, 1 suspended, 2 expired, 1 disabled"
    assert summary(rows) == counts
    assert [each["name"] for each in ordered(rows, Order.name)][1:4] == ["l-1", "l-2", "l-10"]
    assert (
        ordered(rows, Order.handshake)[0]["name"] == "l-10"
        and ordered(rows, Order.traffic)[0]["name"] == "l-2"
    )
    assert ordered(rows, Order.address)[-1]["name"] == "l-2"
    assert [each["name"] for each in chosen(rows, True, True, False)] == ["l-10", "l-2"]
    assert chosen(rows, False, False, False) == rows and summary([]) == "0 endpoints"


def test_addresses_are_given_in_the_order_of_people(yaml: Path) -> None:
    yaml.write_text(TEXT.replace("hq: {", "laptop-1: {"))
    given = Workspace(yaml, yaml.parent / "state").read().allocations.networks["corp"].endpoints
    assert [str(given[name].address)[-2:] for name in ("laptop-1", "laptop-2", "laptop-10")] == [
        ".1",
        ".2",
        ".3",
    ]


def test_the_difference_between_two_entries_of_the_history() -> None:
    text = files_diff({"a": "x\ny\n"}, {"a": "x\nz\n", "b": "new\n"})
    assert (
        "-y" in text
        and "+z" in text
        and "+new" in text
        and files_diff({"a": "x"}, {"a": "x"}) == ""
    )


class _Words:
    """What completion asks a command line for."""

    def __init__(self, config: Path) -> None:
        self.params = {"config": config}

    def find_root(self) -> _Words:
        return self


def test_names_and_values_are_completed(yaml: Path) -> None:
    words: Any = _Words(yaml)
    assert list(names.network_names(words, "c")) == ["corp"]
    assert list(names.endpoint_names(words, "")) == ["corp/", "web/"]
    assert list(names.endpoint_names(words, "corp/lap")) == ["corp/laptop-10", "corp/laptop-2"]
    assert names.formats("wg") == ["wg-quick"] and names.endpoint_types("m") == ["mobile"]
    yaml.write_text("{")
    assert list(names.endpoint_names(words, "corp/")) == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("network show c", ["corp"]),
        ("endpoint show corp/lap", ["corp/laptop-10", "corp/laptop-2"]),
        ("explain corp/laptop-2 w", ["web/"]),
        ("exec c", ["corp"]),
        ("status w", ["web"]),
        ("events --kind ch", ["change"]),
        ("endpoint list --sort h", ["handshake"]),
    ],
)
def test_a_shell_is_offered_names_and_values(yaml: Path, line: str, offered: list[str]) -> None:
    """As bash asks: by the variables that its completion function sets."""
    words = f"warpctl -c {yaml} {line}"
    asked = {
        "_WARPCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'warpctl'; from warpd.cli.app import main; main()",
    ]
    done = subprocess.run(
        program, env={**os.environ, **asked}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == offered


def test_bad_resources_are_refused() -> None:
    with pytest.raises(WarpError, match="is not a resource"):
        resources_of(["10.0.0.0/8:tcp/http"])
    json.dumps(resources_of(["10.0.0.0/8"]))
