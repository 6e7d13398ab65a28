"""`./run demo --web`: the demo, its dashboard on a port of this machine's loopback, until Ctrl-C.

    web_demo.py [--port PORT]

The demo runs in namespaces of its own, or in a virtual machine where this kernel lacks what it
needs (tests/vm/has-filters). Neither has a network in common with this machine: the port's
connections go through one line (relay.py). SIGINT or SIGTERM ends the line's inner end; then the
demo takes everything down, and says so. A second one ends it at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tests.relay import Line, Outer  # noqa: E402  the script is run by its path

USUAL_PORT: Final = 8443
LIMIT_S: Final = "43200"
SERIAL: Final = "/dev/ttyS0"  # of the virtual machine


def bound(port: int | None) -> socket.socket:
    """A socket on loopback: at this port; without one, at the usual port or at a free one."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("127.0.0.1", USUAL_PORT if port is None else port))
    except OSError as failure:
        if port is not None:
            raise SystemExit(f"demo: port {port}: {failure.strerror}") from failure
        made.bind(("127.0.0.1", 0))
    return made


def in_machine() -> bool:
    """Whether the demo needs a virtual machine."""
    return subprocess.run([REPOSITORY / "tests/vm/has-filters"], check=False).returncode != 0


def start(line: socket.socket, origin: str) -> subprocess.Popen[bytes]:
    """The demo with the inner end of the line, in a process group of its own."""
    warpctl = os.environ.get("WARPCTL", str(REPOSITORY / ".venv/bin/warpctl"))
    number = str(line.fileno())
    inside = {"WARPCTL": warpctl, "WARPD_DEMO_ORIGIN": origin, "WARPD_DEMO_LIMIT_S": LIMIT_S}
    demo = str(REPOSITORY / "tests/demo.sh")
    if in_machine():
        words = " ".join(f"{name}='{value}'" for name, value in inside.items())
        out = os.environ.get("WARPD_WORK", str(REPOSITORY / ".work")) + "/demo"
        text = f"{words} WARPD_DEMO_LINE={SERIAL} '{demo}' --web"
        command = [str(REPOSITORY / "tests/vm/lab"), "run", "uml", out, LIMIT_S, text]
        environment = {"LAB_CPUS": "1", **os.environ, "LAB_SERIAL": f"fd:{number}"}
    else:
        command = [demo, "--web"]
        environment = {**os.environ, **inside, "WARPD_DEMO_LINE": number}
    return subprocess.Popen(
        command, env=environment, pass_fds=[line.fileno()], start_new_session=True
    )


class Ending:
    """What a signal does: the first one ends the line's inner end, for which the demo waits."""

    def __init__(self, demo: subprocess.Popen[bytes], outer: Outer) -> None:
        self._demo, self._outer = demo, outer
        self.asked = False

    def __call__(self, _number: int, _frame: object) -> None:
        if self.asked or not self._outer.is_there.is_set():
            os.killpg(self._demo.pid, signal.SIGTERM)
        else:
            threading.Thread(target=self._outer.end, daemon=True).start()
        self.asked = True


def main() -> int:
    parser = argparse.ArgumentParser(prog="run demo --web")
    parser.add_argument("--port", type=int, help="of 127.0.0.1 (8443, or a free one)")
    listener = bound(parser.parse_args().port)
    here, there = socket.socketpair()
    outer = Outer(Line(here.fileno()), listener)
    demo = start(there, f"https://localhost:{listener.getsockname()[1]}")
    there.close()
    ending = Ending(demo, outer)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ending)
    threading.Thread(target=outer.run, daemon=True).start()
    code = demo.wait()
    listener.close()
    return 130 if ending.asked and code < 0 else abs(code)


if __name__ == "__main__":
    sys.exit(main())
