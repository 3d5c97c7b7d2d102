"""The HTTP port answers whatever it is sent; scripts/fuzz sends it much more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.http_port import CONNECTIONS, HttpPort
from tests.http_client import answered, is_served, page, status


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = HttpPort("127.0.0.1", 0, {"/metrics": page})
    yield server.port
    server.stop()


WORDS = st.sampled_from(
    [
        *(b"GET", b"HEAD", b"POST", b"/metrics", b"/", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9"),
        *(
            b"HTTP/2.0",
            b"HTTP/9999999999.1",
            b"PRI * HTTP/2.0",
            b"http://[",
            b"%00",
            b"\0",
            b"\xff",
        ),
        *(b" ", b"\r\n", b"\n", b"\r", b":", b"\t", b"Host: x", b"Content-Length: -1"),
        *(b"Content-Length: 99999", b"Transfer-Encoding: chunked", b"Expect: 100-continue"),
        *(
            b"Accept: application/openmetrics-text",
            b"Accept-Encoding: gzip",
            b"Connection: keep-alive",
        ),
        *(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"a" * 9_000, b"X: 1\r\n" * 101),
    ]
)
REQUESTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(WORDS, st.binary(max_size=8)), max_size=12).map(b"".join),
    st.lists(st.one_of(WORDS, st.binary(max_size=8)), max_size=8).map(
        lambda parts: b"GET /metrics HTTP/1.1\r\n" + b"".join(parts)
    ),
    st.tuples(WORDS, WORDS, WORDS).map(lambda parts: b" ".join(parts) + b"\r\n\r\n"),
)


@hypothesis.settings(max_examples=max(300, hypothesis.settings().max_examples))
@given(REQUESTS)
def test_whatever_is_sent_is_answered_in_its_own_way(port: int, request_: bytes) -> None:
    """With a status of ours, or with an end; afterwards it serves as before."""
    answer = answered(port, request_)
    if answer:
        assert status(answer) in (200, 400, 404, 405, 414, 431, 505)
        head, found, body = answer.partition(b"\r\n\r\n")
        assert found
        assert b"Server: kms\r\n" in head
        (length,) = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        assert len(body) in (int(length.split()[1]), 0)
    assert is_served(port)
    threads = [it for it in threading.enumerate() if "process_request" in it.name]
    assert len(threads) < CONNECTIONS
