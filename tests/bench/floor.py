"""The floor: the same kernel state, built and read by a shell script of `ip -batch`, `wg setconf`
and `nft -f`.

What lives here: reading a live state back with the plain tools (`look`), and writing the scripts
that make it again (`build_script`), make one change of it (`change_script`) or read it
(`read_script`). Nothing of warpd is imported, and nothing is measured here.

The floor is meant to be hard to beat: attributes that a kernel default already gives are left out,
devices are born in the namespace where they live, and a namespace costs one shell with one `ip`,
one `wg` and one `nft` process. Everything happens beside a namespace `gw` that plays the gateway's
root; see `bench.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NETNS = Path("/run/netns")
ROOT, UPLINK = "gw", "eth0"
# Switches, and the settings of each device that they bring along.
SWITCHES = {
    "net.ipv4.ip_forward": r"net\.ipv4\.conf\..*\.forwarding",
    "net.ipv6.conf.all.forwarding": r"net\.ipv6\.conf\.(?!all\.).*\.forwarding",
    "net.ipv6.conf.all.disable_ipv6": r"net\.ipv6\.conf\.(?!all\.).*\.disable_ipv6",
}
PROTOCOL = 119
Json = dict[str, Any]

# `ip -N` prints types as numbers, and does not take them back.
ROUTE_TYPES = (
    "",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
)
# What the kernel gives a new device by itself.
DEFAULT_MTU = {"veth": 1500, "wireguard": 1420, "loopback": 65536}
# Kernel statistics, or set by something else that is compared already.
NOISE = re.compile(r"nf_conntrack_(count|buckets)|\.mtu$|stable_secret|\.(mc_)?forwarding_?cache")


def run(*argv: str, ns: str | None = None, timeout_s: float = 300.0, check: bool = True) -> str:
    """The output of one command, in a named namespace if one is given."""
    where = [] if ns is None else ["nsenter", f"--net={NETNS / ns}"]
    done = subprocess.run(
        [*where, *argv], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if check and done.returncode:
        raise RuntimeError(
            f"{' '.join(argv)} in {ns}: exit {done.returncode}\n{done.stderr[-2000:]}"
        )
    return done.stdout


def read_json(*argv: str, ns: str) -> list[Json]:
    return [item for item in json.loads(run(*argv, ns=ns) or "[]") if item]


@dataclass(slots=True)
class Room:
    """One namespace, in a form that two builds of the same thing have in common."""

    links: dict[str, Json] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    neighbours: list[str] = field(default_factory=list)
    wireguard: dict[str, list[str]] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    nft: str = ""
    elements: dict[str, list[str]] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)


State = dict[str, Room]


def look(*, sysctls: bool = True) -> State:
    """All of warpd's kernel state, namespace by namespace."""
    names = sorted(path.name for path in NETNS.iterdir() if path.name.startswith("warp-"))
    return {name: look_into(name, sysctls=sysctls) for name in [ROOT, *names]}


def look_into(ns: str, *, sysctls: bool) -> Room:
    links = {
        link["ifname"]: link
        for link in map(as_link, read_json("ip", "-j", "-d", "link", ns=ns))
        if link
    }
    room = Room(links=links)
    room.addresses = [
        command
        for item in read_json("ip", "-j", "-N", "addr", ns=ns)
        for command in (as_address(item["ifname"], info) for info in item["addr_info"])
        if item["ifname"] in links and command
    ]
    routes = read_json("ip", "-j", "-N", "-4", "route", "show", "table", "all", ns=ns)
    routes += read_json("ip", "-j", "-N", "-6", "route", "show", "table", "all", ns=ns)
    room.routes = [as_route(item) for item in routes if int(item.get("protocol", 0)) == PROTOCOL]
    for family in ("-4", "-6"):
        rules = read_json("ip", "-j", "-N", family, "rule", ns=ns)
        room.rules += [
            as_rule(family, item) for item in rules if int(item.get("protocol", 0)) == PROTOCOL
        ]
    room.neighbours = sorted(
        f"neigh replace {item['dst']} lladdr {item['lladdr']} dev {item['dev']} nud permanent"
        for item in read_json("ip", "-j", "neigh", "show", "nud", "permanent", ns=ns)
        if item.get("dev") in links and "lladdr" in item
    )
    for name, link in links.items():
        if link["kind"] == "wireguard":
            room.wireguard[name] = sections(run("wg", "showconf", name, ns=ns))
    sockets = run("cat", "/proc/net/udp", "/proc/net/udp6", ns=ns).splitlines()
    room.ports = sorted(
        words[1].rsplit(":", 1)[1] for line in sockets if (words := line.split())[0] != "sl"
    )
    if "table inet warpd" in run("nft", "list", "tables", ns=ns):
        listing = run("nft", "list", "table", "inet", "warpd", ns=ns)
        room.nft = re.sub(r"packets \d+ bytes \d+", "packets 0 bytes 0", listing)
        room.elements = elements(ns)
    room.sysctls = read_sysctls(ns, links) if sysctls else {}
    return room


