"""Write the completion files of warpctl, and the table of its commands that they ask.

    python .ci/reference/completions.py FOLDER

FOLDER is the root of what is packaged. Two runs write the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from commands import Command, warpctl

BEFORE = ("-o", "--output")  # options of commands that may stand before these
PROGRAM = "/usr/lib/warpd/complete"

BASH = """# bash completion for warpctl
_warpctl() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("${line%%$'\\t'*}")
    done < <(PROGRAM "$COMP_CWORD" "${COMP_WORDS[@]}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/=] ]] && compopt -o nospace
    return 0
}
complete -o default -F _warpctl warpctl
"""
ZSH = """#compdef warpctl
local -a lines words_found stems
local line
lines=("${(@f)$(PROGRAM $((CURRENT - 1)) "${words[@]}" 2>/dev/null)}")
for line in $lines; do
    if [[ ${line%%$'\\t'*} == *[/=] ]]; then
        stems+=("${line%%$'\\t'*}")
    else
        words_found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    fi
done
(( $#stems )) && compadd -S '' -a stems
(( $#words_found )) && _describe -t warpctl warpctl words_found
(( $#stems + $#words_found )) || _files
"""
FISH = """# fish completion for warpctl
function __warpctl_complete
    set -l words (commandline -opc)
    set -l found (PROGRAM (count $words) $words (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c warpctl -f -a '(__warpctl_complete)'
"""
FILES = {
    "usr/share/bash-completion/completions/warpctl": BASH,
    "usr/share/zsh/vendor-completions/_warpctl": ZSH,
    "usr/share/fish/vendor_completions.d/warpctl.fish": FISH,
}


def node(command: Command) -> dict[str, Any]:
    """A command in the table (`warpd.cli.complete`)."""
    options = {
        name: {"help": option.help, "takes": option.takes}
        for option in command.options
        for name in option.names
    }
    return {
        "help": command.help.partition("\n")[0],
        "options": options,
        "arguments": [argument.takes for argument in command.arguments],
        "more": any(argument.repeats for argument in command.arguments),
        "commands": {more.words[-1]: node(more) for more in command.commands},
    }


def table() -> str:
    root = node(warpctl())
    output = root["commands"]["status"]["options"]
    for name in BEFORE:
        root["options"][name] = output[name]
    return json.dumps(root, separators=(",", ":"), sort_keys=True) + "\n"


def main() -> None:
    root = Path(sys.argv[1])
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.replace("PROGRAM", PROGRAM), encoding="utf-8")
    (root / "usr/lib/warpd/warpd/cli/completion.json").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
