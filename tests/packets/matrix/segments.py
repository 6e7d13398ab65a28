"""The model of the L2 networks: which frame of which endpoint comes out where.

Pure. A point-to-point wire has two ends, a mesh is one segment; a frame comes out with the tags
that it went in with.
"""

from __future__ import annotations

from .model import Net

UNTAGGED: tuple[int, ...] = ()
TAGS: tuple[tuple[int, ...], ...] = (
    UNTAGGED,
    (0,),
    (1,),
    (2,),
    (99,),
    (100,),
    (105,),
    (110,),
    (111,),
    (200,),
    (4094,),
    (99, 105),
    (105, 99),
    (0, 99),
    (100, 99),
    (105, 105),
    (0, 0, 99),
    (100, 100, 99),
)


def passes(net: Net, vlans: tuple[int, ...]) -> bool | None:
    """Whether a frame with these tags, outermost first, passes; None: the contract leaves it
    open.
    """
    if net.vlans is None:
        return None if vlans == (0,) else True
    if len(vlans) > 1:
        # no network permits a tag behind a tag: a bridge would judge, and take off, the first alone
        return False
    if net.type == "l2-mesh":
        # The access VLAN: what comes untagged is in it. Whether a frame may also name it is left
        # open.
        if vlans in (UNTAGGED, (0,)):
            return True if vlans == UNTAGGED else None
        return None if vlans[0] == 100 else False
    return bool(vlans) and vlans[0] in net.vlans
