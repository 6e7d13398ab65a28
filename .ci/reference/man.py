"""Write the man pages: of every program, and of warp.yaml(5); from the programs and the models.

    python .ci/reference/man.py FOLDER

FOLDER is the root of what is packaged. The date is SOURCE_DATE_EPOCH, so that two runs write the
same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from commands import Argument, Command, Option, warpctl

from warpd import __version__
from warpd.daemon.options import parser
from warpd.intent.reference import TITLES, default_text, kind_text
from warpd.intent.schema import json_schema
from warpd.notify.main import parser as notify_parser
from warpd.oidc.main import parser as oidc_parser
from warpd.propose.main import parser as propose_parser
from warpd.web.options import parser as web_parser

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = (
    ("/etc/warpd/warp.yaml", "the YAML, see warp.yaml(5); more networks in networks.d beside it"),
    ("/etc/warpd/warp.lock.yaml", "the allocations, for git; written by `warpctl lock`"),
    ("/var/lib/warpd", "state: the master secret, allocations, history. Back it up"),
    ("/run/warpd/warpd.sock", "the control socket of warpd(8)"),
)
ENVIRONMENT = (
    ("WARPD_CONFIG", "the YAML, as by --config"),
    ("WARPD_STATE_DIR", "the state folder, as by --state-dir"),
    ("WARPD_SOCKET", "the control socket"),
    ("NO_COLOR", "no colours"),
)
EXIT = (
    ("0", "done, or in sync"),
    ("1", "failed, or a wrong command line"),
    ("2", "plan: there are changes"),
    ("3", "applied in part"),
    ("4", "the YAML is invalid"),
    ("5", "busy: another apply, a stale plan, a pending confirm"),
)
SIGNALS = (
    ("SIGHUP", "reads the YAML and looks at the kernel at once"),
    ("SIGTERM, SIGINT", "stop warpd; the data plane stays as it is, and traffic flows on"),
)


def escaped(text: str) -> str:
    """Text as roff takes it: nothing in it is a request or an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


def bold(text: str) -> str:
    return f"\\fB{escaped(text)}\\fR"


def italic(text: str) -> str:
    return f"\\fI{escaped(text)}\\fR"


def heading(name: str, section: int, purpose: str) -> Iterator[str]:
    day = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC).date()
    yield f'.TH "{name.upper()}" "{section}" "{day}" "warpd {__version__}" "warpd"'
    yield ".SH NAME"
    yield f"{escaped(name)} \\- {escaped(purpose)}"


def paragraphs(text: str) -> Iterator[str]:
    for number, part in enumerate(re.split(r"\n\s*\n", text)):
        if number:
            yield ".PP"
        yield escaped(" ".join(part.split()))


