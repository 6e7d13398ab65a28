"""What doctor says of files: those of systemd-networkd, and the log of exports."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import world
from warpd import naming
from warpd.kernel.kinds.wireguard import peer_key
from warpd.kernel.state import PeerTraffic
from warpd.service.doctor import connected_ports, exports_log, networkd
from warpd.store.export_log import FILE, append
from warpd.store.state_folder import Store

OURS = Path(__file__).parent.parents[2] / "systemd" / "networkd.conf.d" / "50-warpd.conf"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run/systemd/netif").mkdir(parents=True)
    for folder in ("etc", "usr/lib", "run"):
        (tmp_path / folder / "systemd/networkd.conf.d").mkdir(parents=True)
    return tmp_path


def states(root: Path) -> list[str]:
    return [check.state for check in networkd(root)]


def test_nothing_to_say_where_it_does_not_run(tmp_path: Path) -> None:
    assert states(tmp_path) == []


def test_by_itself_it_removes_what_is_ours(root: Path) -> None:
    assert states(root) == ["warn"]


@pytest.mark.parametrize("folder", ["etc", "usr/lib", "run"])
def test_our_drop_in_is_enough(root: Path, folder: str) -> None:
    shutil.copy(OURS, root / folder / "systemd/networkd.conf.d/")
    assert states(root) == ["ok"]


def test_half_of_it_is_not(root: Path) -> None:
    (root / "etc/systemd/networkd.conf").write_text("[Network]\nManageForeignRoutes=no\n")
    (check,) = networkd(root)
    assert (
        check.state == "warn"
        and "ManageForeignRoutingPolicyRules" in check.text
        and "ManageForeignRoutes " not in check.text
    )


def test_a_later_file_wins_and_etc_hides_its_namesake(root: Path) -> None:
    shutil.copy(OURS, root / "usr/lib/systemd/networkd.conf.d/")
    (root / "etc/systemd/networkd.conf.d/90-mine.conf").write_text(
        "[Network]\nManageForeignRoutes=yes\n"
    )
    assert states(root) == ["warn"]
    (root / "etc/systemd/networkd.conf.d/90-mine.conf").unlink()
    (root / "etc/systemd/networkd.conf.d/50-warpd.conf").write_text("")
    assert states(root) == ["warn"]


def test_a_broken_file_is_no_reason_to_stop(root: Path) -> None:
    (root / "etc/systemd/networkd.conf").write_bytes(b"\xff\xfe[[[")
    assert states(root) == ["warn"]


def test_an_altered_log_of_exports_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for user in ("ann", "bob", "zoe"):
        append(tmp_path / FILE, {"user": user})
    assert [check.state for check in exports_log(store)] == ["ok"]
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace("bob", "eve"))
    (check,) = exports_log(store)
    assert check.state == "fail" and "before line 3" in check.text
    (tmp_path / FILE).write_text('{"user": "old"}\n')
    (check,) = exports_log(store)
    assert check.state == "warn" and "its first 1 lines" in check.text


def test_a_handshake_in_the_future_shows_no_open_port() -> None:
    """The clock was set back since."""
    allocations = world.target(world.intent(n=world.network(1))).allocations
    network, now_s = allocations.networks["n"], 2_000_000_000
    key = peer_key("warp-1", naming.tunnel(network.vcid), "k" * 43 + "=")

    def ports(handshake_s: int) -> set[int]:
        return connected_ports({key: PeerTraffic(1, 1, handshake_s, "")}, allocations, now_s)

    assert ports(now_s - 5) == {network.port}
    assert ports(now_s + 86_400) == set()
