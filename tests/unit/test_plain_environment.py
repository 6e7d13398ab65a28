"""What only reads and writes files runs in a plain virtual environment, as a user who is not root.

The environment is a real one: made by `python -m venv` without the system's packages, filled by pip
with the pinned versions and nothing for development. It is kept in .work while neither the pins nor
the dependencies change. Where the machine is no Linux, netlink is missing too; that alone is
simulated, by refusing the import.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

NOBODY = 65534
WITHOUT_NETLINK = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pyroute2":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
from warpd.cli.app import main
main()
"""
YAML = """version: 1
gateway: {public_endpoint: vpn.example.com}
networks:
  a:
    type: secure-internet
    endpoints:
      p: {type: mobile}
"""
REPOSITORY = Path(__file__).parents[2]


PINS = REPOSITORY / ".ci" / "constraints.txt"


@pytest.fixture(scope="module")
def plain() -> Path:
    """The bin folder of the environment."""
    made = REPOSITORY / ".work" / "plain-venv"
    mark = made / ".made-from"
    asked = b"".join(path.read_bytes() for path in (REPOSITORY / "pyproject.toml", PINS))
    now = f"{hashlib.sha256(asked).hexdigest()} {sys.version}"
    if not mark.exists() or mark.read_text() != now:
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", made], check=True, timeout=300)
        words = ["install", "-q", "--disable-pip-version-check", "-c", PINS, "-e", REPOSITORY]
        subprocess.run(
            [made / "bin" / "python", "-m", "pip", *words],
            check=True,
            timeout=600,
            capture_output=True,
        )
        mark.write_text(now)
    return made / "bin"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of somebody who is not root, below one that everybody may pass."""
    made = Path("/tmp") / f"warpd-plain-{os.getpid()}"  # pytest's own folders are root's alone
    made.mkdir(mode=0o700)
    (made / "warp.yaml").write_text(YAML)
    if os.geteuid() == 0:
        for path in (made, made / "warp.yaml"):
            os.chown(path, NOBODY, NOBODY)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@dataclass(frozen=True, slots=True)
class Plain:
    """`warpctl` in that environment, as nobody."""

    folder: Path
    program: tuple[str | Path, ...]

    def __call__(self, *words: str) -> tuple[int, str, str]:
        return self.outcome(*self.program, "-c", "warp.yaml", "--state-dir", "state", *words)

    def outcome(self, *command: str | Path) -> tuple[int, str, str]:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        environment = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
        }
        done = subprocess.run(  # type: ignore[call-overload]
            command,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            cwd=self.folder,
            **user,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["Linux", "another system"])
def warpctl(request: pytest.FixtureRequest, plain: Path, folder: Path) -> Plain:
    if request.param == "Linux":
        return Plain(folder, (plain / "warpctl",))
    return Plain(folder, (plain / "python", "-c", WITHOUT_NETLINK))


def test_the_environment_is_a_plain_one(plain: Path, folder: Path) -> None:
    run = Plain(folder, ())
    code, _out, err = run.outcome(plain / "python", "-c", "import nftables")
    assert code == 1 and "ModuleNotFoundError" in err
    assert run.outcome(plain / "python", "-c", "import pytest")[0] == 1, "nothing for development"
    code, out, _err = run.outcome(
        plain / "python", "-c", "import os, sys; print(os.geteuid(), sys.prefix != sys.base_prefix)"
    )
    assert code == 0 and out.split() == [str(NOBODY if os.geteuid() == 0 else os.geteuid()), "True"]
    assert run.outcome(plain / "warpd", "--version")[1].startswith("warpd ")


def test_files_need_no_kernel(warpctl: Plain, folder: Path) -> None:
    assert warpctl("validate")[0] == 0
    assert '"$schema"' in warpctl("schema")[1]
    assert warpctl("network", "add", "b", "--type", "l3vpn-gateway")[0] == 0
    assert warpctl("endpoint", "add", "b", "x", "--type", "cpe")[0] == 0
    assert warpctl("network", "set", "b", "--description", "sites")[0] == 0
    assert (
        warpctl("endpoint", "rename", "b/x", "y")[0] == 0
        and warpctl("endpoint", "disable", "b/y")[0] == 0
    )
    assert warpctl("plan", "--against", "empty")[0] == 2
    assert warpctl("plan", "--against", "warp.yaml")[0] == 0
    assert warpctl("lock", "--check")[0] == 1
    assert warpctl("lock")[0] == 0 and warpctl("lock", "--check")[0] == 0
    code, out, err = warpctl("endpoint", "config", "a/p")
    assert (
        code == 0
        and "Endpoint = vpn.example.com:51820" in out
        and "MTU is assumed to be 1500" in err
    )
    (folder / "warp.yaml").write_text(
        (folder / "warp.yaml").read_text().replace("vpn.example.com", "auto")
    )
    code, out, err = warpctl("endpoint", "config", "a/p")
    assert code == 1 and out == "" and "python3-nftables" in err


def test_what_is_missing_is_said(warpctl: Plain) -> None:
    code, out, _err = warpctl("doctor")
    assert code == 1 and "fail  kernel: the Python bindings of libnftables are missing" in out
    code, _out, err = warpctl("network", "list")
    assert code == 1 and "apt install python3-nftables" in err and "Traceback" not in err
