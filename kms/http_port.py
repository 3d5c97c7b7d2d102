"""The HTTP port: a few pages, for GET and HEAD, and changes, whatever it is sent.

On Python's own HTTP server, which is not made for strangers: what is added here are limits, for
the number of connections, and for the time and the size of a request.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple, TypeVar

from kms.errors import KmsError
from kms.http_limits import CONNECTIONS as CONNECTIONS
from kms.http_limits import REQUEST_BYTES as REQUEST_BYTES
from kms.http_limits import BodyError, Connections, LimitedFile, body_length

REQUEST_SECONDS = 10.0

_METHODS = ("GET", "HEAD")
_ORIGIN = re.compile(r"https?://[^/?#]*(?=/)", re.IGNORECASE)
_WATCH_SECONDS = 0.5
_DRAIN_SECONDS = 2.0
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Request(NamedTuple):
    """What is asked for: ``rest`` is the path behind the page's own, as it was sent: encoded.

    The names of ``headers`` are written Like-This.
    """

    headers: Mapping[str, str]
    rest: str = ""
    query: str = ""
    body: bytes = b""


class Page(NamedTuple):
    """What is answered: the body, and the headers that describe it, without its length."""

    body: bytes
    headers: Mapping[str, str]
    status: HTTPStatus = HTTPStatus.OK


class Change(NamedTuple):
    """Something to be done by another method than GET, and what is answered.

    ``refused`` looks at the request before its body is read: what it answers is the answer.
    ``unread`` answers where the body can't be read.
    """

    refused: Callable[[Request], Page | None]
    unread: Callable[[BodyError], Page]
    make: Callable[[Request], Page]


Pages = Mapping[str, Callable[[Request], Page]]
Changes = Mapping[str, Mapping[str, Change]]  # by method, POST or DELETE, and path
NO_CHANGES: Changes = {}


class HttpPort:
    """Serves ``pages``, by path, and ``changes``, until ``stop``; each is made of the request.

    One whose path ends with a slash, but for / itself, has all paths below it. ``port`` is the
    one it really listens on. Raises OSError if it can't listen.
    """

    def __init__(
        self, address: str, port: int, pages: Pages, changes: Changes = NO_CHANGES
    ) -> None:
        (family, _, _, _, where), *_ = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self._server = _Server(family, where, pages, changes)
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


class _Server(socketserver.ThreadingTCPServer):
    """A thread for each connection, of which there are ``CONNECTIONS`` at most."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * CONNECTIONS

    def __init__(self, family: int, where: Any, pages: Pages, changes: Changes) -> None:
        self.address_family = family
        self.pages = pages
        self.changes = changes
        self.connections = Connections()
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
        self.rfile: Any = LimitedFile(self.rfile)

    def handle(self) -> None:
        try:
            super().handle()
        except http.client.LineTooLong:
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.command not in (*_METHODS, *self.server.changes):
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)
            return False
        return True

    def do_GET(self) -> None:
        make, request = self._asked_for(self.server.pages)
        if make is None:
            self.send_error(self._none_here())
        else:
            self._respond(make, request)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        change, request = self._asked_for(self.server.changes[self.command])
        if change is None:
            self.send_error(self._none_here())
            return
        refusal = change.refused(request)
        if refusal is not None:
            self._answer(refusal)
            self._drain()
            return
        try:
            # Still as one that asks: it may be hung up on.
            body = self.rfile.body(body_length(self.headers)) if self.command == "POST" else b""
        except BodyError as error:
            self._answer(change.unread(error))
            self._drain()
            return
        self._respond(change.make, request._replace(body=body))
        if self.command != "POST" and self.headers.get("Content-Length", "0") != "0":
            self._drain()

    do_DELETE = do_POST  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """The status alone; the texts would hold what was sent."""
        del message, explain
        status = HTTPStatus(code)
        headers = {"Allow": self._allowed()} if code == HTTPStatus.METHOD_NOT_ALLOWED else {}
        self._answer(Page(f"{code} {status.phrase}\n".encode(), _TEXT | headers, status))
        self._drain()

    def version_string(self) -> str:
        return "kms"

    def log_message(self, *_: Any) -> None:
        """Nothing: whoever can connect could fill the log."""

    def _respond(self, make: Callable[[Request], Page], request: Request) -> None:
        self.server.connections.asked(self.connection)
        try:
            page = make(request)
        except KmsError as error:
            _log.warning("Can't answer an HTTP request: %s", error)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        self._answer(page)

    def _none_here(self) -> HTTPStatus:
        paths = (self.server.pages, *self.server.changes.values())
        if any(self._asked_for(each)[0] is not None for each in paths):
            return HTTPStatus.METHOD_NOT_ALLOWED
        return HTTPStatus.NOT_FOUND

    def _allowed(self) -> str:
        changes = self.server.changes
        if not changes:
            return ", ".join(_METHODS)
        found = [*_METHODS] if self._asked_for(self.server.pages)[0] is not None else []
        found += [it for it in changes if self._asked_for(changes[it])[0] is not None]
        return ", ".join(found or _METHODS)

    def _asked_for(self, paths: Mapping[str, T]) -> tuple[T | None, Request]:
        request = Request({name.title(): value for name, value in self.headers.items()})
        whole = _ORIGIN.sub("", self.path)  # which some clients send along
        # Not by urlsplit, which takes out of a path what is no part of one in its view.
        path, _, query = whole.partition("#")[0].partition("?")
        for own, found in paths.items():
            if path == own:
                return found, request._replace(query=query)
            if own != "/" and own.endswith("/") and path.startswith(own):
                rest = path.removeprefix(own)
                return found, request._replace(rest=rest, query=query)
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
