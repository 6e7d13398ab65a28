"""`warpd-propose` behind its socket, as its units have it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.unit_socket import by_process, listening


@contextlib.contextmanager
def propose_unit(folder: Path) -> Iterator[None]:
    """Listen at `propose.sock` in the folder; its settings are `propose/settings.yaml`."""
    words = ["--credentials", str(folder / "propose"), "--state-dir", str(folder / "clone")]
    with listening(folder / "propose.sock", by_process("warpd.propose.main", words)):
        yield
