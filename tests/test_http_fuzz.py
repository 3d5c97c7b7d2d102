"""The HTTP port answers whatever it is sent; scripts/fuzz sends it much more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from kms.http_port import CONNECTIONS
from kms.schedule import Schedule
from tests.http_client import answered, is_served, status
from tests.web.hostile import HOSTILE
from tests.web.site import served


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    token = SecretStr("no-request-has-this-one")
    with served(tmp_path_factory.mktemp("cache"), kms_http_token=token) as site:
        site.assign()
        for index, text in enumerate(HOSTILE):
            schedule = Schedule(index, text, b"k", text.encode())
            site.put(text.encode(), schedule, failed=("refused", text) if index % 2 else None)
        yield site.server.port


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
PARTS = st.sampled_from(
    [
        *(b"?", b"&", b"=", b"%", b"%00", b"%2F", b"%ff", b"+", b"#", b"/", b"..", b"http://x/"),
        *(b"limit=", b"target=", b"topic=", b"prefix=", b"after=", b"before=", b"failed=true"),
        *(b"cursor=", b"1_2_3", b"9223372036854775807_9_9", b"2030-01-01T00:00:00Z", b"2h"),
        *(b"-1", b"1000", b"99999999999999999999", b"<script>", b"a" * 9_000),
    ]
)
REQUESTS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(WORDS, st.binary(max_size=8)), max_size=12).map(b"".join),
    st.lists(st.one_of(WORDS, st.binary(max_size=8)), max_size=8).map(
        lambda parts: b"GET /metrics HTTP/1.1\r\n" + b"".join(parts)
    ),
    st.tuples(WORDS, WORDS, WORDS).map(lambda parts: b" ".join(parts) + b"\r\n\r\n"),
    # Paths and queries that get as far as the pages.
    st.tuples(
        st.sampled_from([b"GET", b"HEAD", b"POST", b"DELETE"]),
        st.sampled_from([b"/", b"/info", b"/schedules", b"/schedules/", b"/health/live"]),
        st.lists(st.one_of(PARTS, st.binary(max_size=4)), max_size=10).map(b"".join),
    ).map(lambda parts: b"%b %b%b HTTP/1.1\r\nHost: x\r\n\r\n" % parts),
)


@hypothesis.settings(max_examples=max(300, hypothesis.settings().max_examples))
@given(REQUESTS)
def test_whatever_is_sent_is_answered_in_its_own_way(port: int, request_: bytes) -> None:
    """With a status of ours, or with an end; afterwards it serves as before."""
    answer = answered(port, request_)
    if answer:
        assert status(answer) in (200, 400, 401, 404, 405, 414, 431, 505)
        assert (status(answer) == 503) <= (b'"ready": false' in answer)
        head, found, body = answer.partition(b"\r\n\r\n")
        assert found
        assert b"Server: kms\r\n" in head
        (length,) = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        assert len(body) in (int(length.split()[1]), 0)
    assert is_served(port)
    threads = [it for it in threading.enumerate() if "process_request" in it.name]
    assert len(threads) < CONNECTIONS
