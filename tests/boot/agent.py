"""In the virtual machine: runs what comes through the virtio port, one JSON line a command, and
answers with its end.
"""

import json
import subprocess
import time
from pathlib import Path

PORT = Path("/dev/virtio-ports/warpd.test")


def main() -> None:
    while not PORT.exists():
        time.sleep(0.2)
    with PORT.open("r+b", buffering=0) as port:
        line = b""
        while True:
            more = port.read(65536)
            if not more:  # nobody is connected on the other side
                time.sleep(0.1)
                continue
            *whole, line = (line + more).split(b"\n")
            for one in whole:
                said = answer(json.loads(one))
                while said:  # the port takes some 32 KiB at a time
                    said = said[port.write(said) or 0 :]


def answer(asked: dict[str, str]) -> bytes:
    done = subprocess.run(
        ("bash", "-c", asked["command"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return (
        json.dumps(
            {"id": asked["id"], "rc": done.returncode, "out": done.stdout.decode(errors="replace")}
        ).encode()
        + b"\n"
    )


if __name__ == "__main__":
    main()
