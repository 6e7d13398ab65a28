"""The types of single values in the YAML: addresses, networks, ranges, keys, names, dates.

Each type has a parser, which takes the value of the YAML or one that is parsed already and refuses
what is wrong by itself, and the pattern by which the JSON Schema describes it. `model` says which
field has which type.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Annotated, Any, Final, Literal, cast

from pydantic import (
    PlainSerializer,
    PlainValidator,
    StrictStr,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

NAME_PATTERN: Final = "^[a-z0-9][a-z0-9-]{0,62}$"
VCID_MAX: Final = 99_999_999  # eight digits: `gt-<vcid>-<n>` has to fit the kernel's 15 characters
VNI_MAX: Final = 2**24 - 1
VLAN_MAX: Final = 4094
TABLE_MAX: Final = 2**32 - 1

_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?\Z"
)
_LINK_NAME = re.compile(r"[^\s/:%\x00-\x1f\x7f]+\Z")
LINK_NAME_BYTES: Final = 15  # IFNAMSIZ of linux/if.h, without the zero at the end
ALTNAME_BYTES: Final = 127  # ALTIFNAMSIZ there: of a link's other names
# The name of a link that warpd makes also stands in nftables sets, paths and commands, so it
# contains no character with a meaning there.
_PLAIN_LINK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,14}\Z")
_RANGE = re.compile(r"([0-9]{1,10})(?:\s*-\s*([0-9]{1,10}))?\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_NUMERIC_HOST = re.compile(r"[0-9.]+\Z")
_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")
# No transport helper (`ext::`), no option, no blank; a host and a path, or a whole path.
_GIT_URL: Final = re.compile(
    r"^((https?|ssh|git|file)://[^\s-][^\s]{0,500}"
    r"|[0-9A-Za-z._][0-9A-Za-z._-]{0,63}@[0-9A-Za-z][0-9A-Za-z._-]{0,252}:[^\s:-][^\s]{0,500}|/[^\s]{1,500})\Z"
)
_PASSWORD: Final = re.compile(r"^[a-z]+://[^/@\s]*:[^/@\s]*@")
_GIT_REF: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/-]{0,199}\Z")
_FOLDER: Final = re.compile(r"[0-9A-Za-z._][0-9A-Za-z._/ -]{0,199}\Z")
INTERVAL_MIN_S: Final = 5
_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION_MAX_S: Final = 3650 * 86400


def _wrong(code: str, message: str, hint: str = "") -> PydanticCustomError:
    """Return an error for pydantic with a message and a hint.

    The message is passed as a value: a `{` in a template of pydantic would open a placeholder.
    """
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint})


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers from `first` to `last`, both included."""

    first: int
    last: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"

    def overlaps(self, other: Range) -> bool:
        return self.first <= other.last and other.first <= self.last


# What a value of a family is called in messages.
_FAMILY: Final[dict[type | None, str]] = {
    None: "an IP",
    IPv4Address: "an IPv4",
    IPv4Network: "an IPv4",
    IPv6Address: "an IPv6",
    IPv6Network: "an IPv6",
}


