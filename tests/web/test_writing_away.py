"""Scheduling over HTTP while Kafka is away, and after it has ended the producer.

Nobody listens on the port of its brokers. What heals when they come back is in
tests/faults/test_broker_outage.py.
"""

from __future__ import annotations

import ctypes
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import confluent_kafka as ck
import pytest
from pydantic import SecretStr

from kms.errors import KafkaError
from kms.http_port import CONNECTIONS, REQUEST_SECONDS
from kms.kafka import Sender
from kms.kafka_properties import KafkaProperties
from kms.settings import Settings
from tests.broker.cluster import wait_for
from tests.web.site import Answer, Site, served

TOKEN = "correct-horse-battery"
ALLOWED = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
BODY = json.dumps({"to": "orders", "at": "2100-01-01T00:00:00Z"}).encode()
NOBODY = "127.0.0.1:1"
MANY = CONNECTIONS + 16


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Site]:
    token = SecretStr(TOKEN)
    with (
        served(tmp_path, kms_http_token=token, kafka_brokers=NOBODY) as site,
        closing(site.writing),
    ):
        yield site


def post(site: Site) -> Answer:
    return site.get("/schedules", "POST", data=BODY, headers=ALLOWED)


def delete(site: Site) -> Answer:
    return site.get("/schedules/x", "DELETE", headers=ALLOWED)


@pytest.mark.slow
@pytest.mark.parametrize("owned", [True, False])
def test_everybody_has_an_answer(
    lonely: Site, caplog: pytest.LogCaptureFixture, owned: bool
) -> None:
    """In time, and whoever asks for health has one meanwhile, however many there are."""
    if owned:
        lonely.assign()
    started = time.monotonic()
    with ThreadPoolExecutor(MANY) as pool:
        begun = [pool.submit(delete if it % 8 == 0 else post, lonely) for it in range(MANY)]
        while not all(it.done() for it in begun):
            assert lonely.get("/health/live").status == 200
            time.sleep(0.02)
    assert time.monotonic() - started < REQUEST_SECONDS
    answers = [it.result() for it in begun]
    assert {(it.status, it.headers["Retry-After"]) for it in answers} == {(503, "1")}
    busy = [it for it in answers if it.json["error"].startswith("Too many ask at once")]
    assert CONNECTIONS // 4 < MANY - len(busy) < CONNECTIONS
    (said,) = [it for it in caplog.messages if "that came by HTTP was not written" in it]
    assert ("Writing to" if owned else "Looking up") in said


def test_a_registry_that_is_silent_is_not_awaited_for_long(tmp_path: Path) -> None:
    """At each of its two addresses."""
    with ExitStack() as exits:
        silent = [exits.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        urls = ",".join(f"http://127.0.0.1:{it.getsockname()[1]}" for it in silent)
        site = exits.enter_context(
            served(
                tmp_path,
                kms_http_token=SecretStr(TOKEN),
                registry_schedule_topics=("registered",),
                kms_schema_registry_url=urls,
            )
        )
        exits.enter_context(closing(site.writing))
        started = time.monotonic()
        body = json.dumps({**json.loads(BODY), "topic": "registered"}).encode()
        answer = site.get("/schedules", "POST", data=body, headers=ALLOWED)
        assert time.monotonic() - started < REQUEST_SECONDS / 2
        assert answer.status == 503
        assert answer.json["error"].startswith("the schema registry")


def test_a_producer_that_is_over_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody waits for the end of the old one."""
    may_close = threading.Event()
    close = Sender.close

    def slow(sender: Sender) -> None:
        assert may_close.wait(60)
        close(sender)

    monkeypatch.setattr(Sender, "close", slow)
    properties = KafkaProperties({"test.mock.num.brokers": "1"})  # librdkafka's own, in memory
    with (
        served(tmp_path, kms_http_token=SecretStr(TOKEN), kafka=properties) as site,
        closing(site.writing),
    ):
        site.assign()
        assert post(site).status == 201
        assert site.writing._sender is not None
        end(site.writing._sender)
        wait_for("another producer", lambda: post(site).status == 201)
        may_close.set()


def test_what_was_on_its_way_is_answered_when_the_producer_is_over() -> None:
    sender = Sender(Settings(kafka_brokers=NOBODY), 60.0)
    begun: Future[object] = sender.begin("schedules", b"x", b"value")  # type: ignore[assignment]
    end(sender)
    with pytest.raises(KafkaError, match="Writing to schedules failed"):
        begun.result(10)
    wait_for("it to be known", lambda: sender.is_broken)
    sender.close()


def test_closing_waits_though_the_producer_is_over() -> None:
    """Which it may learn while it does: a flush ends with that, and the reports come later."""
    sender = Sender(Settings(kafka_brokers=NOBODY), 60.0)
    client = Ending()
    sender._client = client  # type: ignore[assignment]
    sender.close()
    assert client.left == 0


class Ending:
    """A client that tells of an error that is fatal to it, and then of what was on its way."""

    left = 2

    def __len__(self) -> int:
        return self.left

    def poll(self, _seconds: float) -> None:
        pass

    def flush(self, _seconds: float) -> None:
        self.left -= 1
        if self.left > 0:
            raise ck.KafkaException(ck.KafkaError(ck.KafkaError._FATAL))


def end(sender: Sender) -> None:
    """As librdkafka does when the broker has lost count of what it got."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    library = ctypes.CDLL(next(line.split()[-1] for line in maps if "librdkafka" in line))
    # The producer's own handle comes first behind what every object of Python has.
    handle = ctypes.c_void_p.from_address(id(sender._client) + object.__basicsize__)
    out_of_order = ctypes.c_int(45)
    assert library.rd_kafka_test_fatal_error(handle, out_of_order, b"a test") == 0
