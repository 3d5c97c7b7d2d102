"""The transactional producer of an instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kms.due import Due
from kms.errors import AbortTransactionError, FencedError
from kms.kafka import TopicPartition
from kms.messages import Job
from kms.schedule import EXPIRED_HEADER, Header
from tests.model import rules
from tests.model.group import StaleMemberError
from tests.model.kafka import TARGET, BusyError, FencedEpochError
from tests.model.log import Log
from tests.model.steps import pause, rest

if TYPE_CHECKING:
    from tests.model.instance import Instance


@dataclass(frozen=True)
class Message:
    """What the producer was given and has not sent yet."""

    log: Log
    record: tuple[bytes, bytes | None, Sequence[Header]]
    due: Due


class Writer:
    """Stands in for kms.kafka.TransactionalWriter.

    As in librdkafka, ``produce`` only queues: what is queued reaches the broker at any time
    before the commit, and can do so after the offsets.
    """

    def __init__(self, owner: Instance, purpose: str) -> None:
        self.purpose = purpose
        self.name = owner.name + purpose  # its transactional id
        self.queued: list[Message] = []
        self.running = False
        self._owner = owner
        self._world = owner.world
        self._kafka = owner.world.kafka
        self._epoch = 0

    def start(self, _give_up: Callable[[], bool]) -> None:
        while (epoch := self._kafka.start(self.name)) is None:
            rest()
        self._epoch = epoch

    def begin(self) -> None:
        self.running = True  # the broker learns of it with the first record

    def exists(self, _topic: str) -> bool:
        return True

    def refused(self) -> list[Any]:
        return []

    def produce(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        headers: Sequence[Header],
        *,
        tag: Job,
        partition: int = -1,
    ) -> None:
        log = self._kafka.target if topic == TARGET else self._kafka.schedules[partition]
        if value is None and not self._world.has(rules.FIRED_OFFSET):
            headers = [header for header in headers if header[0] == EXPIRED_HEADER]
        self.queued.append(Message(log, (key, value, headers), tag.due))
        if not self._world.slow_network:
            self.deliver(log)

    def deliver(self, log: Log) -> None:
        """What is queued for a log reaches it, unless the broker does not take it now."""
        with suppress(BusyError, FencedEpochError):  # the transaction will learn of it
            self._send(log)

    def flush(self) -> None:
        """All that was produced reaches the broker."""
        pause()
        self._until_done(self._flush)
        pause()

    def commit(
        self, offsets: Mapping[TopicPartition, int], group_metadata: tuple[str, int]
    ) -> None:
        parts = [where.partition for where in offsets]
        pause()
        if self._world.has(rules.OFFSETS):
            self._until_done(
                lambda: self._kafka.send_offsets(self.name, self._epoch, *group_metadata, parts)
            )
            self._owner.says("has its offsets accepted by the group")
            pause()
        self._until_done(self._flush)
        pause()
        self._until_done(lambda: self._kafka.end(self.name, self._epoch, commit=True))
        self._owner.says("commits its transaction")
        pause()
        self.running = False

    def abort(self) -> None:
        self.queued.clear()
        self._until_done(lambda: self._kafka.end(self.name, self._epoch, commit=False))
        self._owner.says("aborts its transaction")
        pause()
        self.running = False

    def _flush(self) -> None:
        for log in dict.fromkeys(message.log for message in self.queued):
            self._send(log)

    def _send(self, log: Log) -> None:
        for message in [it for it in self.queued if it.log is log]:
            firing = self._owner.firing(message.due) if log is self._kafka.target else None
            offset = self._kafka.produce(self.name, self._epoch, log, message.record, firing)
            self.queued.remove(message)
            self._owner.delivered(message.due, log, offset)

    def _until_done(self, call: Callable[[], None]) -> None:
        while True:
            try:
                return call()
            except BusyError:
                rest()
            except StaleMemberError as error:
                self._owner.says("has its offsets refused: the group went on without it")
                raise AbortTransactionError("stale member") from error
            except FencedEpochError as error:
                raise FencedError("fenced") from error
