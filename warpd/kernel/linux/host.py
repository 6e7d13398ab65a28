"""Read the facts of the host that the desired state depends on, and the host's own settings.

These come from the rows of the root namespace. Our own objects are read in `dump`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface

from warpd import naming
from warpd.kernel.kinds.ethernet import (
    IFLA_VXLAN_GROUP6,
    IFLA_VXLAN_LINK,
    IFLA_VXLAN_LOCAL6,
    IFLA_VXLAN_PORT,
    VXLAN_PORT,
)
from warpd.kernel.kinds.link import KERNEL_NAMES
from warpd.kernel.kinds.nft_table import NftTable
from warpd.kernel.kinds.route import is_default
from warpd.kernel.kinds.sysctl import (
    BRIDGE_NETFILTER,
    FORWARDING4,
    FORWARDING6,
    FORWARDING6_BY_OTHERS,
    FORWARDING6_BY_US,
    TAG_FENCE4,
    Sysctl,
    active_fences,
    is_on,
    setting_of,
)
from warpd.kernel.kinds.vrf import IFLA_VRF_TABLE
from warpd.kernel.linux import wireguard_go
from warpd.kernel.linux.cloud import cloud_address
from warpd.kernel.linux.local_routes import local_prefixes
from warpd.kernel.netlink import rtnl
from warpd.kernel.netlink.socket import NetlinkSocket
from warpd.kernel.rows import AddressRow, LinkRow, RouteRow, RuleRow
from warpd.kernel.state import (
    ROOT,
    DefaultRoute,
    DivertingRoute,
    EgressLink,
    ForeignRules,
    Host,
    KernelObject,
    RangeRoute,
)
from warpd.networks.firewall.root import GUARDED, fenced_by_rules, fences, mark_of

IFA_F_TEMPORARY, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = (
    0x01,
    0x08,
    0x20,
    0x40,
)  # linux/if_addr.h
PASSING = IFA_F_TEMPORARY | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE
SCOPE_GLOBAL = 0
SETTING_BYTES = 4096  # longer than any setting of a namespace
Within = Callable[[Sequence[str]], Mapping[str, set[int]]]


@dataclass(frozen=True, slots=True)
class RootLook:
    """The rows of the root namespace that the host facts are made of.

    - `links`, `addresses`: all links and addresses of the root.
    - `rules`: our routing rules in the root.
    - `table`: our table in the root, or None if it does not exist.
    - `tag`: the `tag` settings of our links, combined by OR (`kinds.sysctl`).
    - `foreign_rules`: foreign chains that our packets pass.
    """

    links: Sequence[LinkRow]
    addresses: Sequence[AddressRow]
    rules: Sequence[RuleRow]
    table: NftTable | None
    tag: int
    foreign_rules: ForeignRules


def read_setting(path: str) -> str | None:
    """Return a setting under /proc/sys of the current namespace, or None if it does not exist.

    This needs three system calls, since there may be many namespaces. Settings of a link come with
    the link (`LinkRow.setting`).
    """
    try:
        descriptor = os.open(f"/proc/sys/{path}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None  # the kernel has no IPv6, or no br_netfilter
    try:
        return os.read(descriptor, SETTING_BYTES).decode("ascii").strip()
    finally:
        os.close(descriptor)


def read_host(
    route: NetlinkSocket,
    look: RootLook,
    uplink: str,
    targets: Sequence[str],
    wireguard: bool,
    vrf: bool,
    within: Within,
) -> tuple[Host, list[KernelObject]]:
    """Return the facts of the host, and the host settings that warpd may have changed.

    Args:
        route: a netlink socket in the root.
        look: the rows of the root.
        uplink: the name of the link to the internet, or "auto" for the link of the default route.
        targets: prefixes that networks may reach.
        wireguard: whether the kernel has WireGuard.
        vrf: whether the kernel can make VRFs.
        within: returns, for each range, the links that have a route to a part of it. The answer
            may come from a previous observation.

    Raises:
        DumpError: a dump was inconsistent.
    """
    hops = rtnl.default_routes(route)
    row = _uplink(route, look.links, uplink, hops)
    range_routes = _range_routes(route, look, targets, within)
    uplinks = _uplinks(route, look, row, uplink)
    beside = _beside(route, row) if uplink != "auto" and row is not None else {}
    elsewhere = tuple(beside)
    steered = _steered(route, look, row, elsewhere)
    exits = _exits(look, row, {*uplinks[0], *uplinks[1]}, range_routes)
    four, six = read_setting(FORWARDING4), read_setting(FORWARDING6)
    standing = active_fences(*_remembered(look, row, exits), look.tag, four, six)
    host = Host(
        hostname=socket.gethostname(),
        uplink=row.name if row else "",
        uplink_mtu=row.mtu if row else _remembered_mtu(look),
        uplink_addresses=_addresses_of(look.addresses, row),
        uplink_down=_is_down(row),
        cloud_address=cloud_address(),
        wireguard_kernel=wireguard,
        wireguard_go=wireguard_go.available(),
        forwarding4=is_on(four),
        forwarding6=is_on(six),
        exits=exits,
        uplinks4=uplinks[0],
        uplinks6=uplinks[1],
        range_routes=range_routes,
        elsewhere=elsewhere,
        steered=tuple(hop.version for hop in steered),
        diverted=tuple(_diverted(look, beside)),
        astray=tuple(_astray(route, look, row)),
        ra_links=_ra_links(look, standing.all6),
        fence4=standing.links4,
        fence6=standing.all6,
        taken4=standing.taken4,
        taken6=standing.taken6,
        tagged4=bool(look.tag & TAG_FENCE4),
        foreign_rules=look.foreign_rules,
        passing_addresses=_passing(look.addresses, row),
        source_addresses=tuple(route.source for route in hops if route.source),
        hops=(*_hops(look, row, uplinks, hops), *steered),
        local=_local(route, look),
        bridge_netfilter=_bridge_netfilter(),
        vrf=vrf,
        foreign_vrfs=_foreign_vrfs(look),
        foreign_vxlans=_foreign_vxlans(look),
        conntrack_max=_conntrack_max(),
        onlink=_onlink(look, exits),
    )
    return host, _host_settings(host, {row.name: row for row in look.links})


def _is_down(uplink: LinkRow | None) -> bool:
    """Whether the uplink exists, but is down or has no carrier."""
    return uplink is not None and not (uplink.up and uplink.carrier)


def _local(route: NetlinkSocket, look: RootLook) -> tuple[str, ...]:
    """Return the prefixes that the host delivers locally, without those of our links."""
    ours = {row.index for row in look.links if _looks_ours(row)}
    return local_prefixes(route, look.addresses, ours)


def _bridge_netfilter() -> tuple[str, ...]:
    """Return the tables that br_netfilter calls for bridged frames; none without the module."""
    return tuple(
        name
        for name in BRIDGE_NETFILTER
        if read_setting(f"net/bridge/bridge-nf-call-{name}") is not None
    )


def _foreign_vrfs(look: RootLook) -> tuple[tuple[int, str], ...]:
    """Return the routing tables and names of foreign VRFs.

    The kernel allows several VRFs with the same table (drivers/net/vrf.c, `strict_mode` 0).
    """
    vrfs = (row for row in look.links if row.kind == "vrf" and not _looks_ours(row))
    return tuple(sorted((row.number(IFLA_VRF_TABLE), row.name) for row in vrfs))


def _foreign_vxlans(look: RootLook) -> tuple[str, ...]:
    """Return the foreign VXLAN devices that keep our legs from the UDP port that they share.

    Such a device is up (it opens its socket then), has an IPv4 socket, and is not bound to a VRF
    (vxlan_sock_add() in drivers/net/vxlan/vxlan_core.c).
    """
    vrfs = {row.index for row in look.links if row.kind == "vrf"}
    in_vrfs = {row.index for row in look.links if row.master in vrfs}
    return tuple(
        sorted(
            row.name
            for row in look.links
            if row.kind == "vxlan"
            and row.up
            and not _looks_ours(row)
            and row.network_number(IFLA_VXLAN_PORT) == VXLAN_PORT
            and row.data.keys().isdisjoint((IFLA_VXLAN_GROUP6, IFLA_VXLAN_LOCAL6))
            and row.number(IFLA_VXLAN_LINK) not in in_vrfs
        )
    )


def _onlink(look: RootLook, exits: Sequence[EgressLink]) -> tuple[str, ...]:
    """Return the subnets of the egress links. A prefix of a single address is not a subnet."""
    names = {link.name for link in exits}
    indexes = {row.index for row in look.links if row.name in names}
    rows = (row for row in look.addresses if row.index in indexes and row.scope == SCOPE_GLOBAL)
    found = {ip_interface(f"{row.address}/{row.prefixlen}").network for row in rows}
    return tuple(sorted(str(item) for item in found if item.prefixlen < item.max_prefixlen))


def _conntrack_max() -> int:
    """Return how many connections the conntrack table holds.

    If the module is not loaded yet, compute its default from the memory size as
    nf_conntrack_init_start() does (net/netfilter/nf_conntrack_core.c): one bucket of 8 bytes for
    each 16 KiB, with bounds.
    """
    setting = read_setting("net/netfilter/nf_conntrack_max")
    if setting is not None:
        return int(setting)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory > 4 << 30:
        return 262144
    return 65536 if memory > 1 << 30 else max(memory // 16384 // 8, 1024)


def _remembered(
    look: RootLook, uplink: LinkRow | None, exits: Sequence[EgressLink]
) -> tuple[tuple[str, ...], bool]:
    """Return our fences (IPv4 links, IPv6), from our table and from the tags of our links.

    Both are needed: a flushed ruleset loses the table and keeps the tags, and a removed link loses
    its tag and keeps the table. The tag says only that there is a fence. For which links, our
    routing rules (priority 985) say.
    """
    fence4, fence6 = _fences(look)
    if look.tag & TAG_FENCE4 and exits and (uplink is not None or not fence4):
        fence4 = (
            tuple(sorted({*fence4, exits[0].name}))
            if fence4
            else tuple(link.name for link in exits)
        )
    return fence4, fence6


def _fences(look: RootLook) -> tuple[tuple[str, ...], bool]:
    """Return the fences (IPv4 links, IPv6) of our table. Without it, the IPv4 links are those that
    our routing rules fence.

    A gateway of which no network leaves has no link with a tag, so none is asked for.
    """
    fence4, fence6 = fences(look.table)
    return fence4 or fenced_by_rules(look.rules), fence6


def _remembered_mtu(look: RootLook) -> int:
    """Return the MTU, in bytes, to use while there is no uplink.

    It is the MTU of our transit links, which they got from the uplink, or 1500 if there are none.
    """
    mtus = [
        row.mtu
        for row in look.links
        if row.name.startswith(naming.TRANSIT_OUTER_PREFIX)
        and row.alias.startswith(naming.ALIAS_PREFIX)
    ]
    return max(mtus, default=1500)


def _exits(
    look: RootLook, uplink: LinkRow | None, uplinks: set[str], range_routes: Sequence[RangeRoute]
) -> tuple[EgressLink, ...]:
    """Return the egress links: the uplink, then other links over which networks may leave.

    `lo` and our own links are never among them. While there is no uplink, the links for which warpd
    turned on forwarding before stay egress links, so that nothing changes with the uplink's state.
    """
    kept = _kept_forwarding(look, _of_others(look)) if uplink is None else {uplink.name}
    more = {name for one in range_routes for name in one.links} | uplinks
    first = [row for row in look.links if row.name in kept]
    rest = [row for row in _of_others(look) if row.name in more - kept]
    return tuple(_exit(row) for row in [*first, *sorted(rest, key=lambda row: row.name)])


def _of_others(look: RootLook) -> list[LinkRow]:
    return [row for row in look.links if row.name != "lo" and not _looks_ours(row)]


def _named(look: RootLook, indexes: Collection[int]) -> tuple[str, ...]:
    """Return the sorted names of the foreign links with these indexes."""
    return tuple(sorted(row.name for row in _of_others(look) if row.index in indexes))


def _uplinks(
    route: NetlinkSocket, look: RootLook, uplink: LinkRow | None, wanted: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the uplinks for IPv4 and for IPv6.

    This is the link that `uplink:` names for both, otherwise the links of the default route of each
    family. A multipath route has several links.
    """
    if wanted != "auto" or uplink is None:
        own = (uplink.name,) if uplink is not None else ()
        return own, own
    found = [rtnl.route_to(route, target) for target in rtnl.INTERNET]
    four, six = (_named(look, each.links) if each is not None else () for each in found)
    return four, six


