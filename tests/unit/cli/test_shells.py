"""What bash, zsh and fish make of the package's completion files: the real shells. zsh has a
terminal, as it completes only what is typed.
"""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.cli.completion import PROGRAM, TEXT

INSTALLED = "/usr/lib/warpd/complete"  # as the files name the program
BASH = "usr/share/bash-completion/completions/warpctl"
ZSH = "usr/share/zsh/vendor-completions/_warpctl"
FISH = "usr/share/fish/vendor_completions.d/warpctl.fish"
# Of one line: what is offered, and what zsh makes of the line.
LINES = [
    ("warpctl net", ["network"], "warpctl network "),
    ("warpctl endpoint show ", ["corp/", "web/"], "warpctl endpoint show "),
    ("warpctl endpoint show w", ["web/"], "warpctl endpoint show web/"),
    (
        "warpctl endpoint show corp/l",
        ["corp/laptop-10", "corp/laptop-2"],
        "warpctl endpoint show corp/laptop-",
    ),
    ("warpctl -o json network show c", ["corp"], "warpctl -o json network show corp "),
    ("warpctl plan --verb", ["--verbose"], "warpctl plan --verbose "),
    (
        "warpctl validate --format=gi",
        ["--format=github", "--format=gitlab"],
        "warpctl validate --format=git",
    ),
    ("warpctl validate --format gi", ["github", "gitlab"], "warpctl validate --format git"),
    ("warpctl plan --out war", ["warp.yaml"], "warpctl plan --out warp.yaml "),
]
# It ends at the first TAB, and writes down what the line is then and what was offered.
ZSHRC = """
fpath=("$WARPCTL_COMPLETION" $fpath)
autoload -Uz compinit && compinit -D -u
typeset -ga OFFERED
compadd() {
    local -a fits
    builtin compadd -O fits "$@"
    OFFERED+=($fits)
    builtin compadd "$@"
}
tab() {
    zle complete-word
    print -rl -- "$BUFFER" $OFFERED > "$ZDOTDIR/told"
    exit
}
zle -N tab && bindkey '^I' tab
PS1='READY''>'
"""


@dataclass(frozen=True, slots=True)
class Shell:
    """Where the shells are started.

    - `files`: the root of what is packaged; `bin` in it holds a `warpctl`, which is never run.
    - `home`: the folder in which they run; it holds the YAML.
    """

    files: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        config = {"WARPD_CONFIG": str(self.home / "warp.yaml")}
        path = {"PATH": f"{self.files / 'bin'}:{os.environ['PATH']}"}
        return {**os.environ, "HOME": str(self.home), "TERM": "vt100", **config, **path}


@pytest.fixture
def shell(completion_tree: Path, tmp_path: Path) -> Shell:
    """Completion files that name a program of this tree; they are not changed otherwise."""
    program, home = tmp_path / "complete", tmp_path / "home"
    warpctl = tmp_path / "bin" / "warpctl"  # fish completes only what there is
    home.mkdir()
    warpctl.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {completion_tree / PROGRAM} "$@"\n')
    warpctl.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    warpctl.chmod(0o755)
    for name in (BASH, ZSH, FISH):
        text = (completion_tree / name).read_text()
        assert text.count(INSTALLED) == 1
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text.replace(INSTALLED, str(program)))
    (home / "warp.yaml").write_text(TEXT)
    return Shell(tmp_path, home)


@pytest.mark.parametrize(
    ("words", "replies"),
    [
        (["endpoint", "show", "corp/l"], ["corp/laptop-10", "corp/laptop-2"]),
        (["validate", "--format", "=", "gi"], ["github", "gitlab"]),
        (["net"], ["network"]),
        (["plan", "--out", ""], []),
    ],
)
def test_bash(shell: Shell, words: list[str], replies: list[str]) -> None:
    ask = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _warpctl\n'
    code = (shell.files / BASH).read_text() + ask + 'printf "%s\n" "${COMPREPLY[@]}"'
    told = subprocess.run(
        ["bash", "--norc", "-c", code, "x", "warpctl", *words],
        capture_output=True,
        text=True,
        check=True,
        env=shell.environment,
    )
    assert told.stdout.split() == replies and told.stderr == ""


@pytest.mark.parametrize(("line", "offered"), [(line, offered) for line, offered, _ in LINES])
def test_fish(shell: Shell, line: str, offered: list[str]) -> None:
    """It finds the file by itself, among those of other packages."""
    told = subprocess.run(
        ["fish", "-c", 'complete -C "$argv[1]"', line],
        capture_output=True,
        text=True,
        check=True,
        cwd=shell.home,
        env={**shell.environment, "XDG_DATA_DIRS": str(shell.files / "usr/share")},
    )
    rows = [row.split("\t") for row in told.stdout.splitlines()]
    assert sorted(row[0] for row in rows) == offered and told.stderr == ""
    is_word = line.endswith(("net", "--verb"))
    assert not is_word or rows[0][1], "commands and options come with what they do"


@pytest.mark.parametrize(("line", "offered", "completed"), LINES)
def test_zsh(shell: Shell, line: str, offered: list[str], completed: str) -> None:
    (shell.home / ".zshrc").write_text(ZSHRC)
    folders = {"ZDOTDIR": str(shell.home), "WARPCTL_COMPLETION": str((shell.files / ZSH).parent)}
    with zsh({**shell.environment, **folders}, shell.home) as terminal:
        seen = b""
        while b"READY>" not in seen:
            seen += os.read(terminal, 4096)
        os.write(terminal, f"{line}\t".encode())
        with contextlib.suppress(OSError):  # the terminal is gone with the shell
            while os.read(terminal, 4096):
                pass
    now, *told = (shell.home / "told").read_text().splitlines()
    assert (now, sorted(set(told))) == (completed, offered)


@contextlib.contextmanager
def zsh(environment: dict[str, str], folder: Path) -> Iterator[int]:
    """A zsh at a terminal; what is yielded is read and written for the person there."""
    controller, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            ["zsh", "-i"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            cwd=folder,
            env=environment,
        ) as process:
            os.close(terminal)
            try:
                yield controller
            finally:
                process.terminate()
    finally:
        os.close(controller)
