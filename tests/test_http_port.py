"""The HTTP port: what it serves, and what it endures."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from kms import http_port
from kms.http_port import CONNECTIONS, REQUEST_BYTES, HttpPort, Page, Request
from tests.http_client import BODY, SECONDS, answered, connected, get, is_served, page, status


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = HttpPort("127.0.0.1", 0, {"/metrics": page})
    yield server.port
    server.stop()


class TestWhatIsServed:
    def test_the_page(self, port: int) -> None:
        head, _, body = get(port).partition(b"\r\n\r\n")
        assert body == BODY
        lines = head.decode().split("\r\n")
        assert lines[0] == "HTTP/1.0 200 OK"
        headers = dict(line.split(": ", 1) for line in lines[1:])
        assert headers.pop("Date")
        assert headers == {
            "Server": "kms",
            "Content-Type": "text/plain",
            "Content-Length": str(len(BODY)),
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }

    def test_with_a_query(self, port: int) -> None:
        assert get(port, "/metrics?name[]=x").endswith(BODY)

    @pytest.mark.parametrize(
        "path", ["http://kms:9095/metrics", "HTTPS://x/metrics?a", "//metrics"]
    )
    def test_forms_of_the_path_that_clients_may_send(self, port: int, path: str) -> None:
        assert get(port, path).endswith(BODY)

    def test_paths_below_a_page_and_what_follows_them_as_they_were_sent(self) -> None:
        asked: list[Request] = []

        def folder(request: Request) -> Page:
            asked.append(request._replace(headers={}))
            return Page(b"x", {}, HTTPStatus.ACCEPTED)

        server = HttpPort("127.0.0.1", 0, {"/": page, "/ids/": folder, "/ids": page})
        try:
            for path in ("/ids/", "/ids/a%2Fb//c;d?q=%41&r#s", "/ids/..", "/ids/%"):
                assert status(get(server.port, path)) == 202
            assert is_served(server.port, "/")
            assert is_served(server.port, "/ids")
            assert status(get(server.port, "/idsx")) == 404
        finally:
            server.stop()
        assert [(it.rest, it.query) for it in asked] == [
            ("", ""),
            ("a%2Fb//c;d", "q=%41&r"),
            ("..", ""),
            ("%", ""),
        ]

    def test_head_is_the_same_without_the_body(self, port: int) -> None:
        answer = answered(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")
        assert status(answer) == 200
        assert f"Content-Length: {len(BODY)}\r\n".encode() in answer
        assert answer.endswith(b"\r\n\r\n")

    @pytest.mark.parametrize(
        "path",
        ["/", "/metrics/", "/Metrics", "/favicon.ico", "/../metrics", "//x", "//[", "*"],
    )
    def test_nothing_else(self, port: int, path: str) -> None:
        answer = get(port, path)
        assert status(answer) == 404
        assert answer.endswith(b"\r\n\r\n404 Not Found\n")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "X"])
    def test_no_other_method(self, port: int, method: str) -> None:
        answer = answered(port, f"{method} /metrics HTTP/1.1\r\n\r\n".encode())
        assert status(answer) == 405
        assert b"\r\nAllow: GET, HEAD\r\n" in answer

    def test_a_failure_of_ours_is_told_without_its_reason(
        self, port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = answered(port, b"GET /metrics HTTP/1.1\r\nX-Fail: 1\r\n\r\n")
        assert status(answer) == 500
        assert b"disk" not in answer
        assert "the disk is full" in caplog.text
        assert is_served(port)

    def test_a_bug_ends_one_connection(self, caplog: pytest.LogCaptureFixture) -> None:
        def bug(_: Request) -> Page:
            raise ZeroDivisionError

        server = HttpPort("127.0.0.1", 0, {"/bug": bug, "/metrics": page})
        try:
            assert get(server.port, "/bug") == b""
            assert "ZeroDivisionError" in caplog.text
            assert is_served(server.port)
        finally:
            server.stop()

    def test_the_address(self) -> None:
        server = HttpPort("127.0.0.2", 0, {"/metrics": page})
        try:
            with pytest.raises(ConnectionRefusedError):
                connected(server.port)
            with socket.create_connection(("127.0.0.2", server.port), SECONDS):
                pass
        finally:
            server.stop()

    def test_ipv6(self) -> None:
        try:
            server = HttpPort("::1", 0, {"/metrics": page})
        except OSError:
            pytest.skip("no IPv6 on this machine")
        try:
            with socket.create_connection(("::1", server.port), SECONDS):
                pass
        finally:
            server.stop()

    def test_stop_hangs_up(self) -> None:
        server = HttpPort("127.0.0.1", 0, {"/metrics": page})
        with connected(server.port) as connection:
            connection.sendall(b"GET /met")
            time.sleep(0)
            assert is_served(server.port)  # so it has been accepted
            server.stop()
            assert connection.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connected(server.port)


class TestWhatIsTooMuch:
    @pytest.mark.parametrize(
        ("request_", "code"),
        [
            (b"GET /" + b"a" * REQUEST_BYTES, 414),
            (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", 414),
            (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
            (b"GET /metrics HTTP/1.1\r\n" + b"X: 1\r\n" * 90 + b"Y: " + b"a" * 17_000, 431),
            (b"GET /metrics HTTP/1.1\r\n" + b"X: 1\r\n" * 200_000, 431),
        ],
    )
    def test_an_oversized_request(self, port: int, request_: bytes, code: int) -> None:
        answer = answered(port, request_)
        assert answer == b"" or status(answer) == code  # lost where more is sent than was drained
        assert is_served(port)

    def test_its_answer_arrives_if_it_is_not_too_absurd(self, port: int) -> None:
        assert status(answered(port, b"GET /" + b"a" * 2 * REQUEST_BYTES)) == 414

    def test_an_endless_request(self, port: int) -> None:
        sent = 0
        with connected(port) as connection, contextlib.suppress(ConnectionError):  # hung up on
            connection.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            while sent < 1_000_000_000:
                connection.sendall(b"a" * 65_536)
                sent += 65_536
        assert sent < 20_000_000
        assert is_served(port)

    def test_half_open_connections_keep_nobody_out(self, port: int) -> None:
        with contextlib.ExitStack() as exits:
            many = [exits.enter_context(connected(port)) for _ in range(5 * CONNECTIONS)]
            for connection in many[::2]:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"GET /metrics HTTP/1.1\r\nX:")
            for _ in range(20):
                assert is_served(port)
            threads = [it for it in threading.enumerate() if "process_request" in it.name]
            assert len(threads) <= CONNECTIONS + 5
            hung_up = 0
            for connection in many[: 2 * CONNECTIONS]:
                with contextlib.suppress(ConnectionError):
                    assert connection.recv(1) == b""
                hung_up += 1
            assert hung_up == 2 * CONNECTIONS
        assert is_served(port)

    @pytest.mark.parametrize("dripping", [True, False])
    def test_a_slow_request_is_given_up(
        self, monkeypatch: pytest.MonkeyPatch, dripping: bool
    ) -> None:
        """Also one that sends something now and then, which a timeout on reads would not notice."""
        monkeypatch.setattr(http_port, "REQUEST_SECONDS", 0.6)
        server = HttpPort("127.0.0.1", 0, {"/metrics": page})
        try:
            with connected(server.port) as connection:
                connection.settimeout(0.05)
                started = time.monotonic()
                ended = False
                while not ended and time.monotonic() - started < SECONDS:
                    try:
                        if dripping:
                            connection.sendall(b"a")
                        ended = connection.recv(1) == b""
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        ended = True
                assert ended
                assert 0.5 < time.monotonic() - started < 5.0
        finally:
            server.stop()

    def test_who_does_not_take_the_answer_is_given_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_port, "REQUEST_SECONDS", 0.6)
        ended = threading.Event()
        large = Page(b"x" * 50_000_000, {})
        server = HttpPort("127.0.0.1", 0, {"/metrics": lambda _: large})
        try:
            with connected(server.port) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                deadline = time.monotonic() + SECONDS
                while time.monotonic() < deadline and not ended.is_set():
                    names = [it.name for it in threading.enumerate()]
                    if not any("process_request" in name for name in names):
                        ended.set()
                    time.sleep(0.02)
                assert ended.is_set()
        finally:
            server.stop()