def _hops(
    look: RootLook,
    uplink: LinkRow | None,
    uplinks: tuple[tuple[str, ...], tuple[str, ...]],
    found: Sequence[RouteRow],
) -> Iterator[DefaultRoute]:
    """Yield the default routes by the uplink.

    `uplink: auto` may mean another link for IPv6 than for IPv4: of a version without a default
    route by the first, those by the link that this version uses.
    """
    names = {row.index: row.name for row in look.links}
    first = () if uplink is None else (uplink.name,)
    for version, links in zip((4, 6), uplinks, strict=True):
        own = [way for way in found if (":" in way.prefix) == (version == 6)]
        for link in (*first, *links):
            ways = [way for way in own if names.get(way.index) == link]
            if ways:
                yield from (DefaultRoute(version, link, way.via) for way in ways)
                break


def _beside(route: NetlinkSocket, uplink: LinkRow) -> dict[int, rtnl.MatchedRoute]:
    """Return, by IP version, the route to the internet where it does not use the named uplink."""
    found = {
        version: rtnl.route_to(route, target)
        for version, target in zip((4, 6), rtnl.INTERNET, strict=True)
    }
    return {
        version: each
        for version, each in found.items()
        if each is not None and uplink.index not in each.links
    }


def _diverted(look: RootLook, beside: Mapping[int, rtnl.MatchedRoute]) -> Iterator[DivertingRoute]:
    """Yield those of these routes that steering does not pass over (`root.steering`)."""
    for version, each in beside.items():
        if is_default(each.prefix):
            continue
        for link in _named(look, {each.first}):
            yield DivertingRoute(version, each.prefix, link)


