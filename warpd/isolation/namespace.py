"""Isolation by namespace: a network namespace per network, a veth pair to the root for what may leave.

The inside NATs onto the transit link, the root NATs onto the uplink: so two networks may use the same
addresses, and the root never needs a route to either. With `nat: false` the inside keeps its source and the
root has one route back.

Forwarding in the root: IPv4 decides by the incoming link (`forwarding` of the veth, and of the uplink for the
answers); IPv6 only knows the global switch. Where it was off and we turn it on, a *fence* in our table drops
everything on that path that is not ours, so that the host does not become a router for others. The fence, and
a tag on each door, are also the memory that it was us: in the kernel, where the loss of a state folder or a
flushed ruleset cannot reach both.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from warpd.isolation.room import Room, Site, Wants
from warpd.objects.address import Address
from warpd.objects.link import LinkUp, Veth, alias, link_key
from warpd.objects.netns import Netns, netns_name
from warpd.objects.nft import NftElements
from warpd.objects.route import TABLE_MAIN, Route, default_metric, route_key
from warpd.objects.sysctl import TAG_FENCE4, TAG_FENCE6, TAG_SET, Sysctl
from warpd.state import ROOT, Key, Object

TRANSIT6 = int(IPv6Address("fd77:6172:7064::"))


def room(site: Site) -> Room:
    netns = netns_name(site.vcid)
    tunnel, outer = f"wg-{site.vcid}", f"dn-{site.vcid}"
    return Room(netns, tunnel, f"up-{site.vcid}", link_key(netns, tunnel), link_key(ROOT, outer))


def transit6(address: IPv4Address) -> IPv6Address:
    """The IPv6 end that stands beside an IPv4 end of a transit link: the same 32 bits under a fixed prefix."""
    return IPv6Address(TRANSIT6 + int(address))


def objects(site: Site, wants: Wants) -> list[Object]:
    """The namespace, its settings, and the way out when one is wanted."""
    place = room(site)
    out: list[Object] = [Netns(place.netns), LinkUp(place.netns, "lo", None), *_settings(site, place, wants)]
    return [*out, *_way_out(site, place, wants)] if wants.egress else out


def _settings(site: Site, place: Room, wants: Wants) -> list[Object]:
    inside = Key(Netns.KIND, ROOT, place.netns)
    four = "net/ipv4/conf"
    values: list[tuple[str, str, Key]] = [
        (f"{four}/all/send_redirects", "0", inside),
        (f"{four}/{place.tunnel}/send_redirects", "0", place.link),
        (f"{four}/{place.tunnel}/forwarding", "1", place.link),
        (f"{four}/{place.tunnel}/rp_filter", "1", place.link),
    ]
    if site.subnet6 is None:
        values.append(("net/ipv6/conf/all/disable_ipv6", "1", inside))
    else:
        values.append(("net/ipv6/conf/all/disable_ipv6", "0", inside))
        values.append(("net/ipv6/conf/all/forwarding", "1", inside))
        values.append((f"net/ipv6/conf/{place.tunnel}/disable_ipv6", "0", place.link))
    if wants.egress:
        values.append((f"{four}/{place.exit}/forwarding", "1", place.exit_link))
        if site.subnet6 is not None:
            values += _six_link(place.exit, place.exit_link)
    return [Sysctl(place.netns, path, value, holder) for path, value, holder in values]


def _six_link(device: str, link: Key) -> list[tuple[str, str, Key]]:
    """IPv6 on; no router is believed on our own link, and its addresses are used at once."""
    names = ("disable_ipv6", "accept_ra", "accept_dad")
    return [(f"net/ipv6/conf/{device}/{name}", "0", link) for name in names]


def _way_out(site: Site, place: Room, wants: Wants) -> list[Object]:
    mtu = max(site.host.uplink_mtu, 1280)
    mark = alias(site.vcid, site.name)
    outer = place.exit_link.name
    near, far = site.transit[0], site.transit[1]  # the root's end, the network's end
    out: list[Object] = [
        Veth(outer, place.netns, place.exit, mark, mark, mtu, mtu),
        LinkUp(ROOT, outer, place.exit_link),
        LinkUp(place.netns, place.exit, place.exit_link),
        NftElements(ROOT, "doors", frozenset({outer}), outer),
        NftElements(ROOT, "links", frozenset({outer}), outer),
        *_outer_settings(site, place),
        *_link_pair(place, str(near), str(far), f"{site.transit}", 32),
        _via(place, place.netns, "0.0.0.0/0", str(near), str(site.transit)),
    ]
    if not wants.nat4:
        out.append(_via(place, ROOT, str(site.subnet), str(far), str(site.transit)))
    if site.subnet6 is not None:
        out += _way_out6(site, place, wants, str(transit6(near)), str(transit6(far)))
    return out


def _way_out6(site: Site, place: Room, wants: Wants, near: str, far: str) -> list[Object]:
    network = f"{near}/127"
    out = [*_link_pair(place, near, far, network, 128), _via(place, place.netns, "::/0", near, network)]
    if not wants.nat6:
        out.append(_via(place, ROOT, str(site.subnet6), far, network))
    return out


def _via(place: Room, netns: str, prefix: str, hop: str, network: str) -> Route:
    """A route across the transit link, which needs the route to that link's other end first."""
    device = place.exit_link.name if netns == ROOT else place.exit
    reach = route_key(netns, TABLE_MAIN, network, default_metric(network))
    return Route(netns, prefix, device, place.exit_link, hop, metric=default_metric(prefix), reach=reach)


def _link_pair(place: Room, near: str, far: str, network: str, bits: int) -> list[Object]:
    """Both ends' addresses, and on each side the one route to the other."""
    link, outer = place.exit_link, place.exit_link.name
    length = bits - 1
    metric = default_metric(network)
    return [
        Address(ROOT, outer, f"{near}/{length}", link),
        Address(place.netns, place.exit, f"{far}/{length}", link),
        Route(ROOT, network, outer, link, metric=metric),
        Route(place.netns, network, place.exit, link, metric=metric),
    ]


def _outer_settings(site: Site, place: Room) -> list[Object]:
    outer, host = place.exit_link.name, site.host
    tag = TAG_SET + (TAG_FENCE4 if host.uplink in host.fence4 else 0) + (TAG_FENCE6 if host.fence6 else 0)
    values = [
        (f"net/ipv4/conf/{outer}/tag", str(tag), place.exit_link),
        (f"net/ipv4/conf/{outer}/forwarding", "1", place.exit_link),
        (f"net/ipv4/conf/{outer}/rp_filter", "1", place.exit_link),
    ]
    if site.subnet6 is None:
        values.append((f"net/ipv6/conf/{outer}/disable_ipv6", "1", place.exit_link))
    else:
        values += _six_link(outer, place.exit_link)
    return [Sysctl(ROOT, path, value, holder, owner=place.netns) for path, value, holder in values]
