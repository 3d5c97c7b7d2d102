"""What the HTTP port allows: so many connections, and so much of a request."""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
import threading
import time
from email.message import Message
from http import HTTPStatus

from kms.errors import KmsError

CONNECTIONS = 64
REQUEST_BYTES = 16_384
BODY_BYTES = 2_000_000  # a value of a megabyte, the brokers' default limit, in base64 and JSON

_LENGTH = re.compile(r"[0-9]{1,15}")


class BodyError(KmsError):
    """A request's body that is not read; ``status`` says why, and the text what would do."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


def body_length(headers: Message) -> int:
    """How long the body is by its headers; BodyError if they don't say, or it is too long."""
    lengths = headers.get_all("Content-Length", [])
    if headers.get("Transfer-Encoding") is not None or not lengths:
        raise BodyError(
            HTTPStatus.LENGTH_REQUIRED, "Send the body in one piece, with its Content-Length."
        )
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BodyError(
            HTTPStatus.BAD_REQUEST, "Send one Content-Length, the number of the body's bytes."
        )
    if int(lengths[0]) > BODY_BYTES:
        raise BodyError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body may have {BODY_BYTES} bytes at most."
        )
    return int(lengths[0])


class Connections:
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
                hang_up_on(oldest)
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
                    hang_up_on(connection)


def hang_up_on(connection: socket.socket) -> None:
    # Its thread sees the end of the request, and closes it.
    with contextlib.suppress(OSError):  # it is gone already
        connection.shutdown(socket.SHUT_RDWR)


class LimitedFile:
    """A request as far as it is read: not more than so many bytes, and what its body has."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._left = REQUEST_BYTES

    def readline(self, size: int) -> bytes:
        line = self._file.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise http.client.LineTooLong("a request")
        return line

    def body(self, length: int) -> bytes:
        """All of the body; BodyError if the request ends before."""
        found = self._file.read(length)
        if len(found) < length:
            raise BodyError(
                HTTPStatus.BAD_REQUEST,
                f"The body has {len(found)} bytes, and its Content-Length says {length}.",
            )
        return found

    def close(self) -> None:
        self._file.close()
