"""The entry point of the service."""

from __future__ import annotations

import sys

from warpd.daemon.optional_packages import hidden
from warpd.service.standard_streams import open_standard_streams


def main() -> None:
    """Load what `warpd` needs, and serve."""
    open_standard_streams()
    # structlog loads rich where it is installed, to print tracebacks in colour (structlog.dev): 3.8
    # of the 60 MiB that an idle service may take, for one that logs lines of JSON or logfmt.
    # asyncio loads ssl where it is installed, 1.0 MiB, for a unix socket without TLS. hashlib and
    # hmac load a second OpenSSL beside that of cryptography, 3.4 MiB, for hashes that Python has.
    with hidden("rich", "ssl", "greenlet", "_hashlib"):
        import hashlib  # noqa: F401  # first, so that the others find them loaded
        import hmac  # noqa: F401  # as above

        import structlog  # noqa: F401  # as above, with asyncio

    from warpd.daemon.options import parse
    from warpd.daemon.serve import serve

    sys.exit(serve(parse(sys.argv[1:])))


if __name__ == "__main__":
    main()
