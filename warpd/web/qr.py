"""A config as a QR code in a page."""

from __future__ import annotations

from typing import Final

SCALE: Final = 6  # pixels per module
QUIET_ZONE: Final = 4  # modules around the code (ISO/IEC 18004)


def as_picture(config: str) -> str:
    """The address of a picture, so that nothing in it can act in the page; "" for a config that is
    too long for a code.
    """
    import segno  # only when a code is drawn: it takes 2.5 MiB

    try:
        code = segno.make_qr(config, error="l", mode="byte", encoding="utf-8")
    except segno.DataOverflowError:
        return ""
    return str(code.png_data_uri(scale=SCALE, border=QUIET_ZONE, light="white"))
