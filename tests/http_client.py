"""An HTTP port with one page, and a client that sends it bytes as they are."""

from __future__ import annotations

import contextlib
import socket

from kms.errors import CacheError
from kms.http_port import Page, Request

BODY = b"the figures\n"
SECONDS = 10.0


def page(request: Request) -> Page:
    if "X-Fail" in request.headers:
        raise CacheError("the disk is full")
    return Page(BODY, {"Content-Type": "text/plain"})


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), SECONDS)


def answered(port: int, request: bytes, *, half_close: bool = True) -> bytes:
    """All that comes back; the connection has to end by itself."""
    with connected(port) as connection:
        received = b""
        with contextlib.suppress(ConnectionError):  # closed with something unread
            connection.sendall(request)
            if half_close:
                with contextlib.suppress(OSError):  # closed already
                    connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        return received


def get(port: int, path: str = "/metrics") -> bytes:
    return answered(port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), half_close=False)


def status(answer: bytes) -> int:
    version, code, _ = answer.split(b" ", 2)
    assert version == b"HTTP/1.0"
    return int(code)


def is_served(port: int, path: str = "/metrics") -> bool:
    answer = get(port, path)
    return status(answer) == 200 and answer.endswith(b"\r\n\r\n" + BODY)