def as_link(link: Json) -> Json | None:
    """A device of warpd's, told by its alias; and `lo`, which comes with the namespace."""
    kind = str(link.get("linkinfo", {}).get("info_kind", link["link_type"]))
    if not link.get("ifalias", "").startswith("warpd:") and kind != "loopback":
        return None
    return {
        "ifname": link["ifname"],
        "kind": kind,
        "alias": link.get("ifalias", ""),
        "mtu": link["mtu"],
        "up": "UP" in link["flags"],
        "addrgenmode": link.get("inet6_addr_gen_mode", "eui64"),
        "group": link.get("group", "default"),
        # Its other end is in another namespace. WireGuard does not tell; where its socket is shows
        # in `ports`.
        "elsewhere": "link_netnsid" in link or kind == "wireguard",
    }


def as_address(name: str, info: Json) -> str | None:
    if info["local"].startswith("fe80:"):
        return None  # the kernel's own
    if info["local"] in ("127.0.0.1", "::1"):
        return None
    peer = f" peer {info['address']}" if "address" in info else ""
    flags = "".join(f" {flag}" for flag in ("nodad", "noprefixroute", "home") if info.get(flag))
    extra = "".join(f" {word} {info[word]}" for word in ("broadcast", "metric") if word in info)
    proto = f" proto {info['protocol']}" if "protocol" in info else ""
    return f"addr add {info['local']}{peer}/{info['prefixlen']} dev {name}{extra}{flags}{proto}"


def as_route(route: Json) -> str:
    kind = str(route.get("type", "unicast"))
    words = ["route add", ROUTE_TYPES[int(kind)] if kind.isdigit() else kind, route["dst"]]
    if "via" in route:
        words += ["via", route["via"]["family"], route["via"]["host"]]
    for key, word in (
        ("gateway", "via"),
        ("dev", "dev"),
        ("table", "table"),
        ("protocol", "proto"),
        ("scope", "scope"),
        ("prefsrc", "src"),
        ("metric", "metric"),
        ("pref", "pref"),
    ):
        words += [word, str(route[key])] if key in route else []
    words += [
        f"{key} {value}" for metrics in route.get("metrics", []) for key, value in metrics.items()
    ]
    words += ["onlink"] if "onlink" in route.get("flags", []) else []
    return ("-6 " if ":" in route["dst"] or route.get("pref") else "") + " ".join(words)


def as_rule(family: str, rule: Json) -> str:
    words = [f"{family} rule add", "priority", str(rule["priority"])]
    source = rule["src"] + (f"/{rule['srclen']}" if "srclen" in rule else "")
    words += ["from", source]
    for key, word in (("iif", "iif"), ("oif", "oif"), ("fwmark", "fwmark"), ("table", "lookup")):
        words += [word, str(rule[key])] if key in rule else []
    return " ".join([*words, "protocol", str(rule["protocol"])])


def sections(conf: str) -> list[str]:
    """A WireGuard configuration: the interface, then its peers in the order of their keys."""
    interface, *peers = re.split(r"\n(?=\[Peer\])", conf.strip() + "\n")
    return [interface.strip(), *sorted(peer.strip() for peer in peers)]


def elements(ns: str) -> dict[str, list[str]]:
    """The elements of every set and map, as JSON text."""
    items = json.loads(run("nft", "-j", "list", "table", "inet", "warpd", ns=ns))["nftables"]
    sets = [item.get("set") or item.get("map") for item in items if "set" in item or "map" in item]
    return {one["name"]: sorted(map(json.dumps, one.get("elem", []))) for one in sets}


