"""Side by side: what warpctl takes, and what a shell script of `ip`, `wg` and `nft` takes for the
same thing.

What lives here: the rounds, the checks that both sides did the same, and the table of ratios. The
scripts are written by `floor.py`. Started by `run`, inside namespaces of its own.

A round is, for each side, in a world of its own: cold apply, plan with nothing to do (the floor:
read everything), one endpoint added. Sides take turns in going first, and every measurement waits
until the machine is idle.

A world is left as it is when its round is over: to clear up, the kernel waits for every processor
once or more for each WireGuard peer (30 ms a peer on a small virtual machine), which at 100x100
takes longer than all that is measured. What is left uses memory and (on recent kernels) a thread
for each peer, idles, and is the same for both sides. It goes with the virtual machine, or with this
process.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import floor
import handmade

Times = dict[str, list[float]]
WORKS = ("cold apply", "plan, nothing to do", "one endpoint added")


@dataclass(frozen=True, slots=True)
class Size:
    networks: int
    endpoints: int

    @classmethod
    def parse(cls, text: str) -> Size:
        networks, endpoints = map(int, text.split("x"))
        return cls(networks, endpoints)

    def __str__(self) -> str:
        return f"{self.networks}x{self.endpoints}"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


# ---- the world -------------------------------------------------------------------------------


def make_root() -> None:
    """The gateway's root: an uplink with a default route, and nothing else."""
    floor.run("ip", "netns", "add", floor.ROOT)
    for command in (
        "link set lo up",
        "link add eth0 type dummy",
        "link set eth0 up",
        "addr add 203.0.113.1/24 dev eth0",
        "route add default via 203.0.113.254",
        "-6 addr add 2001:db8:113::1/64 dev eth0 nodad",
        "-6 route add default via 2001:db8:113::fe dev eth0",
    ):
        floor.run("ip", *command.split(), ns=floor.ROOT)


def enter_new_world() -> None:
    """A /run/netns without names, over the one of the world before, and a root in it."""
    floor.run("mount", "-t", "tmpfs", "-o", "size=1m", "netns", str(floor.NETNS))
    make_root()
    wait_until_idle()


