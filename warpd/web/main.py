"""The entry point of `warpd-web`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import json
import socket
import ssl
import sys
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from warpd.web.app import make_application
from warpd.web.connections import BoundedConnection, Bounds, ConnectionLimiter, counted
from warpd.web.options import WebOptions, parse_options
from warpd.web.rendering import read_templates

HEADERS_MAX: Final = 16 * 1024
TRIMMED_S: Final = 5.0  # after a connection has ended


def main() -> None:
    """Serve until SIGTERM."""
    options = parse_options(sys.argv[1:])
    server = uvicorn.Server(configuration(options))
    read_templates()
    trim_heap()
    gc.freeze()  # later collections do not walk over what stays
    if options.descriptor is None:
        server.run()
    else:
        server.run(sockets=[socket.socket(fileno=options.descriptor)])


def trim_heap() -> None:
    """Give back what was freed: without this, glibc keeps it for ever (malloc_trim(3))."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class LaterTrim:
    """Trims the heap a while after connections have ended, once for all that end meanwhile."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> None:
        """A connection has ended. For the event loop."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TRIMMED_S, self._trim)

    def _trim(self) -> None:
        self._timer = None
        trim_heap()


def configuration(options: WebOptions) -> uvicorn.Config:
    """How uvicorn serves: no log of its own, no belief in headers of proxies, bounds."""
    application = counted(make_application(options.socket, options.origins, write_access))
    bounds = Bounds()
    made_with = ConnectionLimiter(bounds, LaterTrim()), encryption(options), H11Protocol
    protocol: Any = functools.partial(BoundedConnection, *made_with)
    return uvicorn.Config(
        application,
        host=options.host,
        port=options.port,
        http=protocol,  # it is called with what H11Protocol is made with
        ws="none",
        loop="asyncio",
        lifespan="off",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=HEADERS_MAX,
        timeout_keep_alive=int(bounds.request_s),
        timeout_graceful_shutdown=2,
    )


def encryption(options: WebOptions) -> ssl.SSLContext | None:
    """TLS by the certificate of the options; None for plain HTTP.

    Raises:
        OSError: the files cannot be read, or do not fit.
    """
    if options.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(options.certificate, options.key)
    return context


def write_access(method: str, route: str, status: int, seconds: float) -> None:
    """A line of JSON on stderr: the route's pattern, never what was filled in, and no query."""
    line = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
    print(json.dumps(line), file=sys.stderr)


if __name__ == "__main__":
    main()
