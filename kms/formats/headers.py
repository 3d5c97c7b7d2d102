"""etf1's schedules: what to do is in the record's headers, its value is the message."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kms import times
from kms.errors import BadHeaderError, FormatError
from kms.formats.format import Body
from kms.kinds import CONTROL
from kms.schedule import Header, Schedule, Written

EPOCH, TARGET_TOPIC, TARGET_KEY = HOW = (
    "scheduler-epoch",
    "scheduler-target-topic",
    "scheduler-target-key",
)
TIMESTAMP, KEY, TOPIC = GAINED = ("scheduler-timestamp", "scheduler-key", "scheduler-topic")

# As Go's ParseInt, but for zeros in front, of which Python reads no more than some thousands.
_SECONDS = re.compile(rb"[+-]?0{0,100}[0-9]{1,16}")
_ITSELF = "its target is the schedule's own topic, which fires what has these headers again"


class Headers:
    """Of one topic, in the form of etf1's Go scheduler: ``scheduler-epoch`` is in seconds.

    The message keeps all headers but those that ask kms for a kind of schedule, and gains where it
    comes from. Without a ``scheduler-target-key`` it has no key. Of headers with the same name the
    first one counts, as there. Unlike there, an empty value is a message, and a bad time is
    refused, not taken for 0; so is the own topic as target.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic.encode()

    def decode(self, record: Written) -> Schedule:
        found = _first(record.headers)
        gained: tuple[Header, ...] = (
            (TIMESTAMP, b"%d" % (record.written_ms // 1000)),
            (KEY, record.id),
            (TOPIC, self._topic),
        )
        return Schedule(
            _due_ms(found),
            self._target(found),
            found.get(TARGET_KEY),
            record.value,
            (*(header for header in record.headers if header[0] not in CONTROL), *gained),
        )

    def due_of(self, record: Written) -> int:
        found = _first(record.headers)
        self._target(found)
        return _due_ms(found)

    def encode(self, schedule: Schedule) -> Body:
        """As late as the second after its time, for there are only seconds, and none is early."""
        if schedule.value is None:
            raise FormatError("without a value the record would be a cancel")
        if schedule.topic.encode() == self._topic:
            raise FormatError(_ITSELF)
        for name, _ in schedule.headers:
            if name in HOW:
                raise FormatError(f"the header {name} would be taken for one of the record")
        how: list[Header] = [
            (EPOCH, b"%d" % -(-schedule.due_ms // 1000)),
            (TARGET_TOPIC, schedule.topic.encode()),
        ]
        if schedule.key is not None:
            how.append((TARGET_KEY, schedule.key))
        return Body(schedule.value, (*how, *schedule.headers))

    def _target(self, found: dict[str, bytes | None]) -> str:
        text = found.get(TARGET_TOPIC)
        if not text:
            raise FormatError(f"the record has no header {TARGET_TOPIC}")
        if text == self._topic:
            # Its message keeps these headers: it would be a schedule, due at once, again and again.
            raise BadHeaderError(_ITSELF)
        return text.decode(errors="replace")  # what is no name of a topic is refused as that


def _first(headers: Sequence[Header]) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for name, value in headers:
        found.setdefault(name, value)
    return found


def _due_ms(found: dict[str, bytes | None]) -> int:
    text = found.get(EPOCH)
    if text is None:
        raise FormatError(f"the record has no header {EPOCH}")
    if not _SECONDS.fullmatch(text):
        raise FormatError(f"the header {EPOCH} is no number of seconds: {text[:40]!r}")
    due_ms = int(text) * 1000
    if not times.LEAST_MS <= due_ms <= times.MOST_MS:
        raise FormatError(f"the header {EPOCH} has, in ms, more than 64 bits: {text[:40]!r}")
    return due_ms
