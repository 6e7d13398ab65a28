"""warpd itself as a process of its own, in the namespace of the test, with its log read back line
by line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0


class Daemon:
    """`with Daemon(folder, document) as daemon:` writes the YAML, starts warpd and waits for its
    first pass.
    """

    def __init__(
        self,
        folder: Path,
        document: Mapping[str, Any] | str,
        interval_s: float = 30.0,
        log: Path | None = None,
        state: Path | None = None,
        more: tuple[str, ...] = (),
        under: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        self.more, self.under = more, under
        self.config, self.state, self.log_file = (
            folder / "warp.yaml",
            state or folder / "state",
            log or folder / "log",
        )
        self.interval_s, self.environment = interval_s, environment
        self.write(document)
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, document: Mapping[str, Any] | str) -> None:
        """As an editor does: beside it, then renamed over it."""
        beside = self.config.with_name(".warp.yaml.new")
        beside.write_text(document if isinstance(document, str) else json.dumps(document))
        beside.rename(self.config)

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        before = len(self.lines("ready"))
        environment = {**os.environ, "WARPD_SOCKET": str(self.state / "sock"), **self.environment}
        words = [
            "-c",
            self.config,
            "--state-dir",
            self.state,
            "--interval",
            str(self.interval_s),
            *self.more,
        ]
        with self.log_file.open("ab") as log:
            command = [*self.under, sys.executable, "-m", "warpd.daemon.main", *words]
            self._process = subprocess.Popen(command, stderr=log, env=environment)
        self.wait(lambda: len(self.lines("ready")) > before, "a first pass")

    def repair(self, seen: int, what: str, deadline_s: float = 10) -> list[dict[str, Any]]:
        """The lines after `seen` bytes of log up to that of the first pass that changed
        something.
        """
        found: list[dict[str, Any]] = []

        def there() -> bool:
            with self.log_file.open("rb") as log:
                log.seek(seen)
                lines = [
                    json.loads(line) for line in log.read().splitlines() if line.endswith(b"}")
                ]
            passes = [number for number, line in enumerate(lines) if line["event"] == "pass"]
            found.extend(lines[: passes[0] + 1] if passes else ())
            return bool(passes)

        self.wait(there, what, deadline_s)
        return found

    def idle(self, for_s: float = 0.1) -> None:
        """Until it has slept for a while: what is done has been told."""
        before = -1
        while (now := self.wakes()) != before:
            before = now
            time.sleep(for_s)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Seconds that it took to end."""
        began = time.monotonic()
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE_S)
            self._process = None
        return time.monotonic() - began

    def read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def rss_kib(self) -> int:
        return int(self.read("status").split("VmRSS:")[1].split()[0])

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def wakes(self) -> int:
        """Voluntary switches of all its threads; one that ends meanwhile is left out."""
        return sum(_switches(task) for task in Path(f"/proc/{self.pid}/task").iterdir())

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            return [line for line in self._all() if event is None or line["event"] == event]
        return []

    def _all(self) -> Iterator[dict[str, Any]]:
        for line in self.log_file.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last one may be half there
                yield json.loads(line)

    def wait(self, true: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
        until = time.monotonic() + deadline_s
        while not true():
            assert time.monotonic() < until, (
                f"waited {deadline_s} s for {what}\n{self.log_file.read_text()[-3000:]}"
            )
            time.sleep(0.03)


def _switches(task: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int((task / "status").read_text().split("voluntary_ctxt_switches:")[1].split()[0])
    return 0