def busy_ticks() -> int:
    user, nice, system, _idle, _iowait, *interrupts = (
        Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return sum(map(int, (user, nice, system, *interrupts)))


def wait_until_idle(deadline_s: float = 60.0) -> None:
    """Until less than a tenth of one processor was used in three looks running."""
    end, quiet, before = time.monotonic() + deadline_s, 0, busy_ticks()
    while quiet < 3 and time.monotonic() < end:
        time.sleep(0.1)
        now = busy_ticks()
        quiet = quiet + 1 if now - before <= 1 else 0
        before = now
    if quiet < 3:
        say(f"the machine was not idle within {deadline_s:.0f} s; measuring all the same")


def timed(argv: list[str], *, expect: int = 0, ns: str = floor.ROOT) -> float:
    with tempfile.TemporaryFile() as out:
        start = time.monotonic()
        done = subprocess.run(
            ["nsenter", f"--net={floor.NETNS / ns}", *argv],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            timeout=900,
            check=False,
        )
        took = time.monotonic() - start
        if done.returncode != expect:
            out.seek(0)
            text = out.read().decode(errors="replace")[-3000:]
            raise RuntimeError(
                f"{shlex.join(argv)}: exit {done.returncode}, expected {expect}\n{text}"
            )
    return took


# ---- the two sides ---------------------------------------------------------------------------


class Warpctl:
    def __init__(self, command: list[str], size: Size, folder: Path) -> None:
        self.config, self.state_dir, self.master = (
            folder / "warp.yaml",
            folder / "state",
            folder / "master.key",
        )
        self.command = [*command, "-c", str(self.config), "--state-dir", str(self.state_dir)]
        self.text = intent(size)
        # the same keys in every round, so that what the floor builds stays right
        self.master.write_bytes(bytes(range(32)))
        self.forget()

    def forget(self) -> None:
        """As on the first day: no allocations, and a YAML without the endpoint to be added."""
        shutil.rmtree(self.state_dir, ignore_errors=True)
        self.state_dir.mkdir(mode=0o700)
        shutil.copy(self.master, self.state_dir / "master.key")
        (self.state_dir / "master.key").chmod(0o600)
        self.config.write_text(self.text)

    def apply(self) -> float:
        return timed([*self.command, "apply", "--yes"])

    def plan(self) -> float:
        return timed([*self.command, "plan"])

    def add(self) -> float:
        self.config.write_text(self.text + "      z-added: {type: mobile}\n")
        return self.apply()

    def round(self, times: Times) -> None:
        self.forget()
        enter_new_world()
        for work, step in zip(WORKS, (self.apply, self.plan, self.add), strict=True):
            times[work].append(step())
            wait_until_idle()


def intent(size: Size, room: int = 1) -> str:
    """The YAML, with room for that many endpoints more; they are added at the end of the text."""
    lines = [
        "version: 1",
        "gateway:",
        "  name: bench",
        "  public_endpoint: 203.0.113.1",
        f"  uplink: {floor.UPLINK}",
        "  pools: {ports: 20000-29999, subnets: {secure-internet: 10.0.0.0/8}}",
        "networks:",
    ]
    for n in range(size.networks):
        lines += [
            f"  n{n:04}:",
            "    type: secure-internet",
            f"    expected_users: {size.endpoints + room}",
        ]
        lines += [
            "    endpoints:",
            *(f"      e{e:05}: {{type: mobile}}" for e in range(size.endpoints)),
        ]
    return "\n".join([*lines, ""])


class Floor:
    def __init__(self, before: floor.State, after: floor.State, folder: Path) -> None:
        self.folder, self.before, self.after = folder, before, after
        folder.mkdir()
        self.read, self.change = (
            floor.read_script(before, folder),
            floor.change_script(before, after, folder),
        )
        self.sysctls: dict[str, dict[str, str]] = {}
        self.write()

    def write(self) -> None:
        self.build = floor.build_script(self.before, self.folder, self.sysctls)

    def learn(self, in_sync: Callable[[], object]) -> list[str]:
        """Builds until the sysctls are known, then says where the floor's state is not the one to
        be built.
        """
        for _ in range(4):
            enter_new_world()
            say(f"the floor's script built it in {timed(['sh', str(self.build)]):.1f} s; comparing")
            built = floor.look()
            more = floor.sysctls_to_write(self.before, built)
            if not more:
                found = floor.differences(self.before, built)
                if not found:
                    in_sync()
                timed(["sh", str(self.change)])
                return found + floor.differences(self.after, floor.look(sysctls=False))
            for name, values in more.items():
                self.sysctls.setdefault(name, {}).update(values)
            self.write()
        raise RuntimeError(f"sysctls that do not stay as written: {more}")

    def round(self, times: Times) -> None:
        enter_new_world()
        for work, script in zip(WORKS, (self.build, self.read, self.change), strict=True):
            times[work].append(timed(["sh", str(script)]))
            wait_until_idle()


# ---- the bench -------------------------------------------------------------------------------


def refuse(found: list[str]) -> None:
    if found:
        shown = "\n  ".join(found[:40])
        raise SystemExit(
            f"bench: the floor does not build the same state ({len(found)} differences):\n  {shown}"
        )


def measure(size: Size, rounds: int, command: list[str], folder: Path) -> list[dict[str, Any]]:
    product = Warpctl(command, size, folder)
    enter_new_world()
    say(f"{size}: building once with warpctl, to learn what the floor has to build")
    say(f"{size}: applied in {product.apply():.1f} s; reading it back")
    before = floor.look()
    say(f"{size}: one endpoint added in {product.add():.1f} s")
    after = floor.look(sysctls=False)
    if not floor.peers(before) == size.networks * size.endpoints == floor.peers(after) - 1:
        raise SystemExit(
            f"bench: {floor.peers(before)}, then {floor.peers(after)} peers in the kernel; not"
            f" {size}"
        )
    base = Floor(before, after, folder / "floor")
    say(f"{size}: building the same with the floor's script, and comparing")
    product.config.write_text(product.text)
    refuse(base.learn(product.plan))
    times: tuple[Times, Times] = ({work: [] for work in WORKS}, {work: [] for work in WORKS})
    for number in range(rounds):
        sides: list[tuple[Warpctl | Floor, Times]] = [(product, times[0]), (base, times[1])]
        for side, into in sides if number % 2 == 0 else reversed(sides):
            side.round(into)
        say(
            f"{size}: round {number + 1} of {rounds}: "
            + ", ".join(
                f"{work} {times[0][work][-1]:.3f} / {times[1][work][-1]:.3f} s" for work in WORKS
            )
        )
    return [row(str(size), work, times[0][work], times[1][work]) for work in WORKS]


def row(size: str, work: str, ours: list[float], base: list[float]) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(ours, base, strict=True)]
    return {
        "size": size,
        "work": work,
        "warpctl_s": ours,
        "floor_s": base,
        "ratios": ratios,
        "ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
    }


