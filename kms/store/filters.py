"""Which schedules are meant, as SQL; and how they are counted, by what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from kms.store.file import FAILED, LANE, OVERTAKEN, PENDING

By = Literal["topic", "hour", "day"]

_WAITING, _FAILED = (PENDING, OVERTAKEN), (FAILED, FAILED | OVERTAKEN)

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000

NO_SCHEDULE = "s.due_ms = 0 AND target_of(s.number, s.value, s.headers) IS NULL"


class Filter(NamedTuple):
    """Which pending schedules are meant; None means any. ``topic`` is the schedule topic.

    ``failed`` means those only that could not be fired and wait for another attempt. Due at
    ``after_ms`` or later and before ``before_ms``; ``prefix`` is what the id begins with,
    ``target`` the target topic, which what is no schedule does not have.
    """

    id: bytes | None = None
    topic: str | None = None
    before_ms: int | None = None
    failed: bool = False
    after_ms: int | None = None
    target: str | None = None
    prefix: bytes | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the due index has all that is asked for, in order."""
        return self.target is None and self.prefix is None


def states(wanted: Filter, lanes: Sequence[int]) -> list[int]:
    """In which states a schedule may be, where there are these lanes."""
    found = _FAILED if wanted.failed else (*_WAITING, *_FAILED)
    return [lane * LANE + state for lane in (0, *lanes) for state in found]


def where(
    wanted: Filter,
    avro: Sequence[int],
    numbers: Sequence[int],
    only: Sequence[int],
    *,
    by_id: bool,
) -> tuple[str, list[object]]:
    """A WHERE clause on ``schedules s`` of these partitions and states, and its values.

    ``avro`` are the partitions of topics in Avro. ``by_id`` says that the index of the ids has the
    fewer of them, not that of the due times.
    """
    tests: dict[str, object] = {}
    plus = "+" if by_id else ""  # SQLite leaves the index of such a term alone
    if wanted.id is not None:
        tests["s.id = ?"] = wanted.id
    if wanted.prefix:
        other = "" if by_id else "+"
        tests[f"{other}s.id >= ?"] = wanted.prefix
        end = _after_prefix(wanted.prefix)
        if end is not None:
            tests[f"{other}s.id < ?"] = end
    if wanted.after_ms is not None:
        tests[f"{plus}s.due_ms >= ?"] = wanted.after_ms
    if wanted.before_ms is not None:
        tests[f"{plus}s.due_ms < ?"] = wanted.before_ms
    if wanted.target is not None:
        # In Avro the target's bytes are in one piece, which is sooner seen than where.
        tests[f"(s.number NOT IN {_in(avro)} OR instr(s.value, ?) > 0)"] = wanted.target.encode()
        tests[f"{_target(avro)} = ?"] = wanted.target.encode()
    fixed = f"s.number IN {_in(numbers)}"
    if not by_id or wanted.failed or len(only) == 1:
        fixed += f" AND {plus}s.state IN {_in(only)}"
    return "WHERE " + " AND ".join([fixed, *tests]), list(tests.values())


def group(by: By, avro: Sequence[int]) -> str:
    """What to group by: a target topic, or where an hour or a day (UTC) begins, in epoch ms.

    What is no schedule has no topic, NULL; of the times only ``NO_SCHEDULE`` tells it from others.
    """
    if by == "topic":
        return _target(avro)
    size_ms = _HOUR_MS if by == "hour" else _DAY_MS
    # The remainder of a time before 1970 is negative.
    return f"s.due_ms - (s.due_ms % {size_ms} + {size_ms}) % {size_ms}"


def _target(avro: Sequence[int]) -> str:
    """The target topic, or NULL of what is no schedule.

    It is in the record alone, and asking Python for a million of them takes seconds. So where the
    value is laid out as nearly all are, SQLite cuts it out itself: Avro writes a time between 1970
    and 2039 in six bytes, the length of a name of up to 63 bytes in one, doubled, and the last byte
    of a number is below 128. A value that is no schedule is due at 0, so never here. With headers
    on the record the due time may not be that of the value.
    """
    return (
        f"CASE WHEN s.number IN {_in(avro)} AND s.headers IS NULL"
        f" AND s.due_ms BETWEEN {2**34} AND {2**41 - 1}"
        " AND substr(s.value, 6, 1) < x'80' AND substr(s.value, 7, 1) < x'80'"
        " THEN substr(s.value, 8, coalesce(unicode(substr(s.value, 7, 1)), 0) / 2)"
        " ELSE target_of(s.number, s.value, s.headers) END"
    )


def _in(numbers: Sequence[int]) -> str:
    return f"({', '.join(map(str, numbers))})"


def _after_prefix(prefix: bytes) -> bytes | None:
    """What comes behind all that begins with it; None if nothing does."""
    shorter = prefix.rstrip(b"\xff")
    return shorter[:-1] + bytes([shorter[-1] + 1]) if shorter else None
