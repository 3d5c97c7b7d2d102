"""The client for asyncio.

Not on confluent-kafka's own AIOProducer, which takes no headers and holds a lone record back for
its batch: the reports of the ordinary producer become futures, so that who waits for one holds no
thread. What asks a registry, and ``get``, holds one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar, Unpack

from kms.client.asked import Asked, Recurring
from kms.client.life import Life
from kms.client.link import Link, or_raised
from kms.client.requests import Entry, FormatName, Requests
from kms.client.settings import requests_of, settings_of
from kms.client.synchronous import GET_SECONDS, Id
from kms.client.values import Text, When
from kms.kafka import Sender, unacknowledged
from kms.schedule import Schedule

T = TypeVar("T")
A = TypeVar("A")

_AT_ONCE = 10_000  # records on their way; librdkafka's queue holds 100,000
_FULL_SECONDS = 0.01


class AsyncScheduleClient:
    """``ScheduleClient`` with methods to be awaited; see there.

    Many may be awaited at once. One that is cancelled may have been written all the same. To make
    one waits for the first token of an ``oauth_cb``. There is no ``producer``: within a transaction
    of the caller's a ``ScheduleClient`` waits for the first call's look-up, for a registry where
    the schemas are in one, and while the producer's queue is full, else for nothing.
    """

    def __init__(
        self,
        topic: str,
        config: Mapping[str, object] | None = None,
        *,
        format: FormatName | None = None,  # noqa: A002 - what it is called everywhere
    ) -> None:
        settings = settings_of(config)
        self._life = Life()
        self._requests = requests_of(topic, format, settings)
        self._link = Link(self._requests, settings)
        self._sender = Sender(settings)
        self._on_their_way = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the client."""
        if self._life.end():
            self._requests.close()
            await asyncio.to_thread(self._sender.close)

    async def at(self, when: When, **asked: Unpack[Asked]) -> str:
        """Send a message at a time: an aware datetime, or epoch ms. Returns the schedule's id."""
        return await self._asked(self._open().at, when, asked)

    async def after(self, delay: timedelta | float, **asked: Unpack[Asked]) -> str:
        """The same after a timedelta, or so many seconds, by this machine's clock."""
        return await self._asked(self._open().after, delay, asked)

    async def every(self, interval: timedelta | float, **asked: Unpack[Recurring]) -> str:
        """Send it again and again, an interval (timedelta, or seconds) apart."""
        return await self._asked(self._open().every, interval, asked)

    async def cron(self, expression: str, **asked: Unpack[Recurring]) -> str:
        """Send it whenever a cron expression says."""
        return await self._asked(self._open().cron, expression, asked)

    async def cancel(self, id: Id) -> Id:  # noqa: A002 - what it is called everywhere
        """Cancel what is pending under an id; returns the id."""
        await self._write(self._open().cancel(id))
        return id

    async def get(
        self,
        id: Text,  # noqa: A002
        timeout_seconds: float = GET_SECONDS,
    ) -> Schedule | None:
        """The schedule that is pending under an id; costs a read of the id's whole partition."""
        self._life.check()
        await self._check()
        return await asyncio.to_thread(self._link.pending, id, timeout_seconds)

    def _open(self) -> Requests:
        self._life.check()
        return self._requests

    async def _asked(self, make: Callable[[T, A], Entry], first: T, asked: A) -> str:
        if self._requests.may_wait:
            return await self._write(await asyncio.to_thread(make, first, asked))
        return await self._write(make(first, asked))

    async def _write(self, entry: Entry) -> str:
        await self._check()
        async with self._on_their_way:
            try:
                async with asyncio.timeout(self._sender.longest_seconds):
                    await self._sent(entry)
            except TimeoutError:
                raise unacknowledged(f"Writing to {self._requests.topic}") from None
        return entry.id.decode(errors="replace")

    async def _check(self) -> None:
        if not self._link.is_checked:
            or_raised(await asyncio.wrap_future(self._link.looked_up()))

    async def _sent(self, entry: Entry) -> None:
        topic, (schedule_id, value, headers) = self._requests.topic, entry
        while True:
            begun = self._sender.begin(topic, schedule_id, value, headers=headers)
            if begun is not None:
                await asyncio.wrap_future(begun)
                return
            await asyncio.sleep(_FULL_SECONDS)