def start_up(command: list[str], rounds: int) -> dict[str, Any]:
    """How long the process takes before it does anything; the floor here is the interpreter
    alone.
    """
    enter_new_world()
    timed([*command, "--version"])  # leaves compiled bytecode behind
    ours, base = [], []
    for _ in range(rounds):
        ours.append(timed([*command, "--version"]))
        base.append(timed([sys.executable, "-c", "pass"]))
    return row("-", "start-up (--version)", ours, base)


def follow(size: Size, rounds: int, command: list[str], folder: Path) -> dict[str, Any]:
    """A running daemon: from the rename of a YAML with one endpoint more until its peer, then all
    that goes with it, is there.
    """
    product = Warpctl(command, size, folder)
    product.text = intent(size, rounds)
    product.forget()
    enter_new_world()
    say(f"{size}: applied in {product.apply():.1f} s; starting the daemon")
    log = folder / "log"
    words = [
        "-c",
        str(product.config),
        "--state-dir",
        str(product.state_dir),
        "--socket",
        str(folder / "sock"),
    ]
    with log.open("wb") as out:
        enter = ["nsenter", f"--net={floor.NETNS / floor.ROOT}"]
        daemon = subprocess.Popen(
            [*enter, sys.executable, "-m", "warpd.daemon.main", *words, "--interval", "3600"],
            stderr=out,
        )
    try:
        wait_for(log, 0, "ready")
        wait_until_idle()
        before = mib(daemon.pid, "VmRSS")
        text, took = product.text, []
        for number in range(rounds):
            text += f"      z-added-{number}: {{type: mobile}}\n"
            beside = product.config.with_name(".new")
            beside.write_text(text)
            wait_until_idle()
            seen, began = log.stat().st_size, time.time()
            beside.rename(product.config)
            steps = [line for line in wait_for(log, seen, "pass") if "step" in line]
            took.append(
                max(datetime.fromisoformat(line["timestamp"]).timestamp() for line in steps) - began
            )
        wait_until_idle()
        memory = {
            "before": before,
            "after": mib(daemon.pid, "VmRSS"),
            "peak": mib(daemon.pid, "VmHWM"),
        }
        return {
            "size": str(size),
            "work": "one endpoint more, daemon running",
            "seconds": took,
            "mib": memory,
        }
    finally:
        daemon.terminate()
        daemon.wait(60)


def under_readers(size: Size, command: list[str], folder: Path) -> dict[str, Any]:
    """Drift of a gateway whose dashboard has many readers, and of the same one without them."""
    product = Warpctl(command, size, folder)
    enter_new_world()
    say(f"{size}: applied in {product.apply():.1f} s; measuring with and without readers")
    enter = ["nsenter", f"--net={floor.NETNS / floor.ROOT}"]
    script = str(Path(__file__).with_name("readers.py"))
    done = subprocess.run(
        [*enter, sys.executable, script, str(folder)],
        stdout=subprocess.PIPE,
        timeout=1800,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {"size": str(size), "work": "drift under readers", **found}


def show_readers(rows: list[dict[str, Any]]) -> None:
    for one in rows:
        quiet, loaded = (one["milliseconds"][name] for name in ("quiet", "loaded"))
        print(f"{one['size']}: until {quiet['of']} drifts were repaired, milliseconds")
        print(f"  {'':8} {'without':>9} {'readers':>9} {'ratio':>6}")
        for name in ("median", "p99"):
            ratio = loaded[name] / quiet[name]
            print(f"  {name:8} {quiet[name]:9.1f} {loaded[name]:9.1f} {ratio:6.2f}")
        for name, (before, after) in one["rss_mib"].items():
            print(f"  {name}: {before} MiB before, {after} MiB after")
        print(f"  answers: {one['answers']}")


def mib(pid: int, field: str) -> float:
    """A size that the kernel tells of a process."""
    return round(
        int(Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].split()[0]) / 1024, 1
    )


