"""Several `warpctl` commands, each in a child of one process that has imported everything: under
emulation a start takes ten seconds. Reads lines of JSON [number, arguments]; writes OUT/number,
OUT/number.err and, for a failure, OUT/number.bad.

usage: many.py OUT
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from warpd.cli import app as cli


def main() -> None:
    out = Path(sys.argv[1])
    cli.register("")
    for line in sys.stdin:
        number, arguments = json.loads(line)
        child = os.fork()
        if not child:
            become(out / str(number), arguments)
        if os.waitpid(child, 0)[1]:
            (out / f"{number}.bad").touch()


def become(file: Path, arguments: list[str]) -> None:
    for target, path in ((1, file), (2, file.with_name(f"{file.name}.err"))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), target)
    sys.argv = ["warpctl", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(1)


if __name__ == "__main__":
    main()