def tagged(rows: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Entries of a name, which is roff already, and text."""
    for name, text in rows:
        yield ".TP"
        yield name
        yield escaped(text) or "\\&"


def named(rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield from tagged(tuple((bold(name), text) for name, text in rows))


# -- warpctl(1)


def option_name(option: Option) -> str:
    spelled = ", ".join(bold(name) for name in option.names)
    return f"{spelled} {italic(option.metavar)}" if option.metavar else spelled


def argument_name(argument: Argument) -> str:
    name = italic(argument.metavar) + ("..." if argument.repeats else "")
    return name if argument.required else f"[{name}]"


def command_lines(command: Command) -> Iterator[str]:
    """One command that does something, with its options; those of a group, one by one."""
    if command.commands:
        for more in command.commands:
            yield from command_lines(more)
        return
    arguments = (argument_name(argument) for argument in command.arguments)
    yield ".SS " + " ".join(bold(word) for word in ("warpctl", *command.words))
    yield " ".join((bold(" ".join(("warpctl", *command.words))), "[options]", *arguments))
    yield ".PP"
    yield from paragraphs(command.help)
    shown = [argument for argument in command.arguments if argument.help]
    yield from tagged(tuple((italic(one.metavar), one.help) for one in shown))
    own = [option for option in command.options if "--help" not in option.names]
    yield from tagged(tuple((option_name(option), option.help) for option in own))


def warpctl_page() -> Iterator[str]:
    root = warpctl()
    yield from heading("warpctl", 1, "plan and apply a VPN gateway described in YAML")
    yield ".SH SYNOPSIS"
    yield f"{bold('warpctl')} [options] {italic('COMMAND')} [options] [arguments]"
    yield ".SH DESCRIPTION"
    yield from paragraphs(root.help.partition("Exit codes")[0].strip())
    yield ".SH OPTIONS"
    yield "They may stand behind the command too."
    yield from tagged(tuple((option_name(option), option.help) for option in root.options))
    yield ".SH COMMANDS"
    yield from command_lines(root)
    yield ".SH EXIT STATUS"
    yield from named(EXIT)
    yield ".SH ENVIRONMENT"
    yield from named(ENVIRONMENT)
    yield ".SH FILES"
    yield from named(FILES)
    yield ".SH SEE ALSO"
    yield "warpd(8), warp.yaml(5), /usr/share/doc/warpd"


# -- warpd(8)


def warpd_page() -> Iterator[str]:
    options = parser()
    yield from heading("warpd", 8, "keep the kernel as the YAML says")
    yield ".SH SYNOPSIS"
    yield f"{bold('warpd')} [options]"
    yield ".SH DESCRIPTION"
    yield from paragraphs(
        "warpd watches the YAML of a VPN gateway and the kernel's events, and converges WireGuard,"
        " namespaces or VRFs, tunnels, bridges, routes and nftables. What is right already is not"
        " touched. While the YAML is invalid, the last good intent stays in force.\n\nIt serves a"
        " control socket, over which warpctl(1) asks it on behalf of users other than root: the"
        " group warpd may change, the group warpd-read may look. warpd-metrics.socket serves"
        " metrics to Prometheus on 127.0.0.1:9586 once it is enabled.\n\nWhen warpd stops, dies or"
        " is upgraded, traffic flows on, and what was blocked stays blocked."
    )
    yield ".SH OPTIONS"
    yield from tagged(tuple(daemon_option(action) for action in options._actions))
    yield ".SH SIGNALS"
    yield from named(SIGNALS)
    yield ".SH FILES"
    yield from named(FILES)
    yield ".SH SEE ALSO"
    yield "warpctl(1), warp.yaml(5), /usr/share/doc/warpd/docs/daemon.md"


def program_page(
    name: str,
    purpose: str,
    description: str,
    options: argparse.ArgumentParser,
    see_also: str,
    files: tuple[tuple[str, str], ...] = (),
) -> Iterator[str]:
    """The page of a program that systemd starts."""
    yield from heading(name, 8, purpose)
    yield ".SH SYNOPSIS"
    yield f"{bold(name)} [options]"
    yield ".SH DESCRIPTION"
    yield from paragraphs(description)
    yield ".SH OPTIONS"
    yield from tagged(tuple(daemon_option(action) for action in options._actions))
    if files:
        yield ".SH FILES"
        yield from named(files)
    yield ".SH SEE ALSO"
    yield see_also


def notify_page() -> Iterator[str]:
    yield from program_page(
        "warpd-notify",
        "send events of warpd to webhooks",
        "warpd-notify reads the events of warpd(8) from its control socket and sends each to the"
        " webhooks of /etc/warpd/notify.yaml: signed, in order, and again where a receiver does not"
        " answer. warpd never waits for it.",
        notify_parser(),
        "warpd(8), /usr/share/doc/warpd/docs/daemon.md, /usr/share/warpd/examples/webhooks",
    )


def propose_page() -> Iterator[str]:
    yield from program_page(
        "warpd-propose",
        "push a proposed change of the YAML as a branch",
        "systemd starts warpd-propose for each connection to warpd-propose.socket. It reads one"
        " request of warpd(8), makes a commit of the patch on top of the target branch, pushes it,"
        " and answers with the name of the branch. It alone has the key of the git server;"
        " /etc/warpd/propose/settings.yaml names the repository.",
        propose_parser(),
        "warpd(8), /usr/share/doc/warpd/docs/operators-guide.md, /usr/share/warpd/examples/propose",
    )


def web_page() -> Iterator[str]:
    yield from program_page(
        "warpd-web",
        "the dashboard of a warpd gateway",
        "warpd-web shows a gateway in a browser. It has no right of its own: what a page asks for,"
        " warpd(8) answers to the user who has signed in. Nothing listens before `warpctl web init`"
        " and `systemctl enable --now warpd-web.socket`; `warpctl web login` prints a link that"
        " signs in once.",
        web_parser({}),
        "warpctl(1), warpd(8), /usr/share/doc/warpd/docs/operators-guide.md",
        (
            ("/etc/warpd/web.env", "WARPD_WEB_ORIGINS: the addresses by which browsers come"),
            ("/etc/warpd/web", "the certificate and its key; systemd reads them for warpd-web"),
        ),
    )


def oidc_page() -> Iterator[str]:
    yield from program_page(
        "warpd-oidc",
        "ask a provider of OpenID Connect who somebody is",
        "systemd starts warpd-oidc for each connection to warpd-oidc.socket. It reads one request"
        " of warpd(8), exchanges the code of a sign-in for an id token, and answers with the claims"
        " of that token when the provider has signed it. It alone has the secret of the client;"
        " /etc/warpd/oidc/settings.yaml names the provider.",
        oidc_parser(),
        "warpd(8), /usr/share/doc/warpd/docs/operators-guide.md, /usr/share/warpd/examples/oidc",
    )


def daemon_option(action: Any) -> tuple[str, str]:
    spelled = ", ".join(bold(name) for name in action.option_strings)
    value = f" {italic(action.metavar)}" if action.metavar else ""
    return spelled + value, " ".join((action.help or "").split())


# -- warp.yaml(5)


def yaml_page() -> Iterator[str]:
    schema = json_schema()
    yield from heading("warp.yaml", 5, "what a VPN gateway of warpd is")
    yield ".SH DESCRIPTION"
    yield from paragraphs(
        "One YAML file, and files with further networks in networks.d beside it, describe the"
        " networks of a gateway and their endpoints. warpctl(1) and warpd(8) make the kernel as"
        " it says. Fields that are left out have the defaults below; numbers, subnets and"
        " addresses that are left out are allocated and stay.\n\n`warpctl validate` names every"
        " problem with its line. `warpctl schema` prints the JSON Schema, for editors."
    )
    for name, title in TITLES.items():
        body = schema if name == "Intent" else schema.get("$defs", {}).get(name, {})
        yield f".SH {escaped(title.upper() if name == 'Intent' else title)}"
        required = set(body.get("required", ()))
        yield from tagged(
            tuple(
                (field_name(key, field), field_text(field, key in required))
                for key, field in body.get("properties", {}).items()
            )
        )
    yield ".SH EXAMPLE"
    yield ".nf"
    for line in (REPOSITORY / "examples" / "quickstart.yaml").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            yield escaped(line) or "\\&"
    yield ".fi"
    yield ".SH FILES"
    yield from named(FILES)
    yield ".SH SEE ALSO"
    yield "warpctl(1), warpd(8), /usr/share/warpd/examples, /usr/share/warpd/schemas"


def field_name(key: str, field: dict[str, Any]) -> str:
    return f"{bold(key)}: {italic(kind_text(field))}"


def field_text(field: dict[str, Any], required: bool) -> str:
    text = " ".join(str(field.get("description", "")).split())
    default = default_text(field)
    if required:
        return f"{text} Required.".strip()
    return f"{text} Default: {default}.".strip() if default else text


PAGES = {
    "man1/warpctl.1": warpctl_page,
    "man8/warpd.8": warpd_page,
    "man8/warpd-notify.8": notify_page,
    "man8/warpd-oidc.8": oidc_page,
    "man8/warpd-propose.8": propose_page,
    "man8/warpd-web.8": web_page,
    "man5/warp.yaml.5": yaml_page,
}


def main() -> None:
    root = Path(sys.argv[1])
    for name, page in PAGES.items():
        file = root / "usr/share/man" / f"{name}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{line}\n" for line in page())
        file.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