def _shown(value: object) -> str:
    """Return a value as messages quote it, in 60 characters at most."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _address(family: type[IPv4Address] | type[IPv6Address] | None) -> Callable[[Any], IPAddress]:
    kind = _FAMILY[family]
    wanted: Any = family or (IPv4Address, IPv6Address)

    def parse(value: Any) -> IPAddress:
        if isinstance(value, wanted):
            return cast(IPAddress, value)
        hint = "an address stands alone, without a prefix length" if "/" in str(value) else ""
        try:
            if isinstance(value, str) and "%" not in value:
                found = ip_address(value)
                if isinstance(found, wanted):
                    return cast(IPAddress, found)
        except ValueError:
            pass
        raise _wrong("address", f"{_shown(value)} is not {kind} address", hint)

    return parse


def _network(family: type[IPv4Network] | type[IPv6Network] | None) -> Callable[[Any], IPNetwork]:
    kind = _FAMILY[family]
    wanted: Any = family or (IPv4Network, IPv6Network)

    def parse(value: Any) -> IPNetwork:
        if isinstance(value, wanted):
            return cast(IPNetwork, value)
        found = _loose_network(value)
        if not isinstance(found, wanted):
            raise _wrong(
                "network", f"{_shown(value)} is not {kind} network", "write ADDRESS/LENGTH"
            )
        # The kernel would mask such an AllowedIP without a message.
        if ip_address(value.partition("/")[0]) != found.network_address:
            raise _wrong("host-bits", f"{value} has host bits set", f"write {found}")
        return cast(IPNetwork, found)

    return parse


def _loose_network(value: object) -> IPNetwork | None:
    """Parse a network that may have host bits set; None for what is not `ADDRESS/LENGTH`."""
    if not isinstance(value, str) or "%" in value or not value.rpartition("/")[2].isdigit():
        return None
    try:
        return ip_network(value, strict=False)
    except ValueError:
        return None


def _range(low: int, high: int, what: str) -> Callable[[Any], Range]:
    def parse(value: Any) -> Range:
        found = _loose_range(value)
        if found is None:
            raise _wrong(
                "range",
                f"{_shown(value)} is not a range of {what}",
                f"write FIRST-LAST, as {low}-{high}",
            )
        if found.first > found.last:
            raise _wrong("range", f"{found} runs backwards", f"write {found.last}-{found.first}")
        if found.first < low or found.last > high:
            raise _wrong("range", f"{found} leaves the {what} from {low} to {high}")
        return found

    return parse


def _loose_range(value: object) -> Range | None:
    if isinstance(value, Range):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Range(value, value)
    match = _RANGE.match(value) if isinstance(value, str) else None
    return Range(int(match[1]), int(match[2] or match[1])) if match else None


def _tables(value: Any) -> Range:
    found = _range(1, TABLE_MAX, "routing tables")(value)
    if found.overlaps(Range(253, 255)):
        raise _wrong(
            "range", f"{found} takes in the kernel's own tables 253 to 255", "leave those out"
        )
    return found


def _text(
    test: Callable[[str], bool], code: str, what: str, hint: str = ""
) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if isinstance(value, str) and test(value):
            return value
        quote = f'a string in YAML is quoted: "{value}"' if isinstance(value, int | float) else hint
        raise _wrong(code, f"{_shown(value)} is not {what}", quote)

    return parse


def is_host(text: str) -> bool:
    """Whether a text is a host name, or an address without brackets and port."""
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return bool(_HOST_NAME.match(text)) and not _NUMERIC_HOST.match(text)


def is_host_port(text: str) -> bool:
    """Whether a text is `host:port`, `v4:port` or `[v6]:port`."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        return False
    if host.startswith("["):
        return host.endswith("]") and ":" in host and is_host(host[1:-1])
    return ":" not in host and is_host(host)


def is_link_name(text: str) -> bool:
    """Whether the kernel accepts a text as a link's name."""
    return _is_link_name(text, LINK_NAME_BYTES)


def names_link_of_host(text: str) -> bool:
    """Whether a text may be the name of a link that is there, or one of its other names."""
    return _is_link_name(text, ALTNAME_BYTES)


def _is_link_name(text: str, most: int) -> bool:
    """Whether the kernel accepts a text of at most so many bytes as a name.

    Source: dev_valid_name in net/core/dev.c, which reads the bytes as Latin-1. `all` and `default`
    are refused too: they are folders of /proc/sys/net/ipv4/conf.
    """
    raw = text.encode("utf-8", "surrogatepass")
    fits = len(raw) <= most and b"\xa0" not in raw
    return fits and bool(_LINK_NAME.match(text)) and text not in (".", "..", "all", "default")


def is_plain_link_name(text: str) -> bool:
    """Whether a text is a link's name without a character that nft, a shell or a path treats
    specially.
    """
    return is_link_name(text) and bool(_PLAIN_LINK_NAME.match(text))


def _is_absolute(text: str) -> bool:
    return text.startswith("/") and "\0" not in text and not text.endswith("/")


def _key(value: Any) -> str:
    try:
        raw = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    # The message does not show the value, since it may be a private key.
    if len(raw) != 32 or base64.b64encode(raw).decode() != value:
        raise _wrong(
            "public-key",
            "is not a WireGuard public key",
            "44 characters of base64: what `wg pubkey` prints",
        )
    if not any(raw):
        raise _wrong("public-key", "is the all-zero key, which means 'none' to WireGuard")
    return str(value)


