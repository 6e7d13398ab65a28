"""Files to intent: folders, places, all problems at once, speed, and bytes that nobody wrote on
purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.counts import growth
from warpd.errors import Finding, render_finding
from warpd.intent.diagnostics import path_of, steps_of
from warpd.intent.loader import Loaded, load
from warpd.intent.validation import check
from warpd.yamlfile.parser import read_text, read_tree

BAD = sorted((Path(__file__).parent.parent.parent / "bad").glob("*.yaml"))
EXAMPLES = sorted((Path(__file__).parent.parent.parent.parent / "examples").glob("*.yaml"))
MAIN = "version: 1\ngateway: {name: gw-1}\nnetworks:\n  main: {type: l2-mesh}\n"
SOUND = """\
version: 1
networks:
  privacy:
    type: secure-internet
    expected_users: 6
    dns: [9.9.9.9, 2620:fe::fe]
    endpoints:
      phone-1: {type: mobile, address: 10.100.0.3, keepalive: 25}
"""


def folder(at: Path, main: str | None, **files: str) -> Path:
    (at / "networks.d").mkdir()
    if main is not None:
        (at / "warp.yaml").write_text(main)
    for name, body in files.items():
        (at / "networks.d" / f"{name}.yaml").write_text(body)
    return at


def one(loaded: Loaded) -> Finding:
    (found,) = loaded.findings
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_sound(path: Path) -> None:
    loaded = load(path)
    assert loaded.intent is not None, [render_finding(finding) for finding in loaded.findings]
    assert check(loaded.intent) == ()


def test_a_folder_and_its_main_file_read_the_same(tmp_path: Path) -> None:
    root = folder(
        tmp_path, MAIN, b="networks: {b: {type: l2-mesh}}", a="networks: {a: {type: l2-mesh}}"
    )
    (root / "networks.d" / ".#a.yaml").write_text("an editor's own: [")
    for path in (root, root / "warp.yaml"):
        loaded = load(path)
        assert loaded.intent is not None and list(loaded.intent.networks) == ["main", "a", "b"]


def test_another_file_stands_alone(tmp_path: Path) -> None:
    root = folder(tmp_path, MAIN, a="networks: {a: {type: l2-mesh}}")
    (root / "other.yaml").write_text(MAIN)
    loaded = load(root / "other.yaml")
    assert loaded.intent is not None and list(loaded.intent.networks) == ["main"]


def test_networks_may_all_stand_in_the_folder(tmp_path: Path) -> None:
    loaded = load(folder(tmp_path, "version: 1\n", a="networks: {a: {type: l2-mesh}}"))
    assert loaded.intent is not None and list(loaded.intent.networks) == ["a"]


def test_a_network_defined_twice_names_both_places(tmp_path: Path) -> None:
    root = folder(tmp_path, MAIN, a="networks:\n\n  main: {type: l2-mesh}\n")
    found = one(load(root))
    assert found.where is not None and (found.where.line, found.where.column) == (3, 3)
    assert found.where.file == str(root / "networks.d" / "a.yaml")
    assert f"{root / 'warp.yaml'}:4:3" in found.message


def test_a_file_of_the_folder_holds_networks_only(tmp_path: Path) -> None:
    found = one(load(folder(tmp_path, MAIN, a="gateway: {}\nnetworks: {}\n")))
    assert (found.code, found.path) == ("unknown-key", "gateway")
    assert "warp.yaml" in found.hint


def test_each_broken_file_speaks_and_none_hides_another(tmp_path: Path) -> None:
    root = folder(
        tmp_path,
        MAIN,
        a="networks: [",
        b="",
        c="networks: {c: {type: l2-mesh, port: 51821}, d: {type: l2-mesh, port: 51821}}",
        e="networks: {e: {type: l2-mesh, mtu: no}}",
    )
    loaded = load(root)
    assert loaded.intent is None
    assert [found.code for found in loaded.findings] == [
        "yaml-syntax",
        "yaml-empty",
        "port-twice",
        "type",
    ]
    places = [Path(found.where.file).name for found in loaded.findings if found.where]
    assert places == ["a.yaml", "b.yaml", "c.yaml", "e.yaml"]


def test_a_broken_main_file_says_nothing_of_what_it_lacks(tmp_path: Path) -> None:
    loaded = load(folder(tmp_path, "version: 1\nnetworks: {", a="networks: {a: {type: l2-mesh}}"))
    assert [found.code for found in loaded.findings] == ["yaml-syntax"]


def test_yml_is_warned_of(tmp_path: Path) -> None:
    root = folder(tmp_path, MAIN)
    (root / "networks.d" / "x.yml").write_text("networks: {}")
    loaded = load(root)
    assert loaded.intent is not None and one(loaded).severity == "warning"


def test_a_broken_endpoint_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "warp.yaml"
    path.write_text(
        "version: 1\nnetworks:\n  n:\n    type: secure-internet\n    subnet: 10.1.0.0/28\n   "
        " endpoints:\n      a: {type: mobil}\n      b: {type: mobile, address: 10.9.0.1}\n"
    )
    assert [found.code for found in load(path).findings] == ["value", "address-outside"]


def test_findings_are_placed_by_path(tmp_path: Path) -> None:
    path = tmp_path / "warp.yaml"
    path.write_text(SOUND)
    loaded = load(path)
    for where, line, column in (
        ("networks.privacy.expected_users", 5, 21),
        ("networks.privacy", 3, 3),
        ("networks.privacy.mtu", 3, 3),  # absent: at what should hold it
        ("networks.privacy.dns[1]", 6, 20),
        ("networks.privacy.endpoints.phone-1.keepalive", 8, 63),
        ("gateway.uplink", 1, 1),
        ("networks.other.mtu", 2, 1),
    ):
        found = loaded.locate(Finding("any", where, "words")).where
        assert found is not None and (found.line, found.column) == (line, column), where


def test_a_finding_is_shown_with_its_line_and_a_caret(tmp_path: Path) -> None:
    path = tmp_path / "warp.yaml"
    path.write_text(SOUND)
    finding = load(path).locate(
        Finding("any", "networks.privacy.expected_users", "too few", "write more")
    )
    assert (
        render_finding(finding)
        == f"{path}:5:21: networks.privacy.expected_users: too few\n    expected_users: 6\n        "
        "            ^\nhint: write more"
    )


def test_anchors_and_merge_keys_work() -> None:
    text = "d: &d {type: mobile, keepalive: 25}\na: {<<: *d, keepalive: 5}\nb: *d\n"
    read = read_tree(text)
    assert read.problems == () and read.value is not None
    assert read.value["a"] == {"type": "mobile", "keepalive": 5}
    assert read.value["b"] == read.value["d"]


@pytest.mark.parametrize("path", [*BAD, *EXAMPLES], ids=lambda path: path.stem)
def test_both_parsers_agree(path: Path) -> None:
    text, problems = read_text(path.read_bytes())
    if not problems:
        fast, pure = read_tree(text), read_tree(text, pure=True)
        assert fast.problems == pure.problems
        assert fast.value == pure.value


@given(
    st.lists(
        st.one_of(st.text(st.characters(min_codepoint=97, max_codepoint=122)), st.integers(0, 99)),
        min_size=1,
        max_size=4,
    )
)
def test_paths_round_trip(steps: list[str | int]) -> None:
    loc = tuple(step for step in steps if step != "")
    if loc and isinstance(loc[0], str):
        assert steps_of(path_of(loc)) == loc


def survives(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    loaded = load(path)
    found = [*loaded.findings, *(check(loaded.intent) if loaded.intent else ())]
    assert (loaded.intent is None) == any(item.is_error for item in loaded.findings)
    for item in found:
        render_finding(loaded.locate(item))


QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(raw=st.binary(max_size=400))
def test_any_bytes_are_findings_or_an_intent(tmp_path: Path, raw: bytes) -> None:
    survives(tmp_path / "warp.yaml", raw)


@QUICK
@given(data=st.data())
def test_a_mangled_file_is_findings_or_an_intent(tmp_path: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from([*BAD, *EXAMPLES])).read_bytes()
    start = data.draw(st.integers(0, len(source)))
    end = min(len(source), start + data.draw(st.integers(0, 12)))
    patch = data.draw(
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from([b"{", b"[", b": ", b"&a ", b"*a", b"!", b"null", b"\t", b"- "]),
        )
    )
    survives(tmp_path / "warp.yaml", source[:start] + patch + source[end:])


VALUE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from(["10.0.0.0/8", "fd00::1", "a", "-1", "51820-51829"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "type", "1"]), inner, max_size=3),
    ),
    max_leaves=6,
)
FIELDS = [
    "type",
    "subnet",
    "subnet6",
    "port",
    "resources",
    "endpoints",
    "vlan_id",
    "vni_pool",
    "dns",
    "mtu",
    "ipv6",
    "pools",
]


@QUICK
@given(
    top=st.sampled_from(["gateway", "networks", "version"]),
    fields=st.dictionaries(st.sampled_from(FIELDS), VALUE),
    value=VALUE,
)
def test_any_shape_is_findings_or_an_intent(
    tmp_path: Path, top: str, fields: dict[str, object], value: object
) -> None:
    import json

    body = {"version": 1, "networks": {"a": {"type": "l2-mesh", **fields}, "b": value}, top: value}
    survives(tmp_path / "warp.yaml", json.dumps(body).encode())
    survives(
        tmp_path / "warp.yaml",
        json.dumps(
            {**body, "networks": {"a": {"type": "l2-mesh", **fields}}, "version": 1}
        ).encode(),
    )


def test_what_loading_costs_follows_the_size_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def loaded(networks: int) -> Callable[[], object]:
        lines = ["version: 1", "gateway: {pools: {ports: 20000-20999}}", "networks:"]
        for number in range(networks):
            lines += [
                f"  net-{number}:",
                "    type: secure-internet",
                "    expected_users: 126",
                "    endpoints:",
            ]
            for each in range(100):
                lines += [
                    f"      device-{each}:",
                    "        type: mobile",
                    f"        description: device {each} of {number}",
                ]
                lines += [f"        address: 10.100.{number}.{each + 1}", "        keepalive: 25"]
        path = tmp_path / f"{networks}.yaml"
        path.write_text("\n".join(lines))
        found = load(path).intent
        assert found is not None and check(found) == ()
        return lambda: check(load(path).intent or found)

    times = growth(loaded, 10)
    with capsys.disabled():
        print(f"\ntwice the networks: {times:.2f} times the calls")
    assert times < 2.5


def test_a_folder_in_the_place_of_a_file_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "warp.yaml").write_text("version: 1\nnetworks: {}\n")
    (tmp_path / "networks.d" / "x.yaml").mkdir(parents=True)
    assert [item.code for item in load(tmp_path / "warp.yaml").findings] == ["file-unreadable"]
