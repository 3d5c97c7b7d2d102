"""What the headers kms-* ask for, in any format."""

from __future__ import annotations

from kms.errors import FormatError
from kms.formats.format import Body, Format
from kms.kind_texts import name_of
from kms.kinds import ASKED, CONTROL, kind_of
from kms.occurrences import due_of, occurrence_ms
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
        return due_of(kind, record.id, self.form.due_of(record))

    def encode(self, schedule: Schedule) -> Body:
        for name, _ in schedule.headers:
            if name in CONTROL:
                # Most formats would send it, and none would do what it asks for.
                instead = f"; ask for {name_of(name)} itself" if name in ASKED else ""
                raise FormatError(
                    f"no message can have the header {name}, which is the schedule record's own"
                    f"{instead}"
                )
        return self.form.encode(schedule)