@dataclass(frozen=True, slots=True)
class ReplyPath:
    """How replies to the clients of one network leave the root: by this link, with this mark."""

    link: LinkRow
    address: AddressRow
    mark: int


def _reply_paths(look: RootLook) -> Iterator[ReplyPath]:
    """Yield the transit links, and the tunnels of networks in VRFs, that have an address."""
    links = {row.index: row for row in look.links if row.up and _looks_ours(row)}
    for address in look.addresses:
        row = links.get(address.index)
        if row is None or address.scope != SCOPE_GLOBAL:
            continue
        vrf = links.get(row.master)
        if row.name.startswith(naming.TRANSIT_OUTER_PREFIX):
            yield ReplyPath(row, address, GUARDED)
        elif vrf is not None and vrf.kind == "vrf":
            yield ReplyPath(row, address, mark_of(vrf.number(IFLA_VRF_TABLE)))


def _astray(
    route: NetlinkSocket, look: RootLook, uplink: LinkRow | None
) -> Iterator[DivertingRoute]:
    """Yield where routing rules of others lead replies to clients over another link.

    The kernel is asked about one network of each isolation mode and IP version, since such rules
    name no networks. The packet is one that comes in by the uplink, with our mark, to the other
    address of the lowest pair of the link's range.
    """
    if uplink is None:
        return
    paths = {
        (path.mark == GUARDED, ":" in path.address.address): path for path in _reply_paths(look)
    }
    for path in paths.values():
        range_ = ip_interface(f"{path.address.address}/{path.address.prefixlen}").network
        target = ip_address(int(ip_address(path.address.address)) ^ 1)
        source = rtnl.INTERNET[range_.version == 6]
        taken = rtnl.forwarded_by(route, str(target), source, uplink.index, path.mark)
        if taken is not None and taken != path.link.index:
            for name in _named(look, {taken}):
                yield DivertingRoute(range_.version, str(range_), name)


