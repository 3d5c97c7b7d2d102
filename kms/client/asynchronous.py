"""The client for asyncio.

Not on confluent-kafka's own AIOProducer, which takes no headers and holds a lone record back for
its batch: the reports of the ordinary producer become futures, so that no call holds a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self, Unpack

from kms.client.link import Link
from kms.client.requests import Asked, Entry, FormatName, Recurring, Requests, Text, When
from kms.client.synchronous import GET_SECONDS, Id
from kms.kafka import Sender
from kms.schedule import Schedule

_AT_ONCE = 10_000  # records on their way; librdkafka's queue, which would block, holds 100,000


class AsyncScheduleClient:
    """``ScheduleClient`` with methods to be awaited; see there.

    Many may be awaited at once. One that is cancelled may have been written all the same. There
    is no ``producer``: within a transaction of the caller's, a ``ScheduleClient`` waits for nothing
    but the first call's look-up.
    """

    def __init__(
        self,
        topic: str,
        config: Mapping[str, object] | None = None,
        *,
        format: FormatName = "avro",  # noqa: A002 - what it is called everywhere
    ) -> None:
        self._requests = Requests(topic, format)
        self._link = Link(self._requests, config)
        self._sender = Sender(self._link.settings)
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
        await asyncio.to_thread(self._sender.close)

    async def at(self, when: When, **asked: Unpack[Asked]) -> str:
        """Send a message at a time: an aware datetime, or epoch ms. Returns the schedule's id."""
        return await self._write(self._requests.at(when, asked))

    async def after(self, delay: timedelta | float, **asked: Unpack[Asked]) -> str:
        """The same after a timedelta, or so many seconds, by this machine's clock."""
        return await self._write(self._requests.after(delay, asked))

    async def every(self, interval: timedelta | float, **asked: Unpack[Recurring]) -> str:
        """Send it again and again, an interval (timedelta, or seconds) apart."""
        return await self._write(self._requests.every(interval, asked))

    async def cron(self, expression: str, **asked: Unpack[Recurring]) -> str:
        """Send it whenever a cron expression says."""
        return await self._write(self._requests.cron(expression, asked))

    async def cancel(self, id: Id) -> Id:  # noqa: A002 - what it is called everywhere
        """Cancel what is pending under an id; returns the id."""
        await self._write(self._requests.cancel(id))
        return id

    async def get(
        self,
        id: Text,  # noqa: A002
        timeout_seconds: float = GET_SECONDS,
    ) -> Schedule | None:
        """The schedule that is pending under an id; costs a read of the id's whole partition."""
        return await asyncio.to_thread(self._link.pending, id, timeout_seconds)

    async def _write(self, entry: Entry) -> str:
        topic, (schedule_id, value, headers) = self._requests.topic, entry
        async with self._on_their_way:
            if not self._link.is_checked:
                await asyncio.to_thread(self._link.check)
            begun = self._sender.begin(topic, schedule_id, value, headers=headers)
            await asyncio.wrap_future(begun)
        return schedule_id.decode(errors="replace")
