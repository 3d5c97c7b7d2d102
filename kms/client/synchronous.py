"""The client for programs whose calls wait."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar, Unpack

from kms.client.asked import Asked, Recurring
from kms.client.life import Life
from kms.client.link import Link
from kms.client.requests import Entry, FormatName, Requests
from kms.client.settings import requests_of, settings_of, settings_to_join
from kms.client.values import Text, When
from kms.errors import RequestError
from kms.kafka import JoinedWriter, Producer, Sender
from kms.schedule import Schedule

Id = TypeVar("Id", str, bytes)

GET_SECONDS = 20.0


class ScheduleClient:
    """Writes schedules to one topic; each call returns once the broker has the record.

    ``config`` are properties of librdkafka, as confluent-kafka's Producer takes them; without it
    the settings are kms's own, of the environment and the settings file, which also say the
    topic's ``format``: avro if nothing does. Raises RequestError where what is asked makes no
    sense, another KmsError where Kafka does not take it; after a BrokenProducerError only a new
    client can go on. Threads may share one, processes not; ``close``, or leaving the ``with``
    block, ends it.

    With ``producer``, a Producer of the caller's, that one writes. Within a transaction of its
    nothing is awaited: the schedules are there when the caller commits, not if it aborts. Without
    one each call waits for what the producer's own ``acks`` ask for. Of the settings only the
    topic's format is read then, where ``format`` does not say it; ``get`` needs a ``config``.
    """

    def __init__(
        self,
        topic: str,
        config: Mapping[str, object] | None = None,
        *,
        format: FormatName | None = None,  # noqa: A002 - what it is called everywhere
        producer: Producer | None = None,
    ) -> None:
        joins_only = producer is not None and config is None
        settings = settings_to_join(topic, format) if joins_only else settings_of(config)
        self._life = Life()
        self._requests = requests_of(topic, format, settings)
        self._joined = None if producer is None else JoinedWriter(producer)
        # Without either, the environment's cluster might be another one than the producer's.
        self._link = Link(self._requests, settings) if producer is None or config else None
        self._sender = Sender(settings) if producer is None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the client's own producer; one of the caller's stays as it is."""
        if self._life.end():
            self._requests.close()
            if self._sender is not None:
                self._sender.close()

    def at(self, when: When, **asked: Unpack[Asked]) -> str:
        """Send a message at a time: an aware datetime, or epoch ms. Returns the schedule's id.

        ``to`` names the target topic; ``key``, ``value`` and the values of ``headers`` are bytes,
        or a str, sent as UTF-8. With ``id``, what is pending under it is replaced. A time that is
        past fires at once.
        """
        return self._write(self._open().at(when, asked))

    def after(self, delay: timedelta | float, **asked: Unpack[Asked]) -> str:
        """The same after a timedelta, or so many seconds, by this machine's clock."""
        return self._write(self._open().after(delay, asked))

    def every(self, interval: timedelta | float, **asked: Unpack[Recurring]) -> str:
        """Send it again and again, an interval (timedelta, or seconds) apart.

        The first time is ``first``, or an interval from now. It ends at ``until``, after ``count``
        times, or by ``cancel``; an ``at`` under the same id replaces it.
        """
        return self._write(self._open().every(interval, asked))

    def cron(self, expression: str, **asked: Unpack[Recurring]) -> str:
        """Send it whenever a cron expression says: five fields, or six with seconds.

        By the clock of ``timezone``, UTC by default; not before ``first``, or now. It ends as
        ``every`` does.
        """
        return self._write(self._open().cron(expression, asked))

    def cancel(self, id: Id) -> Id:  # noqa: A002 - what it is called everywhere
        """Cancel what is pending under an id, recurring or not; returns the id.

        What has fired has fired; that nothing is pending under the id is no error.
        """
        self._write(self._open().cancel(id))
        return id

    def get(
        self,
        id: Text,  # noqa: A002
        timeout_seconds: float = GET_SECONDS,
    ) -> Schedule | None:
        """The schedule that is pending under an id; None if none is: fired, cancelled, never there.

        It costs a read of the whole partition that the id is on, as compaction has left it: for
        tests and tools, not for each request. Raises RetriableKafkaError if the time does not do,
        also while somebody's transaction is open on that partition.
        """
        self._life.check()
        if self._link is None:
            raise RequestError("get reads the schedule topic: give the client a config for that.")
        return self._link.pending(id, timeout_seconds)

    def _open(self) -> Requests:
        self._life.check()
        return self._requests

    def _write(self, entry: Entry) -> str:
        topic, (schedule_id, value, headers) = self._requests.topic, entry
        if self._joined is not None:
            self._joined.write(topic, schedule_id, value, headers)
        elif self._sender is not None and self._link is not None:
            self._link.check()
            self._sender.send(topic, schedule_id, value, headers=headers)
        return schedule_id.decode(errors="replace")  # of a cancel it may be none, nor is it used
