"""A kernel setting of a namespace or of a link.

Ours inside our namespaces and on our links, where it dies with them. On the host's own uplink we
set one only with a fence beside it in our nft table (see `networks/isolation/namespace.py`): then
`restore` is what it was.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6
from typing import ClassVar

from warpd import naming
from warpd.kernel.existence import ExistenceRules
from warpd.kernel.kinds.link import maker_of, owner_of
from warpd.kernel.kinds.netns import namespace_keys
from warpd.kernel.rows import LinkRow, NamespaceRows, Reading
from warpd.kernel.state import ROOT, KernelObject, Key, Phase

# `tag` is a number that the kernel keeps for a link and does nothing with
# (Documentation/networking/ip-sysctl). On our transit links and VRFs it remembers that it was warpd
# that turned the host's forwarding on, which a flushed ruleset forgets.
TAG_SET, TAG_FENCE4, TAG_FENCE6 = 4, 1, 2

# IPv6 forwards on a host where this is not 0 (net/ipv6/ip6_output.c, ip6_forward() and
# net/ipv6/addrconf.c, addrconf_fixup_forwarding()), and the kernel keeps the number. Everybody else
# writes 1, so that 2 says that it was warpd.
FORWARDING4 = "net/ipv4/ip_forward"
FORWARDING6 = "net/ipv6/conf/all/forwarding"
FORWARDING6_BY_US, FORWARDING6_BY_OTHERS = "2", "1"


def is_on(value: str | None) -> bool:
    """Whether a value of a `forwarding` setting forwards; None is a kernel without the setting."""
    return value is not None and value != "0"


@dataclass(frozen=True, slots=True)
class Fences:
    """Where forwarding was off until warpd turned it on, and what of that others have taken over.

    `links4` and `all6` are fenced: `destroy` turns them off again. `taken4` and `taken6` were
    turned on by others later: no longer fenced, and left on.
    """

    links4: tuple[str, ...] = ()
    all6: bool = False
    taken4: bool = False
    taken6: bool = False


def active_fences(
    links4: tuple[str, ...], fenced6: bool, tag: int, value4: str | None, value6: str | None
) -> Fences:
    """Judge what the kernel remembers of our fences by what forwards now.

    `links4` and `fenced6` are what is remembered; `tag` is that of our transit links and
    VRFs; `value4` and `value6` are the settings of the whole host.
    """
    known4, known6 = bool(links4 or tag & TAG_FENCE4), fenced6 or bool(tag & TAG_FENCE6)
    others4 = is_on(value4)
    others6 = is_on(value6) and value6 != FORWARDING6_BY_US
    return Fences(
        links4=() if others4 else links4,
        all6=value6 == FORWARDING6_BY_US or (known6 and not others6),
        taken4=known4 and others4,
        taken6=known6 and others6,
    )


_QUIET = (
    "net/ipv4/conf/{}/forwarding",
    "net/ipv4/conf/{}/arp_ignore",
    "net/ipv4/conf/{}/rp_filter",
    "net/ipv6/conf/{}/disable_ipv6",
)
_PORT = (
    "net/ipv4/conf/{}/forwarding",
    "net/ipv4/conf/{}/rp_filter",
    "net/ipv4/conf/{}/src_valid_mark",
    "net/ipv6/conf/{}/disable_ipv6",
)
BRIDGE_NETFILTER = ("arptables", "ip6tables", "iptables")
# What is read back, by the role of the link that it belongs to ("{}" is its name); "" is the
# namespace itself.
WATCHED: Mapping[str, tuple[str, ...]] = {
    "": (
        "net/ipv4/conf/all/send_redirects",
        "net/ipv6/conf/all/disable_ipv6",
        FORWARDING6,
        *(f"net/bridge/bridge-nf-call-{name}" for name in BRIDGE_NETFILTER),
    ),
    "vrf": ("net/ipv4/conf/{}/tag", *_PORT),
    "vrf-port": _PORT,
    "bridge": _QUIET,
    "gretap": _QUIET,
    "vxlan": _QUIET,
    "wg": (
        "net/ipv4/conf/{}/send_redirects",
        "net/ipv4/conf/{}/forwarding",
        "net/ipv4/conf/{}/rp_filter",
        "net/ipv4/conf/{}/src_valid_mark",
        "net/ipv6/conf/{}/disable_ipv6",
    ),
    "up": (
        "net/ipv4/conf/{}/forwarding",
        "net/ipv4/conf/{}/src_valid_mark",
        "net/ipv6/conf/{}/disable_ipv6",
        "net/ipv6/conf/{}/accept_ra",
        "net/ipv6/conf/{}/accept_dad",
    ),
    "dn": (
        "net/ipv4/conf/{}/tag",
        "net/ipv4/conf/{}/forwarding",
        "net/ipv4/conf/{}/rp_filter",
        "net/ipv4/conf/{}/src_valid_mark",
        "net/ipv6/conf/{}/disable_ipv6",
        "net/ipv6/conf/{}/accept_ra",
        "net/ipv6/conf/{}/accept_dad",
    ),
}


@dataclass(frozen=True, slots=True)
class Sysctl(KernelObject):
    """One kernel setting.

    - `path`: below /proc/sys, with slashes.
    - `holder`: the link or namespace that it belongs to; None for the host's own.
    - `restore`: of a setting of the host, the value to put back.
    - `after`: settings that must be made first.

    Ours: it is of a link or namespace of ours, and goes with that. One of the host's own is ours to
    undo where our fence rules or the tag of our links say that it was warpd that changed it.
    """

    KIND: ClassVar[str] = "sysctl"
    CHANGEABLE: ClassVar[frozenset[str]] = frozenset({"value"})

    netns: str
    path: str
    value: str
    holder: Key | None = field(default=None, compare=False)
    owner: str = field(default="", compare=False)
    restore: str | None = field(default=None, compare=False)
    after: tuple[Key, ...] = field(default=(), compare=False)

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.netns, self.path)

    @property
    def phase(self) -> Phase:
        return Phase.SETTING

    @property
    def needs(self) -> tuple[Key, ...]:
        return (*((self.holder,) if self.holder else ()), *self.after)

    @property
    def container(self) -> Key | None:
        return self.holder

    @property
    def group(self) -> str:
        return self.netns if self.netns != ROOT else self.owner

    @property
    def removable(self) -> bool:
        """Only where it is known what the setting was before: then it was warpd that changed it."""
        return self.restore is not None


def read(rows: NamespaceRows) -> Iterator[Reading]:
    """The watched settings of a namespace of ours and of our links.

    The host's own settings are read with the other facts about the host (`linux.host`).
    """
    namespace = next(iter(namespace_keys(rows.netns)), None)
    for path, value in rows.settings.items():
        yield Reading(Sysctl(rows.netns, path, value, namespace))
    for row in rows.own:
        owner = owner_of(rows.netns, row) if rows.netns == ROOT else ""
        maker = maker_of(rows.netns, row.name)
        for shape in WATCHED.get(_role(rows.netns, row), ()):
            value_of_link = setting_of(row, shape)
            if value_of_link is not None:
                path = shape.format(row.name)
                yield Reading(Sysctl(rows.netns, path, value_of_link, maker, owner))


def setting_of(row: LinkRow, shape: str) -> str | None:
    """A setting of a link, by its path below /proc/sys with "{}" for the link's name."""
    _, family, _, _, name = shape.split("/")
    return row.setting(AF_INET if family == "ipv4" else AF_INET6, name)


def _role(netns: str, row: LinkRow) -> str:
    """The entry of `WATCHED` with the settings of a link of ours."""
    if row.name.startswith(naming.TUNNEL_PREFIX):
        return "vrf-port" if netns == ROOT else "wg"
    return row.name.partition("-")[0] if row.kind == "veth" else row.kind


class SysctlRules(ExistenceRules[Sysctl]):
    """A setting is a file that is there with its link or namespace.

    The kernel announces only some settings (RTM_NEWNETCONF).
    """

    taken = 0
    announced = False
    missing = errno.ENOENT

    def is_permanent(self, item: Sysctl) -> bool:
        return item.restore is None

    def prerequisites(self, item: Sysctl) -> Collection[Key]:
        return () if item.holder is None else (item.holder,)

    def host_setting(self, item: Sysctl, removed: bool) -> tuple[str, str] | None:
        value = item.restore if removed else item.value
        return (item.path, value) if item.holder is None and value is not None else None