def _date(value: Any) -> date:
    if isinstance(value, date):
        return value
    try:
        if isinstance(value, str) and _DATE.match(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise _wrong("date", f"{_shown(value)} is not a date", "write YEAR-MONTH-DAY, as 2030-12-31")


def _duration(value: Any) -> str:
    text = "0s" if value in ("0", 0) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _DURATION.match(text):
        raise _wrong(
            "duration",
            f"{_shown(value)} is not a length of time",
            "write a number and s, m, h or d, as 24h",
        )
    if seconds_of(text) > DURATION_MAX_S:
        raise _wrong("duration", f"{text} is longer than ten years")
    return text


def seconds_of(duration: str) -> int:
    """Return the seconds of a `Duration` or `Interval`, such as 24h."""
    return int(duration[:-1]) * _UNIT_S[duration[-1]]


def _interval(value: Any) -> str:
    text = _duration(value)
    if seconds_of(text) < INTERVAL_MIN_S:
        raise _wrong(
            "duration",
            f"{text} is too short",
            f"at least {INTERVAL_MIN_S}s: others use that server too",
        )
    return text


def _git_url(value: Any) -> str:
    """Parse the URL of a repository.

    Refused are git's transport helpers, of which `ext::` runs any command, what looks like an
    option, and a URL with a password.
    """
    if not isinstance(value, str) or not _GIT_URL.match(value):
        raise _wrong(
            "git-url",
            "is not the URL of a git repository",
            "https://…, ssh://…, git@host:path or /a/whole/path",
        )
    if _PASSWORD.search(value):
        hint = "use an ssh deploy key or a credential helper of git"
        raise _wrong(
            "git-password",
            "contains a password, which every process list on this machine would show",
            hint,
        )
    return value


def _is_git_ref(text: str) -> bool:
    return (
        bool(_GIT_REF.match(text))
        and ".." not in text
        and "//" not in text
        and not text.endswith(("/", ".", ".lock"))
    )


def _is_folder(text: str) -> bool:
    return bool(_FOLDER.match(text)) and not {"", ".."} & set(text.split("/"))


def _ip_protocol(value: Any) -> int:
    """Parse the name or number of an IP protocol without ports; return its IANA number."""
    number = IP_PROTOCOLS.get(value, value) if isinstance(value, str) else value
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) <= 3:
        raise _wrong("ip-protocol", f"{_shown(value)} is a string", f"write {int(number)}")
    if type(number) is not int or not 0 <= number <= IP_PROTOCOL_MAX:
        known = ", ".join(IP_PROTOCOLS)
        raise _wrong(
            "ip-protocol",
            f"{_shown(value)} is not an IP protocol",
            f"a number from 2 to 254, or one of {known}",
        )
    if number in ALWAYS_PERMITTED:
        raise _wrong(
            "ip-protocol",
            f"{_shown(value)} needs no line",
            "TCP, UDP and ICMP echo are never a matter of this list",
        )
    if number in NOT_PROTOCOLS:
        raise _wrong(
            "ip-protocol",
            f"{_shown(value)} is no protocol of its own",
            "IPv6 extension headers are skipped over",
        )
    return int(number)


def _version(value: Any) -> Literal[1]:
    if type(value) is not int or value != 1:
        raise _wrong("version", f"version {_shown(value)} is not known", "write version: 1")
    return 1


# Assigned Internet Protocol Numbers (IANA): those that people route beside TCP, UDP and ICMP, by
# the names of /etc/protocols.
IP_PROTOCOLS: Final[dict[str, int]] = {
    "igmp": 2,
    "ipip": 4,
    "dccp": 33,
    "ipv6": 41,
    "rsvp": 46,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "eigrp": 88,
    "ospf": 89,
    "etherip": 97,
    "pim": 103,
    "vrrp": 112,
    "l2tp": 115,
    "sctp": 132,
    "udplite": 136,
}
IP_PROTOCOL_MAX: Final = 254  # 255 is reserved
ALWAYS_PERMITTED: Final = frozenset({1, 6, 17, 58})
# Hop-by-hop options, routing, fragment and destination options: nftables' `meta l4proto` skips
# these headers.
NOT_PROTOCOLS: Final = frozenset({0, 43, 44, 60})
_AS_TEXT = PlainSerializer(str, return_type=str, when_used="json")
_SCHEMA4: Final[dict[str, Any]] = {"type": "string", "format": "ipv4"}
_SCHEMA6: Final[dict[str, Any]] = {"type": "string", "format": "ipv6"}
_CIDR4: Final = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/([0-9]|[12][0-9]|3[0-2])$"
_CIDR6: Final = r"^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])$"
_RANGE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "pattern": "^[0-9]{1,10}( *- *[0-9]{1,10})?$"},
        {"type": "integer", "minimum": 0},
    ]
}


