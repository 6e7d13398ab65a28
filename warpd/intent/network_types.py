"""The table of network types: one row with all properties of a type that other modules need.

`networks/types` has one file for each type, which says what passes in its networks. To add a type,
add such a file and its line in `TYPES`, a row here, a form of the dashboard (`web/wizards.json`)
and tests; no other module decides by the name of a type. docs/how-to/add-network-type.md has each
step.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

Reach = Literal["everything", "resources", "sites", "gateway"]
LegTunnel = Literal["gretap", "vxlan"]

_ETHERNET: Final = frozenset({"vlan_id", "vlan_range", "bridge_name", "vni_pool"})

# Bytes inside the tunnel that a full frame takes in a VXLAN: payload, Ethernet header, VLAN tag,
# VXLAN, UDP and IPv4 headers. A VXLAN whose underlay carries less answers for the far end that the
# frame is too large (skb_tunnel_check_pmtu of a bridge port), instead of carrying it in fragments.
_VXLAN_MTU: Final = 1500 + 14 + 4 + 8 + 8 + 20


@dataclass(frozen=True, slots=True)
class TypeTraits:
    """One type of network.

    - `name`: the value of `type` in the YAML.
    - `pool`: where subnets come from, unless `gateway.pools.subnets` says otherwise.
    - `expected_users`: endpoints that an automatic subnet is sized for when the YAML gives no
      number.
    - `reach`: what a client sends into its tunnel: everything; the listed resources; the subnet and
      what lies behind other endpoints (sites); or no more than the gateway's own address.
    - `fields`: fields of a network that have a meaning in few types; in others they are an error.
    - `options`: the same, but in others they do nothing and cause a warning.
    - `egress`: whether traffic leaves by the host's links.
    - `leg`: the tunnel of an endpoint's leg in a network that carries Ethernet; None for one that
      carries IP.
    - `endpoints_max`: how many endpoints there may be; None for no bound of the type's own.
    - `min_mtu`: bytes of packet that the tunnel must carry whatever the uplink carries; 0 for no
      bound of the type's own.
    """

    name: str
    pool: IPv4Network
    expected_users: int
    reach: Reach
    fields: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    egress: bool = False
    leg: LegTunnel | None = None
    endpoints_max: int | None = None
    min_mtu: int = 0

    @property
    def internet(self) -> bool:
        """Whether its clients send to the internet."""
        return self.reach == "everything"

    @property
    def lists_resources(self) -> bool:
        """Whether its clients reach what `resources` lists, and nothing else."""
        return self.reach == "resources"

    @property
    def ethernet(self) -> bool:
        """Whether it carries Ethernet frames."""
        return self.leg is not None


ROWS: Final[tuple[TypeTraits, ...]] = (
    TypeTraits(
        "secure-internet",
        IPv4Network("10.100.0.0/16"),
        expected_users=1,
        reach="everything",
        fields=frozenset({"peer_communication", "protocols"}),
        options=frozenset({"nat", "nat6", "allow_private"}),
        egress=True,
    ),
    TypeTraits(
        "remote-resource-gateway",
        IPv4Network("10.200.0.0/16"),
        expected_users=254,
        reach="resources",
        fields=frozenset({"resources", "protocols"}),
        options=frozenset({"nat", "nat6"}),
        egress=True,
    ),
    TypeTraits("l3vpn-gateway", IPv4Network("10.50.0.0/16"), expected_users=254, reach="sites"),
    TypeTraits(
        "l2-point-to-point",
        IPv4Network("10.60.0.0/16"),
        expected_users=2,
        reach="gateway",
        fields=_ETHERNET,
        leg="gretap",
        endpoints_max=2,
    ),
    TypeTraits(
        "l2-mesh",
        IPv4Network("10.70.0.0/16"),
        expected_users=254,
        reach="gateway",
        fields=_ETHERNET,
        leg="vxlan",
        min_mtu=_VXLAN_MTU,
    ),
)
NETWORK_TYPES: Final = tuple(row.name for row in ROWS)

# What pydantic takes for `type`; a type checker cannot read it off the rows.
if TYPE_CHECKING:
    NetworkType: TypeAlias = str
else:
    NetworkType = Literal[NETWORK_TYPES]

_BY_NAME: Final[dict[str, TypeTraits]] = {row.name: row for row in ROWS}


def traits(name: str) -> TypeTraits:
    """Return the row of a type.

    Raises:
        KeyError: there is no type of that name; the intent knows no other names than those of the
        rows.
    """
    return _BY_NAME[name]


def types_with_field(field: str) -> tuple[str, ...]:
    """Return the types in whose rows a field of a network stands; () for a field of all types."""
    return tuple(row.name for row in ROWS if field in row.fields or field in row.options)
