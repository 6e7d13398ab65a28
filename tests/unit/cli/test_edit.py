"""The editing commands, end to end: what they write, what they leave, what they say, and what they
exit with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import Run
from tests.counts import growth
from warpd.errors import Busy
from warpd.service import edits as editing
from warpd.store.atomic_file import replace
from warpd.yamlfile.editor import add_endpoints

TEXT = """\
version: 1
# the networks
networks:
  privacy:   # for phones
    type: secure-internet
    expected_users: 6
    endpoints:
      phone-1: {type: mobile}
  corp: {type: l2-mesh, endpoints: {}}
"""
KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def test_add_rotate_remove_gives_the_file_back(run: Run, yaml: Path) -> None:
    code, out, err = run(
        "endpoint", "add", "privacy", "phone-2", "--type", "mobile", "--expires", "2030-01-01"
    )
    assert (code, err) == (0, "")
    assert out.splitlines()[1:] == [
        "next: warpctl apply (unless a running warpd has done so by itself)",
        "then: warpctl endpoint config privacy/phone-2",
    ]
    assert all(len(line) <= 80 for line in out.splitlines()[1:])
    line = "      phone-2: {type: mobile, expires: 2030-01-01}\n"
    assert yaml.read_text() == TEXT.replace("{type: mobile}\n", "{type: mobile}\n" + line)
    assert run("endpoint", "rotate", "privacy/phone-2")[0] == 0
    assert "expires: 2030-01-01, rotation: 1}" in yaml.read_text()
    assert run("endpoint", "remove", "privacy/phone-2")[0] == 0
    assert yaml.read_text() == TEXT
    assert not (yaml.parent / "state").exists()


def test_every_option_of_an_endpoint(run: Run, yaml: Path) -> None:
    words = [
        "--type",
        "gateway",
        "--address",
        "10.100.0.5",
        "--address6",
        "fd00::9",
        "--public-key",
        KEY,
    ]
    words += ["--no-preshared-key", "--routes", "10.9.0.0/16,fd09::/64", "--routes", "10.8.0.0/16"]
    words += ["--endpoint", "[2001:db8::1]:1", "--keepalive", "25", "--description", "Anna's: #1"]
    code, _, err = run("endpoint", "add", "privacy/gw", *words)
    assert (
        code == 1 and "address6" in err and "nothing was written" in err
    )  # fd00::9 is none of the allocated /64
    assert run("network", "remove", "privacy")[0] == 0
    subnets = ("--subnet6", "fd00::/64", "--subnet", "10.100.0.0/24")
    assert run("network", "add", "privacy", "--type", "secure-internet", *subnets)[0] == 0
    assert run("endpoint", "add", "privacy/gw", *words)[0] == 0
    assert (
        'gw: {type: gateway, description: "Anna\'s: #1", address: 10.100.0.5, address6:'
        f' "fd00::9", public_key: "{KEY}", preshared_key: false, routes: [10.9.0.0/16, "fd09::/64",'
        ' 10.8.0.0/16], endpoint: "[2001:db8::1]:1", keepalive: 25}' in yaml.read_text()
    )
    code, _, err = run("endpoint", "rotate", "privacy/gw")
    assert code == 1 and "keys of its own" in err


def test_networks_come_and_go(run: Run, yaml: Path) -> None:
    words = [
        "--resource",
        "172.20.0.0/16",
        "--dns",
        "9.9.9.9",
        "--port",
        "51825",
        "--description",
        "the office",
    ]
    assert run("network", "add", "office", "--type", "remote-resource-gateway", *words)[0] == 0
    assert "resources: [{subnet: 172.20.0.0/16}]" in yaml.read_text()
    assert run("network", "remove", "office")[0] == 0
    assert yaml.read_text() == TEXT
    code, _, err = run("network", "add", "corp", "--type", "l2-mesh")
    assert code == 1 and f"network corp is there already, in {yaml}" in err


def test_networks_d(run: Run, yaml: Path) -> None:
    folder = yaml.parent / "networks.d"
    folder.mkdir()
    assert (
        run("network", "add", "branch", "--type", "l2-mesh", "--file", "networks.d/branch.yaml")[0]
        == 0
    )
    assert (folder / "branch.yaml").read_text() == "networks:\n  branch:\n    type: l2-mesh\n"
    assert run("endpoint", "add", "branch", "a", "--type", "cpe")[0] == 0
    assert (folder / "branch.yaml").read_text().endswith("    endpoints:\n      a: {type: cpe}\n")
    assert run("network", "add", "more", "--type", "l2-mesh", "--file", "branch.yaml")[0] == 0
    assert yaml.read_text() == TEXT
    assert run("network", "add", "other", "--type", "l2-mesh", "--file", "a-bare-name.yaml")[0] == 0
    assert (folder / "a-bare-name.yaml").exists()
    for odd in ("networks.d/x.yml", ".hidden.yaml", str(yaml.parent / "other" / "x.yaml")):
        code, _, err = run("network", "add", "odd", "--type", "l2-mesh", "--file", odd)
        assert code == 1 and "is not a file that this gateway reads" in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("endpoint", "add", "privcy", "a", "--type", "mobile"), 1, "hint: did you mean privacy?"),
        (("endpoint", "remove", "privacy/phone1"), 1, "hint: did you mean phone-1?"),
        (("endpoint", "rotate", "phone-1"), 1, "is not NETWORK/NAME"),
        (
            ("endpoint", "add", "privacy", "phone-1", "--type", "mobile"),
            1,
            "endpoint phone-1 exists already",
        ),
        (("endpoint", "add", "privacy", "p", "--type", "mobil"), 1, "did you mean mobile?"),
        (
            ("endpoint", "add", "privacy", "Anna's phone", "--type", "mobile"),
            1,
            "write anna-s-phone",
        ),
        (
            ("endpoint", "add", "privacy", "p", "--type", "mobile", "--address", "10.9.9.9"),
            1,
            "address",
        ),
        (("endpoint", "add", "privacy", "p"), 1, "an endpoint needs a name and a --type"),
        (
            ("endpoint", "add", "privacy", "p", "--type", "mobile", "--description", "\udcff"),
            1,
            "description: is not valid",
        ),
        (("network", "remove", "privac"), 1, "did you mean privacy?"),
        (("network", "add", "a", "--type", "l2-mesh", "--mtu", "1000"), 1, "below 1280"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    run: Run, yaml: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    got, _, err = run(*words)
    assert got == code and says in err, err
    assert yaml.read_text() == TEXT and sorted(os.listdir(yaml.parent)) == ["warp.yaml"]


def test_dry_run_shows_what_patch_takes(run: Run, yaml: Path) -> None:
    for text in (TEXT, TEXT.rstrip("\n"), TEXT.replace("\n", "\r\n")):
        yaml.write_bytes(text.encode())
        code, shown, _ = run("endpoint", "add", "corp", "a", "--type", "cpe", "--dry-run")
        assert code == 0 and yaml.read_bytes() == text.encode()
        assert run("endpoint", "add", "corp", "a", "--type", "cpe")[0] == 0
        wanted = yaml.read_bytes()
        yaml.write_bytes(text.encode())
        command = ["patch", "--binary", "--quiet", str(yaml)]
        subprocess.run(command, input=shown.encode(), check=True, timeout=10)
        assert yaml.read_bytes() == wanted


def test_json(run: Run, yaml: Path) -> None:
    code, out, _ = run("endpoint", "add", "corp", "a", "--type", "cpe", "-o", "json")
    data = json.loads(out)
    assert (
        code == 0 and data["version"] == 1 and data["written"] is True and data["file"] == str(yaml)
    )
    assert "+  corp: {type: l2-mesh, endpoints: {a: {type: cpe}}}" in data["diff"]


def test_mode_owner_and_link_stay(run: Run, yaml: Path) -> None:
    real = yaml.parent / "git" / "real.yaml"
    real.parent.mkdir()
    yaml.rename(real)
    yaml.symlink_to("git/real.yaml")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 1234, 4321)
    before = real.stat()
    assert run("endpoint", "add", "corp", "a", "--type", "cpe")[0] == 0
    after = real.stat()
    assert yaml.is_symlink() and after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert os.listdir(real.parent) == ["real.yaml"]


def test_a_file_that_changed_meanwhile_is_left_alone(
    run: Run, yaml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Busy):
        replace(yaml, b"something else", b"new")
    whole = editing.write

    def late(draft: editing.Draft) -> None:
        yaml.write_text(TEXT + "# an editor was here\n")
        whole(draft)

    monkeypatch.setattr(editing, "write", late)
    code, _, err = run("endpoint", "add", "corp", "a", "--type", "cpe")
    assert code == 5 and "changed by somebody else" in err
    assert yaml.read_text() == TEXT + "# an editor was here\n" and os.listdir(yaml.parent) == [
        "warp.yaml"
    ]


def test_edits_at_the_same_time_lose_none(yaml: Path) -> None:
    """Each either is in the file afterwards or said that it is not."""
    base = [
        sys.executable,
        "-B",
        "-m",
        "warpd.cli",
        "-c",
        str(yaml),
        "--state-dir",
        str(yaml.parent / "s"),
    ]
    jobs = {
        name: subprocess.Popen(
            [*base, "endpoint", "add", "corp", name, "--type", "cpe"], stderr=-3, stdout=-3
        )
        for name in "abcd"
    }
    done = {name: job.wait(timeout=60) for name, job in jobs.items()}
    text = yaml.read_text()
    assert set(done.values()) <= {0, 5} and 0 in done.values()
    assert {name for name, code in done.items() if code == 0} == {
        name for name in done if f"{name}: {{type: cpe}}" in text
    }


def test_an_invalid_file_can_be_mended_by_an_edit(run: Run, yaml: Path) -> None:
    yaml.write_text(
        TEXT.replace(
            "corp: {type: l2-mesh, endpoints: {}}", "corp:\n    type: l2-mesh\n    endpoints:"
        )
    )
    assert run("validate")[0] == 4
    assert run("endpoint", "add", "corp", "a", "--type", "cpe")[0] == 0
    assert run("validate")[0] == 0


def test_a_file_with_a_byte_order_mark_keeps_it(run: Run, yaml: Path) -> None:
    yaml.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert run("endpoint", "add", "corp", "a", "--type", "cpe")[0] == 0
    assert run("endpoint", "remove", "corp/a")[0] == 0
    assert yaml.read_bytes() == b"\xef\xbb\xbf" + TEXT.encode()


# From CSV


def csv(yaml: Path, text: str) -> str:
    path = yaml.parent / "list.csv"
    path.write_bytes(text.encode())
    return str(path)


def test_a_list_of_endpoints(run: Run, yaml: Path) -> None:
    rows = f'\ufeffname;type;address;public_key;preshared_key;routes;keepalive;description\r\na;cpe;;;;;;"one;\r\ntwo"\r\n\r\nb;mobile;;{KEY};false;10.9.0.0/16 10.8.0.0/16;25;\r\n'  # noqa: E501
    code, out, err = run("endpoint", "add", "corp", "--from-csv", csv(yaml, rows))
    assert (code, err) == (0, "") and "added 2 endpoints to network corp" in out
    assert 'a: {type: cpe, description: "one;\\x0d\\x0atwo"}' in yaml.read_text()
    rest = "preshared_key: false, routes: [10.9.0.0/16, 10.8.0.0/16], keepalive: 25}"
    assert f'b: {{type: mobile, public_key: "{KEY}", {rest}' in yaml.read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("endpoint add corp x --type spaceship", "type: must be one of mobile"),
        ("endpoint set privacy/phone-1 --expires tomorrow", "expires: 'tomorrow' is not a date"),
        ("endpoint rename privacy/phone-1 Bad_Name", "Bad_Name"),
        ("network rename privacy Bad_Name", "Bad_Name"),
        ("network set corp --resource 10.9.0.0/24:sctp/99", "resources[0].protocol"),
        ("network add b --type spaceship", "must be one of secure-internet"),
    ],
)
def test_what_only_the_command_line_has_wrong(run: Run, yaml: Path, words: str, says: str) -> None:
    code, _, err = run(*words.split())
    assert code == 1 and says in err and yaml.read_text() == TEXT
    broken = TEXT.replace("version: 1", "version: 2")
    yaml.write_text(broken)
    code, _, err = run(*words.split())
    assert code == 4 and says in err and yaml.read_text() == broken


def test_every_problem_of_a_list_at_once(run: Run, yaml: Path) -> None:
    rows = "name,type,address,keepalive,preshared_key,expires\n"
    rows += (
        "ok,mobile,,,,\nphone-1,mobile,,,,\nok,mobile,,,,\n,mobile,,,,\nBad"
        " Name,mobile,,,,\nc,mobil,,,,\n"
    )
    rows += "d,mobile,10.9.9.9,often,yes,soon\ne,mobile\nf,mobile,10.1.1.1,,,\n"
    path = csv(yaml, rows)
    code, _, err = run("endpoint", "add", "privacy", "--from-csv", path)
    found = [
        line.split(": ", 1)[0].removeprefix(path + ":")
        for line in err.splitlines()
        if line.startswith(path)
    ]
    assert code == 1 and yaml.read_text() == TEXT
    assert [place.split(":")[0] for place in found] == [
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "8",
        "8",
        "9",
        "10",
    ], err
    assert (
        "is already in line 2" in err and "did you mean mobile?" in err and "write bad-name" in err
    )


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("", ":1:1: name: the column name is missing"),
        ("name,type\n", "holds no endpoints"),
        ("name,typ,name\na,b,c\n", "did you mean type"),
        ("name\na\n", "the column type is missing"),
        ('name,type\na,"mobile\n', "is not valid CSV"),
        (
            "name,type\na,mobile\nb,mobile\nc,mobile\nd,mobile\ne,mobile\nf,mobile\ng,mobile\n",
            "write expected_users: 8",
        ),
    ],
)
def test_a_list_that_is_none(run: Run, yaml: Path, rows: str, says: str) -> None:
    words = ("endpoint", "add", "privacy", "--from-csv", csv(yaml, rows))
    code, _, err = run(*words)
    assert code == 1 and says in err and yaml.read_text() == TEXT
    yaml.write_text(TEXT.replace("version: 1", "version: 2"))
    assert run(*words)[0] == 4, "the YAML by itself is what is to be mended"


def test_the_type_of_a_list_may_be_an_option(run: Run, yaml: Path) -> None:
    assert (
        run("endpoint", "add", "corp", "--type", "cpe", "--from-csv", csv(yaml, "name\na\nb\n"))[0]
        == 0
    )
    assert "endpoints: {a: {type: cpe}, b: {type: cpe}}" in yaml.read_text()


def test_what_an_edit_costs_follows_the_size_of_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def edited(networks: int) -> Callable[[], object]:
        lines = ["version: 1", "networks:"]
        for number in range(networks):
            lines += [
                f"  net-{number}:",
                "    type: secure-internet",
                "    expected_users: 126",
                "    endpoints:",
            ]
            lines += [
                f"      device-{each}: {{type: mobile, description: device {each} of {number}}}"
                for each in range(100)
            ]
        text = "\n".join(lines) + "\n"
        return lambda: add_endpoints(text, "net-5", {"new": {"type": "mobile"}})

    times = growth(edited, 10)
    with capsys.disabled():
        print(f"\ntwice the networks: {times:.2f} times the calls")
    assert times < 2.5
