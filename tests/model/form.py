"""The format of the model's schedules."""

from __future__ import annotations

from kms.errors import FormatError
from kms.formats import Body, Kinds
from kms.schedule import Schedule, Written
from tests.model.kafka import TARGET


class Numbers:
    """Due time and version, as text."""

    def due_of(self, record: Written) -> int:
        due_ms, found, _ = (record.value or b"").partition(b":")
        if not found:
            raise FormatError("no schedule")
        return int(due_ms)

    def decode(self, record: Written) -> Schedule:
        version = (record.value or b"").partition(b":")[2]
        return Schedule(self.due_of(record), TARGET, b"", version)

    def encode(self, schedule: Schedule) -> Body:
        return Body(b"%d:%s" % (schedule.due_ms, schedule.value))


FORM = Kinds(Numbers())