def read_sysctls(ns: str, links: dict[str, Json]) -> dict[str, str]:
    pattern = r"^net\.(ipv4\.(ip_forward|icmp|ping|conf)|ipv6\.(conf|icmp)|netfilter\.nf_conntrack_|bridge\.bridge-nf-call-)"
    values: dict[str, str] = {}
    for line in run("sysctl", "-a", "-r", pattern, ns=ns, check=False).splitlines():
        key, _, value = line.partition(" = ")
        device = re.match(r"net\.ipv[46]\.conf\.([^.]+)\.", key)
        if NOISE.search(key) or (device and device[1] not in {"all", "default", UPLINK, *links}):
            continue
        values[key] = value
    return values


def peers(state: State) -> int:
    return sum(len(conf) - 1 for room in state.values() for conf in room.wireguard.values())


# ---- scripts ---------------------------------------------------------------------------------


def build_script(state: State, folder: Path, sysctls: dict[str, dict[str, str]]) -> Path:
    """A script that makes `state` beside an empty `gw`. Files that it reads are made beside it."""
    rooms = [name for name in state if name != ROOT]
    born = [f"netns add {name}" for name in rooms]
    for name in rooms:
        born += [
            birth(device, link, name, state)
            for device, link in state[name].links.items()
            if link["elsewhere"]
        ]
    (folder / "born").write_text("\n".join([*born, ""]))
    lines = ["set -e", f"ip -batch {folder / 'born'}"]
    for name, room in state.items():
        inside = room_script(name, room, folder, sysctls.get(name, {}))
        lines.append(
            f"sh {inside}" if name == ROOT else f"nsenter --net={NETNS / name} sh {inside}"
        )
    return write(folder / "build.sh", lines)


def birth(device: str, link: Json, ns: str, state: State) -> str:
    """A device made from `gw` in the namespace where it lives, so that its other side stays
    behind.
    """
    if link["kind"] == "wireguard":
        return f"link add {device} netns {ns} type wireguard"
    # up-<vcid> and dn-<vcid> are the two ends of one pair
    other = "dn-" + device.removeprefix("up-")
    if link["kind"] != "veth" or other not in state[ROOT].links:
        raise ValueError(f"the floor does not know how to make {device} ({link['kind']}) in {ns}")
    return f"link add {other} type veth peer name {device} netns {ns}"


def room_script(ns: str, room: Room, folder: Path, sysctls: dict[str, str]) -> Path:
    """What is left to do inside one namespace."""
    lines = ["set -e"]
    lines += [f"echo '{value}' > /proc/sys/{as_path(key)}" for key, value in sysctls.items()]
    if room.nft:
        (folder / f"{ns}.nft").write_text(room.nft)
        lines.append(f"nft -f {folder / ns}.nft")
    for device, conf in room.wireguard.items():
        (folder / f"{device}.conf").write_text("\n".join([*conf, ""]))
        lines.append(f"wg setconf {device} {folder / device}.conf")
    batch = [command for link in room.links.values() if (command := settings(link))]
    # what leads to a gateway comes before what goes by it
    routes = sorted(room.routes, key=lambda route: " via " in route)
    batch += [*room.addresses, *room.neighbours, *routes, *room.rules]
    lines += ip_batch(batch, folder / ns)
    return write(folder / f"{ns}.sh", lines)


def ip_batch(commands: list[str], stem: Path) -> list[str]:
    """One `ip` process, or one for each family where the family has to be said in front."""
    lines = []
    for option in ("", "-6", "-4"):
        chosen = [
            c.removeprefix(option).strip()
            for c in commands
            if (c[:2] if c[0] == "-" else "") == option
        ]
        if chosen:
            Path(f"{stem}{option}.ip").write_text("\n".join([*chosen, ""]))
            lines.append(f"ip {option} -batch {stem}{option}.ip".replace("  ", " "))
    return lines


def settings(link: Json) -> str | None:
    """One `link set` with all that a new device does not have by itself."""
    words: list[str] = []
    if link["mtu"] != DEFAULT_MTU[link["kind"]]:
        words += ["mtu", str(link["mtu"])]
    if link["alias"]:
        words += ["alias", link["alias"]]
    if link["addrgenmode"] != "eui64":
        words += ["addrgenmode", link["addrgenmode"]]
    if link["group"] != "default":
        words += ["group", link["group"]]
    words += ["up"] if link["up"] else []
    return " ".join(["link set dev", link["ifname"], *words]) if words else None


