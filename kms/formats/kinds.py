"""What the headers kms-* ask for, in any format."""

from __future__ import annotations

from kms.formats.format import Body, Format
from kms.kinds import kind_of, occurrence_ms, spot_ms
from kms.schedule import Schedule, Written


class Kinds:
    """A format of which records may ask for a window, an expiry or recurrence.

    The due time is the spot in the window, if there is one; a decoded schedule has the time of
    its occurrence, which what recurs goes on from.
    """

    def __init__(self, form: Format) -> None:
        self.form = form

    def decode(self, record: Written) -> Schedule:
        kind = kind_of(record.headers)  # first: without its headers nothing of it is known
        schedule = self.form.decode(record)
        if kind is None:
            return schedule
        return schedule._replace(due_ms=occurrence_ms(kind, schedule.due_ms))

    def due_of(self, record: Written) -> int:
        kind = kind_of(record.headers)
        time_ms = self.form.due_of(record)
        if kind is None:
            return time_ms
        return spot_ms(kind, record.id, occurrence_ms(kind, time_ms))

    def encode(self, schedule: Schedule) -> Body:
        return self.form.encode(schedule)