def _texts(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


Address4 = Annotated[
    IPv4Address, PlainValidator(_address(IPv4Address)), _AS_TEXT, WithJsonSchema(_SCHEMA4)
]
Address6 = Annotated[
    IPv6Address, PlainValidator(_address(IPv6Address)), _AS_TEXT, WithJsonSchema(_SCHEMA6)
]
Address = Annotated[
    IPAddress,
    PlainValidator(_address(None)),
    _AS_TEXT,
    WithJsonSchema({"anyOf": [_SCHEMA4, _SCHEMA6]}),
]
Network4 = Annotated[
    IPv4Network, PlainValidator(_network(IPv4Network)), _AS_TEXT, WithJsonSchema(_texts(_CIDR4))
]
Network6 = Annotated[
    IPv6Network, PlainValidator(_network(IPv6Network)), _AS_TEXT, WithJsonSchema(_texts(_CIDR6))
]
AnyNetwork = Annotated[
    IPNetwork,
    PlainValidator(_network(None)),
    _AS_TEXT,
    WithJsonSchema({"anyOf": [_texts(_CIDR4), _texts(_CIDR6)]}),
]
Ports = Annotated[
    Range, PlainValidator(_range(1, 65535, "ports")), _AS_TEXT, WithJsonSchema(_RANGE_SCHEMA)
]
Vcids = Annotated[
    Range, PlainValidator(_range(1, VCID_MAX, "VCIDs")), _AS_TEXT, WithJsonSchema(_RANGE_SCHEMA)
]
Tables = Annotated[Range, PlainValidator(_tables), _AS_TEXT, WithJsonSchema(_RANGE_SCHEMA)]
Vlans = Annotated[
    Range, PlainValidator(_range(1, VLAN_MAX, "VLAN ids")), _AS_TEXT, WithJsonSchema(_RANGE_SCHEMA)
]
Vnis = Annotated[
    Range, PlainValidator(_range(1, VNI_MAX, "VNIs")), _AS_TEXT, WithJsonSchema(_RANGE_SCHEMA)
]
IpProtocol = Annotated[
    int,
    PlainValidator(_ip_protocol),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(IP_PROTOCOLS)},
                {"type": "integer", "minimum": 2, "maximum": IP_PROTOCOL_MAX},
            ]
        }
    ),
]
Host = Annotated[
    str,
    PlainValidator(
        _text(
            is_host,
            "host",
            "a host name or an address",
            "no port and no brackets: the port is the network's",
        )
    ),
    WithJsonSchema(_texts(r"^[0-9A-Za-z.:-]{1,253}$")),
]
HostPort = Annotated[
    str,
    PlainValidator(
        _text(is_host_port, "host-port", "HOST:PORT", 'write "host:51820" or "[2001:db8::1]:51820"')
    ),
    WithJsonSchema(_texts(r"^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]{1,253}):[0-9]{1,5}$")),
]
HostLinkName = Annotated[
    str,
    PlainValidator(
        _text(
            names_link_of_host,
            "link-name",
            "a name for an interface",
            f"1 to {ALTNAME_BYTES} bytes, no space, / or :",
        )
    ),
    WithJsonSchema(_texts(rf"^[^\s/:%]{{1,{ALTNAME_BYTES}}}$")),
]
BridgeName = Annotated[
    str,
    PlainValidator(
        _text(
            is_plain_link_name,
            "link-name",
            "a name for a bridge",
            "1 to 15 letters, digits, or _ . + -, as br-lan",
        )
    ),
    WithJsonSchema(_texts(r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,14}$")),
]
FilePath = Annotated[
    str,
    PlainValidator(_text(_is_absolute, "file-path", "a whole path", "begin it with /")),
    WithJsonSchema(_texts("^/.+$")),
]
PublicKey = Annotated[
    str, PlainValidator(_key), WithJsonSchema(_texts("^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"))
]
Day = Annotated[
    date, PlainValidator(_date), _AS_TEXT, WithJsonSchema({"type": "string", "format": "date"})
]
Duration = Annotated[
    str,
    PlainValidator(_duration),
    WithJsonSchema({"anyOf": [_texts("^([0-9]{1,9}[smhd]|0)$"), {"const": 0}]}),
]
Interval = Annotated[str, PlainValidator(_interval), WithJsonSchema(_texts("^[0-9]{1,9}[smhd]$"))]
GitUrl = Annotated[
    str, PlainValidator(_git_url), WithJsonSchema(_texts(_GIT_URL.pattern.replace("\\Z", "$")))
]
GitRef = Annotated[
    str,
    PlainValidator(
        _text(
            _is_git_ref, "git-ref", "a branch, a tag or a commit", "as main, v1.2 or a whole SHA-1"
        )
    ),
    WithJsonSchema(_texts("^[0-9A-Za-z][0-9A-Za-z._/-]{0,199}$")),
]
Folder = Annotated[
    str,
    PlainValidator(
        _text(_is_folder, "folder", "a folder inside the repository", "as sites/fra1; . is its top")
    ),
    WithJsonSchema(_texts("^[0-9A-Za-z._][0-9A-Za-z._/ -]{0,199}$")),
]
Version = Annotated[Literal[1], PlainValidator(_version), WithJsonSchema({"const": 1})]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[StrictStr, StringConstraints(max_length=1000)]


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which laptop-2 comes before laptop-10."""
    parts = re.findall(r"\d+|\D+", name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)
