"""The client for programs in asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from kms.client import AsyncScheduleClient, ScheduleClient
from kms.errors import (
    KmsError,
    UndeliverableError,
)
from tests.broker.cluster import Cluster
from tests.broker.test_client import LATER, config


def test_many_at_once_in_asyncio(cluster: Cluster) -> None:
    topic = cluster.schedule_topic(3)

    async def program() -> None:
        async with AsyncScheduleClient(topic, config(cluster)) as schedules:
            threads = threading.active_count()
            ids = await asyncio.gather(
                *(schedules.at(LATER, to="o", value=str(number)) for number in range(2_000))
            )
            assert len(set(ids)) == 2_000
            assert threading.active_count() - threads <= 2  # none for each
            await schedules.after(timedelta(days=1), to="o", id="mine")
            assert await schedules.get("mine") is not None
            assert await schedules.cancel(b"mine") == b"mine"
            assert await schedules.get("mine") is None
            with pytest.raises(UndeliverableError):
                await schedules.at(LATER, to="o", value=b"x" * 2_000_000)

    asyncio.run(program())
    assert len(cluster.read(topic)) == 2_002


def test_the_loop_is_not_held_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """While librdkafka's queue is full."""
    topic = cluster.schedule_topic()
    main, sleep = threading.get_ident(), time.sleep

    def slept(seconds: float) -> None:
        assert threading.get_ident() != main, "nothing else of the loop could run"
        sleep(seconds)

    async def program() -> None:
        async with AsyncScheduleClient(topic, narrow) as schedules:
            await asyncio.gather(*(schedules.at(LATER, to="o") for _ in range(200)))

    narrow = config(cluster) | {"queue.buffering.max.messages": 1}
    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", slept)
        asyncio.run(program())
    assert len(cluster.read(topic)) == 200
    with ScheduleClient(topic, narrow) as schedules, ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda _: schedules.at(LATER, to="o"), range(200)))
    assert len(cluster.read(topic)) == 400


def test_closing_answers_who_is_still_writing(cluster: Cluster) -> None:
    """With the id, or with an error; what is answered with its id is there."""
    topic = cluster.schedule_topic(3)

    async def program() -> list[str | BaseException]:
        schedules = AsyncScheduleClient(topic, config(cluster))
        await schedules.at(LATER, to="o")
        calls = [asyncio.create_task(schedules.at(LATER, to="o")) for _ in range(15_000)]
        await calls[0]
        await schedules.close()
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    found = asyncio.run(program())
    written = {it for it in found if isinstance(it, str)}
    refused = [it for it in found if not isinstance(it, str)]
    assert written
    assert refused, "more than may be on their way at once"
    assert all(isinstance(it, KmsError) and "closed" in str(it) for it in refused)
    assert written <= {(it.key or b"").decode() for it in cluster.read(topic)}