def _steered(
    route: NetlinkSocket, look: RootLook, uplink: LinkRow | None, elsewhere: Sequence[int]
) -> tuple[DefaultRoute, ...]:
    """Return default routes over the uplink, for IP versions whose default route uses another link.

    The next hop is that of the best default route over the uplink in any table. Without one, the
    route has no next hop.
    """
    if uplink is None:
        return ()
    own = {6 if ":" in address else 4 for address in _addresses_of(look.addresses, uplink)}
    versions = [version for version in elsewhere if version in own]
    return tuple(
        DefaultRoute(version, uplink.name, rtnl.default_over(route, uplink.index, version))
        for version in versions
    )


def _range_routes(
    route: NetlinkSocket, look: RootLook, targets: Sequence[str], within: Within
) -> tuple[RangeRoute, ...]:
    """Return how the host reaches each range and the parts of it."""
    whole = {
        target
        for target in targets
        if int(target.partition("/")[2]) < (128 if ":" in target else 32)
    }
    found = within(sorted(whole)) if whole else {}
    return tuple(_range_route(route, look, target, found.get(target, set())) for target in targets)


def _range_route(route: NetlinkSocket, look: RootLook, target: str, within: set[int]) -> RangeRoute:
    found = rtnl.route_to(route, target.partition("/")[0])
    if found is None:
        return RangeRoute(target, _named(look, within))
    by_default = is_default(found.prefix)
    links = within if by_default else within | found.links
    return RangeRoute(target, _named(look, links), "".join(_named(look, {found.first})), by_default)