def wait_for(log: Path, seen: int, event: str, deadline_s: float = 300.0) -> list[dict[str, Any]]:
    """The lines of a log after `seen` bytes, up to that of `event`."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        with log.open("rb") as file:
            file.seek(seen)
            lines = [json.loads(line) for line in file.read().splitlines() if line.endswith(b"}")]
        if any(line["event"] == event for line in lines):
            return lines
        time.sleep(0.02)
    raise SystemExit(
        f"bench: the daemon did not say {event!r} in {deadline_s:.0f} s:\n{log.read_text()[-3000:]}"
    )


def show_daemon(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'size':>9}  {'work':34} milliseconds: min  median     max   RSS MiB before   after   "
        " peak"
    )
    for one in rows:
        low, middle, high = (1000 * f(one["seconds"]) for f in (min, statistics.median, max))
        print(
            f"{one['size']:>9}  {one['work']:34} {low:17.0f} {middle:7.0f} {high:7.0f}   "
            + "{before:14.1f} {after:7.1f} {peak:7.1f}".format(**one["mib"])
        )


def show(rows: list[dict[str, Any]]) -> None:
    print(
        f"{'size':>9}  {'work':22} {'warpctl s':>10} {'floor s':>10}   ratio: min  median     max"
    )
    for one in rows:
        ours, base, ratio = (
            statistics.median(one["warpctl_s"]),
            statistics.median(one["floor_s"]),
            one["ratio"],
        )
        print(
            f"{one['size']:>9}  {one['work']:22} {ours:10.3f} {base:10.3f}"
            f"   {ratio['min']:10.2f} {ratio['median']:7.2f} {ratio['max']:7.2f}"
        )


def check_handmade(folder: Path) -> None:
    """The floor against a state made by hand: no warpd needed."""
    enter_new_world()
    handmade.build(folder)
    before = floor.look()
    handmade.add_one(folder)
    after = floor.look(sysctls=False)
    refuse(Floor(before, after, folder / "floor").learn(lambda: None))
    print(f"hand-made state of {floor.peers(before)} peers: built again without a difference")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--sizes", default="10x10,100x100", help="networks x endpoints, with commas between"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument(
        "--warpctl", default=f"{sys.executable} -m warpd.cli", help="the command to measure"
    )
    parser.add_argument(
        "--hand-made", action="store_true", help="only check the floor against a state made by hand"
    )
    parser.add_argument(
        "--daemon",
        action="store_true",
        help="a running daemon, instead: one endpoint more; its memory",
    )
    parser.add_argument(
        "--readers",
        action="store_true",
        help="a running daemon and dashboard, instead: drift with 100 readers and without",
    )
    options = parser.parse_args()
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        say("PYTHONDONTWRITEBYTECODE is set: every start of warpctl compiles its modules anew")
    with tempfile.TemporaryDirectory(prefix="warpd-bench.") as name:
        if options.hand_made:
            check_handmade(Path(name))
            return
        command = shlex.split(options.warpctl)
        special = options.daemon or options.readers
        rows = [] if special else [start_up(command, options.rounds)]
        for size in map(Size.parse, options.sizes.split(",")):
            (folder := Path(name) / str(size)).mkdir()
            if options.readers:
                rows.append(under_readers(size, command, folder))
            elif options.daemon:
                rows.append(follow(size, options.rounds, command, folder))
            else:
                rows += measure(size, options.rounds, command, folder)
    shown = show_daemon if options.daemon else show
    (show_readers if options.readers else shown)(rows)
    if options.json:
        about = {
            "version": 1,
            "kernel": os.uname().release,
            "cpus": os.cpu_count(),
            "rounds": options.rounds,
        }
        options.json.write_text(json.dumps({**about, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
