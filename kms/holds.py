"""Partitions that wait for a schema: held at the first record that can't be read without it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kms.errors import FormatError, RegistryAwayError
from kms.kafka import TopicPartition, TopicReader
from kms.partition import FoldingPartition
from kms.repeats import Repeats
from kms.schedule import Record

# A schema that is new to us is there within milliseconds. What takes longer is an outage, and then
# cancels may lie behind the record that waits: nothing of its partition is fired any more.
_GRACE_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass
class _Held:
    record: Record
    since: float
    said: bool = False


class Holds:
    """Which partitions are held, and from where they go on; for the consumer thread.

    A held partition is paused at the consumer and keeps its position in the fold, so that nothing
    is passed over. The others are read on, and the thread never waits.
    """

    def __init__(self, reader: TopicReader) -> None:
        self._reader = reader
        self._held: dict[TopicPartition, _Held] = {}
        self._repeats = Repeats()

    def __contains__(self, where: TopicPartition) -> bool:
        return where in self._held

    def __len__(self) -> int:
        return len(self._held)

    def places(self) -> list[str]:
        """Where each of them waits, for people."""
        return [f"{where} at offset {held.record.offset}" for where, held in self._held.items()]

    def hold(self, where: TopicPartition, record: Record) -> None:
        """Read nothing more of a partition until this record, its next one, can be read."""
        self._held[where] = _Held(record, time.monotonic())
        self._reader.pause(where)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """They are read from elsewhere."""
        for where in partitions:
            self._held.pop(where, None)

    def turn(self, owned: Mapping[TopicPartition, FoldingPartition]) -> list[FoldingPartition]:
        """Let those go on that can; answers those that may fire and must not any longer."""
        self.forget([where for where in self._held if where not in owned])
        overdue = []
        for where, held in list(self._held.items()):
            part = owned[where]
            try:
                part.due_of(held.record)
            except RegistryAwayError as error:
                if time.monotonic() - held.since >= _GRACE_SECONDS:
                    self._say(where, held, str(error))
                    overdue.append(part)
                continue
            except FormatError:
                pass  # which the fold finds out again
            del self._held[where]
            self._reader.read_from({where: part.next_offset})
            if held.said:
                _log.info("%s is read on from offset %d.", where, part.next_offset)
        return [part for part in overdue if part.ready]

    def _say(self, where: TopicPartition, held: _Held, reason: str) -> None:
        unsaid = self._repeats.unsaid(where)
        if unsaid is None:
            return
        held.said = True
        _log.warning(
            "%s waits at offset %d, schedule id %r, for %.0f s: %s. Nothing of this partition "
            "fires until then; see to the schema registry and KMS_SCHEMA_REGISTRY_URL.",
            where,
            held.record.offset,
            held.record.id[:200],
            time.monotonic() - held.since,
            reason,
        )