def as_path(key: str) -> str:
    """`sysctl` prints a dot inside a device's name as a slash; warpd's names have none."""
    return key.replace(".", "/")


def change_script(before: State, after: State, folder: Path) -> Path:
    """A script that makes `after` of `before`, where only peers, elements, addresses and routes
    were added.
    """
    lines = ["set -e"]
    for name, room in after.items():
        old, inside = before[name], []
        for device, conf in room.wireguard.items():
            if added := [peer for peer in conf[1:] if peer not in old.wireguard[device]]:
                (folder / f"add-{device}.conf").write_text("\n".join([*added, ""]))
                inside.append(f"wg addconf {device} {folder}/add-{device}.conf")
        commands = [
            add_elements(s, new)
            for s, all_ in room.elements.items()
            if (new := missing(all_, old.elements[s]))
        ]
        if commands:
            (folder / f"add-{name}.json").write_text(json.dumps({"nftables": commands}))
            inside.append(f"nft -j -f {folder}/add-{name}.json")
        batch = missing(room.addresses, old.addresses) + missing(room.routes, old.routes)
        inside += ip_batch(batch, folder / f"add-{name}")
        if inside:
            script = write(folder / f"add-{name}.sh", ["set -e", *inside])
            lines.append(
                f"sh {script}" if name == ROOT else f"nsenter --net={NETNS / name} sh {script}"
            )
    return write(folder / "change.sh", lines)


def missing(new: list[str], old: list[str]) -> list[str]:
    return [item for item in new if item not in old]


def add_elements(name: str, added: list[str]) -> Json:
    return {
        "add": {
            "element": {
                "family": "inet",
                "table": "warpd",
                "name": name,
                "elem": list(map(json.loads, added)),
            }
        }
    }


def read_script(state: State, folder: Path) -> Path:
    """A script that reads everything, namespace by namespace, each with the same commands."""
    inside = write(
        folder / "look.sh",
        [
            "set -e",
            "ip -j -d link",
            "ip -j addr",
            "ip -j route show table all",
            "wg show all dump",
            "nft -j list table inet warpd",
        ],
    )
    enter = [f"nsenter --net={NETNS / name} sh {inside}" for name in state if name != ROOT]
    return write(folder / "read.sh", ["set -e", f"sh {inside}", *enter])


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([*lines, ""]))
    return path


# ---- comparison ------------------------------------------------------------------------------


def differences(first: State, second: State) -> list[str]:
    """Where two states differ, one line each."""
    found = [f"namespace {name}: only once" for name in sorted(first.keys() ^ second.keys())]
    for name in sorted(first.keys() & second.keys()):
        a, b = first[name], second[name]
        for part in ("links", "wireguard", "sysctls"):
            left, right = getattr(a, part), getattr(b, part)
            changed = [
                key for key in sorted(left.keys() | right.keys()) if left.get(key) != right.get(key)
            ]
            found += [
                f"{name}: {part} {key}: {left.get(key)} / {right.get(key)}" for key in changed
            ]
        for part in ("addresses", "routes", "rules", "neighbours", "ports"):
            found += [
                f"{name}: {part}: {item}"
                for item in sorted(set(getattr(a, part)) ^ set(getattr(b, part)))
            ]
        if a.nft != b.nft:
            lines = set(a.nft.splitlines()) ^ set(b.nft.splitlines())
            found += [f"{name}: nft: {line.strip()}" for line in sorted(lines)] or [
                f"{name}: nft: order"
            ]
    return found


def sysctls_to_write(wanted: State, built: State) -> dict[str, dict[str, str]]:
    """The sysctls that a build without them left different, switches first and without what these
    bring along.
    """
    found = {
        name: changed_sysctls(room.sysctls, built[name].sysctls) for name, room in wanted.items()
    }
    return {name: values for name, values in found.items() if values}


def changed_sysctls(wanted: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    changed = {key: value for key, value in wanted.items() if now.get(key) != value}
    first = {key: changed[key] for key in SWITCHES if key in changed}
    brought = {
        key
        for switch, value in first.items()
        for key in changed
        if changed[key] == value and re.fullmatch(SWITCHES[switch], key)
    }
    return first | {key: value for key, value in changed.items() if key not in brought}
