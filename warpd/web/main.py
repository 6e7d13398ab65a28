"""The entry point of `warpd-web`."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import socket
import sys
from typing import Any, Final

import uvicorn

from warpd.web.app import make_application
from warpd.web.options import WebOptions, parse_options
from warpd.web.rendering import read_templates

CONNECTIONS_MAX: Final = 64
HEADERS_MAX: Final = 16 * 1024
IDLE_S: Final = 10


def main() -> None:
    """Serve until SIGTERM."""
    options = parse_options(sys.argv[1:])
    server = uvicorn.Server(configuration(options))
    read_templates()
    give_back()
    if options.descriptor is None:
        server.run()
    else:
        server.run(sockets=[socket.socket(fileno=options.descriptor)])


def give_back() -> None:
    """Return what reading the templates took; later collections do not walk over what stays."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def configuration(options: WebOptions) -> uvicorn.Config:
    """How uvicorn serves: no log of its own, no belief in headers of proxies, bounds."""
    where: dict[str, Any] = {"host": options.host, "port": options.port}
    if options.certificate is not None:
        where |= {"ssl_certfile": options.certificate, "ssl_keyfile": options.key}
    return uvicorn.Config(
        make_application(options.socket, options.origins, write_access),
        **where,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEADERS_MAX,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=2,
    )


def write_access(method: str, route: str, status: int, seconds: float) -> None:
    """A line of JSON on stderr: the route's pattern, never what was filled in, and no query."""
    line = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
    print(json.dumps(line), file=sys.stderr)


if __name__ == "__main__":
    main()
