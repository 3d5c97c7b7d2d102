"""Clients without Kafka: out of reach, closed, forked."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from kms.client import AsyncScheduleClient, ScheduleClient
from kms.client.link import Link, or_raised
from kms.client.requests import Requests
from kms.client.settings import settings_of
from kms.errors import KafkaError, KmsError, RetriableKafkaError, UndeliverableError
from kms.kafka import Admin, Sender, TopicInfo

ROOT = Path(__file__).parents[2]
CONFIG = {"bootstrap.servers": "localhost:1", "log_level": 0}
LOOK_UP_SECONDS = 1.0  # of one that fails
AT_ONCE_SECONDS = 10.0  # for a busy machine; one after the other 100 calls would take 100 s


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka is out of reach, and that is soon found out."""
    soon = partial(Admin, timeout_seconds=LOOK_UP_SECONDS)
    monkeypatch.setattr("kms.client.link.Admin", soon)


@pytest.fixture
def elapsed() -> Callable[[], float]:
    began = time.monotonic()
    return lambda: time.monotonic() - began


@pytest.mark.slow
@pytest.mark.usefixtures("away")
class TestKafkaIsAway:
    def test_threads_learn_it_together(self, elapsed: Callable[[], float]) -> None:
        def ask(number: int) -> None:
            with pytest.raises(RetriableKafkaError):
                schedules.at(number, to="o")

        with ScheduleClient("schedules", CONFIG) as schedules, ThreadPoolExecutor(100) as threads:
            list(threads.map(ask, range(100)))
        assert LOOK_UP_SECONDS <= elapsed() < AT_ONCE_SECONDS

    def test_tasks_learn_it_together(self, elapsed: Callable[[], float]) -> None:
        async def program() -> list[str | BaseException]:
            async with AsyncScheduleClient("schedules", CONFIG) as schedules:
                calls = (schedules.at(1, to="o") for _ in range(20_000))
                return await asyncio.gather(*calls, return_exceptions=True)

        errors = asyncio.run(program())
        assert {type(each) for each in errors} == {RetriableKafkaError}
        assert LOOK_UP_SECONDS <= elapsed() < AT_ONCE_SECONDS

    def test_who_gives_up_does_so_for_itself_only(self) -> None:
        async def program() -> None:
            async with AsyncScheduleClient("schedules", CONFIG) as schedules:
                first = asyncio.create_task(schedules.at(1, to="o"))
                second = asyncio.create_task(schedules.at(1, to="o"))
                await asyncio.sleep(0)
                first.cancel()
                with pytest.raises(RetriableKafkaError):
                    await second
                assert first.cancelled()

        asyncio.run(program())


def test_a_look_up_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    info = TopicInfo("schedules", "id", 1)
    answers: list[TopicInfo | None] = [None, info]
    monkeypatch.setattr(
        Admin, "topics_patiently", lambda _self, names: dict.fromkeys(names, answers.pop(0))
    )
    link = Link(Requests("schedules", "avro"), settings_of(CONFIG))
    with pytest.raises(KmsError, match="The schedule topic schedules does not exist"):
        link.check()
    assert not link.is_checked
    assert link.check() == link.check() == info
    assert link.is_checked


def test_a_look_up_that_no_thread_was_left_for_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    info = TopicInfo("schedules", "id", 1)
    monkeypatch.setattr(Admin, "topics_patiently", lambda _self, names: dict.fromkeys(names, info))
    link = Link(Requests("schedules", "avro"), settings_of(CONFIG))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            link.check()
    assert or_raised(link.looked_up().result(AT_ONCE_SECONDS)) == info


def test_each_gets_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for all would have the frames of all in its traceback."""
    answer = threading.Event()

    def wait(_admin: Admin, _names: list[str]) -> None:
        answer.wait(AT_ONCE_SECONDS)
        raise UndeliverableError("not allowed", "not-authorised")

    def ask(_number: int) -> UndeliverableError:
        with pytest.raises(UndeliverableError, match="not allowed") as caught:
            or_raised(begun.result())
        return caught.value

    monkeypatch.setattr(Admin, "topics_patiently", wait)
    begun = Link(Requests("schedules", "avro"), settings_of(CONFIG)).looked_up()
    answer.set()
    with ThreadPoolExecutor(20) as threads:
        found = list(threads.map(ask, range(100)))
    assert {it.reason for it in found} == {"not-authorised"}
    assert {len(traceback.extract_tb(it.__traceback__)) for it in found} == {2}
    (origin,) = {it.__cause__ for it in found}
    assert origin is not None
    assert len(traceback.extract_tb(origin.__traceback__)) == 2


class TestClosed:
    def test_every_call_says_so_at_once(self) -> None:
        schedules = ScheduleClient("schedules", CONFIG)
        schedules.close()
        schedules.close()
        for call in (
            lambda: schedules.at(1, to="o"),
            lambda: schedules.cron("0 9 * * *", to="o"),
            lambda: schedules.cancel("x"),
            lambda: schedules.get("x"),
        ):
            with pytest.raises(KmsError, match="This client is closed: make a new one"):
                call()

    def test_in_asyncio_too(self) -> None:
        async def program() -> None:
            async with AsyncScheduleClient("schedules", CONFIG) as schedules:
                pass
            for call in (schedules.every(9, to="o"), schedules.cancel("x"), schedules.get("x")):
                with pytest.raises(KmsError, match="This client is closed"):
                    await asyncio.wait_for(call, AT_ONCE_SECONDS)
            await schedules.close()

        asyncio.run(program())

    def test_nothing_is_left_with_a_producer_that_nobody_hears(self) -> None:
        """Who was looking up the topic while it closed."""
        sender = Sender(settings_of(CONFIG), 0.1)
        sender.close()
        with pytest.raises(KafkaError, match="Writing to schedules failed: its producer is closed"):
            sender.begin("schedules", b"x", None)


def test_a_process_that_was_forked_is_told() -> None:
    program = f"""
import os
from kms.client import ScheduleClient
with ScheduleClient("schedules", {CONFIG!r}) as schedules:
    if os.fork() == 0:
        for call in (lambda: schedules.at(1, to="o"), lambda: schedules.get("x")):
            try:
                call()
            except Exception as error:
                print(type(error).__name__, error, flush=True)
        schedules.close()
        os._exit(0)
    print("ended with", os.wait()[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        *2
        * [
            "KmsError This client was made before the process forked, and the threads that it "
            "needs stayed behind: make one in each process."
        ],
        "ended with 0",
    ], done.stderr