def _kept_forwarding(look: RootLook, rows: Sequence[LinkRow]) -> set[str]:
    """Return the links for which warpd turned on forwarding while there was an uplink.

    They come from our table or our routing rules. If both were flushed, they are the links with
    forwarding on.
    """
    fence4, _fence6 = _fences(look)
    if fence4 or not look.tag & TAG_FENCE4 or is_on(read_setting(FORWARDING4)):
        return {row.name for row in rows if row.name in fence4}
    return {row.name for row in rows if is_on(row.setting(socket.AF_INET, "forwarding"))}


def _looks_ours(row: LinkRow) -> bool:
    return naming.is_link(row.name) or row.alias.startswith(naming.ALIAS_PREFIX)


def _exit(row: LinkRow) -> EgressLink:
    forwarding4 = is_on(row.setting(socket.AF_INET, "forwarding"))
    return EgressLink(row.name, forwarding4, _looks_ours(row))


def _ra_links(look: RootLook, fenced: bool) -> tuple[str, ...]:
    rows = [row for row in look.links if row.name not in KERNEL_NAMES and not _looks_ours(row)]
    enabled_values = {"1", "2"} if fenced else {"1"}
    return tuple(
        sorted(
            row.name for row in rows if row.setting(socket.AF_INET6, "accept_ra") in enabled_values
        )
    )


def _host_settings(host: Host, rows: Mapping[str, LinkRow]) -> list[KernelObject]:
    """Return the host settings that warpd may have changed.

    `restore` is set only for a setting that warpd changed according to our fences.
    """
    names = sorted({link.name for link in host.exits} | set(host.fence4))
    four, six = ("net/ipv4/conf/{}/forwarding", "1"), ("net/ipv6/conf/{}/accept_ra", "2")
    seen = [(name, *four, _was_off(host, name)) for name in names if name in rows]
    seen += [(name, *six, "1" if host.fence6 else None) for name in host.ra_links]
    wanted = [
        (shape.format(name), setting_of(rows[name], shape), ours, restore)
        for name, shape, ours, restore in seen
    ]
    wanted.append(
        (FORWARDING6, _forwarding6(host), FORWARDING6_BY_US, "0" if host.fence6 else None)
    )
    return [
        Sysctl(ROOT, path, value, restore=restore if value == ours else None)
        for path, value, ours, restore in wanted
        if value is not None
    ]


def _forwarding6(host: Host) -> str | None:
    """Return the setting, with every value that others wrote for "on" as FORWARDING6_BY_OTHERS."""
    value = read_setting(FORWARDING6)
    return FORWARDING6_BY_OTHERS if is_on(value) and not host.fence6 else value


def _was_off(host: Host, name: str) -> str | None:
    """ "0" when it was us who turned it on, and nobody has since turned on the whole host's
    (Docker, a router's config).
    """
    return "0" if name in host.fence4 and not host.forwarding4 else None


def _uplink(
    route: NetlinkSocket, links: Sequence[LinkRow], wanted: str, defaults: Sequence[RouteRow]
) -> LinkRow | None:
    """Return the link that `uplink:` names, by its name or another one of it (altname)."""
    if wanted != "auto":
        named = next((row for row in links if row.name == wanted), None)
        return named or rtnl.link_named(route, wanted)
    return next((row for row in links if defaults and row.index == defaults[0].index), None)


def _passing(rows: Sequence[AddressRow], link: LinkRow | None) -> tuple[str, ...]:
    """Return the temporary, deprecated, tentative and duplicate addresses of a link.

    For IPv4 the flag IFA_F_TEMPORARY has another meaning, secondary (linux/if_addr.h).
    """
    if link is None:
        return ()
    own = [row for row in rows if row.index == link.index]
    return tuple(
        row.address
        for row in own
        if row.flags & (PASSING if ":" in row.address else IFA_F_DEPRECATED)
    )


def _addresses_of(rows: Sequence[AddressRow], link: LinkRow | None) -> tuple[str, ...]:
    if link is None:
        return ()
    return tuple(
        row.address for row in rows if row.index == link.index and row.scope == SCOPE_GLOBAL
    )
