"""A Debian machine under QEMU, from power-on to power-cut: its disk, its seed for cloud-init, its
one network.

The network is QEMU's own, cut off from the host's (`restrict=on`): 203.0.113.2 answers pings,
203.0.113.100:80 serves the files of one folder, the machine is 203.0.113.15. The machine is reached
by a virtio port, not by the network.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE_S = 600.0  # emulated, on a busy machine
IP, NEIGHBOUR, SERVER = "203.0.113.15", "203.0.113.2", "203.0.113.100"
# Cut off, QEMU's DHCP names no router (libslirp, src/bootp.c): without a default route there is no
# uplink, and nothing leaves.
NETWORK = f"""version: 2
ethernets:
  uplink:
    match: {{name: "en*"}}
    dhcp4: true
    routes: [{{to: 0.0.0.0/0, via: {NEIGHBOUR}}}]
"""


@dataclass(frozen=True, slots=True)
class Done:
    rc: int
    out: str

    def checked(self) -> str:
        assert self.rc == 0, self.out
        return self.out


class Machine:
    """One disk, that outlives power-cuts, and the QEMU that runs it."""

    def __init__(self, folder: Path, image: Path, served: Path, user_data: str) -> None:
        self.folder, self.image, self.served = folder, image, served
        self.disk = folder / "disk.img"
        subprocess.run(("cp", "--sparse=always", image / "root.img", self.disk), check=True)
        seed = folder / "seed"
        seed.mkdir()
        (seed / "user-data").write_text(user_data)
        (seed / "meta-data").write_text("instance-id: one\n")
        (seed / "network-config").write_text(NETWORK)
        command = (
            "genisoimage",
            "-quiet",
            "-output",
            folder / "seed.iso",
            "-volid",
            "cidata",
            "-joliet",
            "-rock",
            seed,
        )
        subprocess.run(command, check=True)
        self._numbers = itertools.count(1)
        self._qemu: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None

    def power_on(self) -> float:
        """Seconds until its hand is there."""
        began = time.monotonic()
        door = self.folder / "port"
        door.unlink(missing_ok=True)
        serve = f"tcp:{SERVER}:80-cmd:busybox httpd -i -h {self.served}"
        kvm = os.access("/dev/kvm", os.W_OK) and os.environ.get("LAB_ACCEL") == "kvm"
        speed = (
            ("-accel", "kvm", "-cpu", "host")
            if kvm
            else ("-accel", "tcg,thread=single", "-cpu", "max")
        )
        self._qemu = subprocess.Popen(
            (
                "qemu-system-x86_64",
                *speed,
                "-machine",
                "q35",
                "-smp",
                "2",
                "-m",
                "1G",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
                "-serial",
                f"file:{self.folder / 'console'}",
                "-device",
                "virtio-serial-pci",
                "-chardev",
                f"socket,id=p,path={door},server=on,wait=off",
                "-device",
                "virtserialport,chardev=p,name=warpd.test",
                "-drive",
                f"file={self.disk},if=virtio,format=raw,cache=writeback",
                "-drive",
                f"file={self.folder / 'seed.iso'},if=virtio,format=raw,readonly=on",
                "-netdev",
                f"user,id=n,net=203.0.113.0/24,host={NEIGHBOUR},dhcpstart={IP},restrict=on,guestfwd={serve}",
                "-device",
                "virtio-net-pci,netdev=n",
                "-kernel",
                str(self.image / "vmlinux"),
                "-initrd",
                str(self.image / "initrd"),
                "-append",
                "console=ttyS0 quiet panic=-1",
            ),
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while True:
            self._port = socket.socket(socket.AF_UNIX)
            try:
                self._port.connect(str(door))
                break
            except OSError:
                self._port.close()
                assert time.monotonic() < deadline and self._qemu.poll() is None, (
                    "QEMU does not start"
                )
                time.sleep(0.1)
        self.run("true")
        return time.monotonic() - began

    def run(self, command: str, timeout_s: float = PATIENCE_S) -> Done:
        """A command of bash, as root; the next one waits for its end."""
        assert self._port is not None
        number = str(next(self._numbers))
        self._port.settimeout(timeout_s)
        self._port.sendall(json.dumps({"id": number, "command": command}).encode() + b"\n")
        heard = b""
        while True:
            try:
                more = self._port.recv(65536)
            except TimeoutError:
                raise AssertionError(
                    f"no answer in {timeout_s} s: {command}\n{self.last_words()}"
                ) from None
            assert more, f"the machine is gone: {command}\n{self.last_words()}"
            heard += more
            if heard.endswith(b"\n"):
                said = json.loads(heard.splitlines()[-1])
                if said["id"] == number:
                    return Done(said["rc"], said["out"])

    def until(self, command: str, timeout_s: float = PATIENCE_S) -> float:
        """Seconds until the command succeeds."""
        began = time.monotonic()
        while (done := self.run(command)).rc != 0:
            state = (
                self.run("systemctl --failed --no-pager; journalctl -n 40 --no-pager").out
                if time.monotonic() - began > timeout_s
                else ""
            )
            assert not state, f"waited {timeout_s} s for: {command}\n{done.out}\n{state}"
            time.sleep(1)
        return time.monotonic() - began

    def cut(self) -> None:
        """The power: what was not written to the disk is lost."""
        assert self._qemu is not None and self._port is not None
        self._qemu.kill()
        self._qemu.wait()
        self._port.close()
        self._qemu = None

    def shut_down(self) -> None:
        """As the operator does."""
        assert self._qemu is not None and self._port is not None
        self.run("systemctl --no-block poweroff")
        self._qemu.wait(PATIENCE_S)
        self._port.close()
        self._qemu = None

    def stop(self) -> None:
        if self._qemu is not None:
            self.cut()

    def write(self, path: str, text: str) -> None:
        self.run(f"mkdir -p $(dirname {path}) && cat >{path} <<'_END_'\n{text}\n_END_").checked()

    def last_words(self) -> str:
        console = self.folder / "console"
        return console.read_text(errors="replace")[-2000:] if console.exists() else ""


def image() -> Path:
    """The folder of the image, made if need be."""
    made = subprocess.run((HERE / "image",), stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip())


def package(into: Path) -> tuple[str, str]:
    """Copies the package to where the machine finds it: its name and its SHA-256."""
    [deb] = (HERE.parent.parent / "dist").glob("warpd_*.deb")
    shutil.copy(deb, into)
    digest = subprocess.run(("sha256sum", deb), stdout=subprocess.PIPE, text=True, check=True)
    return deb.name, digest.stdout.split()[0]
