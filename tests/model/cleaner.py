"""What the cleaner must not get to yet, where the service relies on that."""

from __future__ import annotations

from kms.schedule import Row, fired_of, fold
from tests.model.form import FORM
from tests.model.kafka import TOPIC_ID
from tests.model.log import Log


def overtaken(log: Log) -> list[int]:
    """The offsets of the updates that a committed firing has overtaken, and no copy replaced."""
    rows: dict[bytes, Row] = {}
    for record in log.stable():
        fold(rows, record, TOPIC_ID, FORM.due_of)
    return [row.offset for row in rows.values() if row.republish]


def hidden_cancels(log: Log, folded: int) -> list[int]:
    """The offsets, from ``folded`` on, of the cancels that the end of a firing would hide.

    That firing was of an older version than the last one before the cancel: a cache with the last
    one in it, and without the cancel, would take it for overtaken and have it fired.
    """
    records = [entry.record for entry in log.entries]
    found = []
    for tombstone in records:
        fired = fired_of(tombstone.headers)  # also of what recurs, written again by it
        if fired is not None:
            found += [
                it.offset
                for it in records
                if it.id == tombstone.id
                and it.value is None
                and max(folded, fired.offset + 1) <= it.offset < tombstone.offset
            ]
    return found
