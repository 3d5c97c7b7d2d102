"""The HTTP port: a few pages, for GET and HEAD, whatever it is sent.

On Python's own HTTP server, which is not made for strangers: what is added here are limits, for
the number of connections, and for the time and the size of a request.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from kms.errors import KmsError

CONNECTIONS = 64
REQUEST_BYTES = 16_384
REQUEST_SECONDS = 10.0

_METHODS = ("GET", "HEAD")
_ORIGIN = re.compile(r"https?://[^/?#]*(?=/)", re.IGNORECASE)
_WATCH_SECONDS = 0.5
_DRAIN_SECONDS = 0.5
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}

_log = logging.getLogger(__name__)


class Request(NamedTuple):
    """What is asked for: ``rest`` is the path behind the page's own, as it was sent: encoded.

    The names of ``headers`` are written Like-This.
    """

    headers: Mapping[str, str]
    rest: str = ""
    query: str = ""


class Page(NamedTuple):
    """What is answered: the body, and the headers that describe it, without its length."""

    body: bytes
    headers: Mapping[str, str]
    status: HTTPStatus = HTTPStatus.OK


Pages = Mapping[str, Callable[[Request], Page]]


class HttpPort:
    """Serves ``pages``, by path, until ``stop``; each is made of the request.

    One whose path ends with a slash, but for / itself, has all paths below it. ``port`` is the
    one it really listens on. Raises OSError if it can't listen.
    """

    def __init__(self, address: str, port: int, pages: Pages) -> None:
        (family, _, _, _, where), *_ = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self._server = _Server(family, where, pages)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_WATCH_SECONDS,), name="http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and hang up on everybody."""
        self._server.shutdown()
        self._server.server_close()
        self._server.connections.hang_up(0.0)
        self._thread.join()


class _Connections:
    """The open connections, oldest first, and which of them still owe their request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: dict[socket.socket, float] = {}
        self._answered: dict[socket.socket, float] = {}

    def add(self, connection: socket.socket) -> bool:
        """Make room by hanging up on who has been asking longest; False if there is none."""
        with self._lock:
            if len(self._asking) + len(self._answered) >= CONNECTIONS:
                if not self._asking:
                    return False
                oldest = next(iter(self._asking))
                del self._asking[oldest]
                _hang_up(oldest)
            self._asking[connection] = time.monotonic()
            return True

    def asked(self, connection: socket.socket) -> None:
        """Its request is there: it stays until it has its answer."""
        with self._lock:
            if self._asking.pop(connection, None) is not None:
                self._answered[connection] = time.monotonic()

    def remove(self, connection: socket.socket) -> None:
        """It is about to be closed."""
        with self._lock:
            self._asking.pop(connection, None)
            self._answered.pop(connection, None)

    def hang_up(self, seconds: float) -> None:
        """Hang up on those that have taken so long to ask, or to take the answer."""
        latest = time.monotonic() - seconds
        with self._lock:
            for connection, since in [*self._asking.items(), *self._answered.items()]:
                if since <= latest:
                    _hang_up(connection)


def _hang_up(connection: socket.socket) -> None:
    # Its thread sees the end of the request, and closes it.
    with contextlib.suppress(OSError):  # it is gone already
        connection.shutdown(socket.SHUT_RDWR)


class _Server(socketserver.ThreadingTCPServer):
    """A thread for each connection, of which there are ``CONNECTIONS`` at most."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * CONNECTIONS

    def __init__(self, family: int, where: Any, pages: Pages) -> None:
        self.address_family = family
        self.pages = pages
        self.connections = _Connections()
        super().__init__(where, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        return self.connections.add(request)

    def service_actions(self) -> None:
        self.connections.hang_up(REQUEST_SECONDS)

    def shutdown_request(self, request: Any) -> None:
        self.connections.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        if isinstance(sys.exc_info()[1], OSError):
            _log.debug("An HTTP connection broke.", exc_info=True)
        else:
            _log.exception("An HTTP request failed: this is a bug.")


class _Handler(BaseHTTPRequestHandler):
    """One request; the connection ends with its answer."""

    server: _Server
    timeout = REQUEST_SECONDS
    requestline = request_version = command = ""

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Limited(self.rfile)

    def handle(self) -> None:
        try:
            super().handle()
        except http.client.LineTooLong:
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command not in _METHODS:
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
            return False
        return True

    def do_GET(self) -> None:
        make, request = self._asked_for()
        if make is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.server.connections.asked(self.connection)
        try:
            page = make(request)
        except KmsError as error:
            _log.warning("Can't answer an HTTP request: %s", error)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self._answer(page)

    do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The status alone; the texts would hold what was sent."""
        del message, explain
        status = HTTPStatus(code)
        headers = {"Allow": ", ".join(_METHODS)} if code == HTTPStatus.METHOD_NOT_ALLOWED else {}
        self._answer(Page(f"{code} {status.phrase}\n".encode(), _TEXT | headers, status))
        self._drain()

    def version_string(self) -> str:
        return "kms"

    def log_message(self, *_: Any) -> None:
        """Nothing: whoever can connect could fill the log."""

    def _asked_for(self) -> tuple[Callable[[Request], Page] | None, Request]:
        request = Request({name.title(): value for name, value in self.headers.items()})
        whole = _ORIGIN.sub("", self.path)  # which some clients send along
        # Not by urlsplit, which takes out of a path what is no part of one in its view.
        path, _, query = whole.partition("#")[0].partition("?")
        for own in self.server.pages:
            if path == own:
                return self.server.pages[own], request._replace(query=query)
            if own != "/" and own.endswith("/") and path.startswith(own):
                rest = path.removeprefix(own)
                return self.server.pages[own], request._replace(rest=rest, query=query)
        return None, request

    def _answer(self, page: Page) -> None:
        self.request_version = "HTTP/1.0"  # of what claims to be older, it would drop all headers
        self.send_response(page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def _drain(self) -> None:
        """Closed with something unread, the connection would take the answer with it."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_DRAIN_SECONDS)
            for _ in range(CONNECTIONS):
                if not self.connection.recv(REQUEST_BYTES):
                    return


class _Limited:
    """A request as far as it is read: not more than so many bytes."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._left = REQUEST_BYTES

    def readline(self, size: int) -> bytes:
        line = self._file.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise http.client.LineTooLong("a request")
        return line

    def close(self) -> None:
        self._file.close()
