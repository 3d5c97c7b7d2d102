"""When a schedule of a kind is due, and what becomes of it then.

Pure: a function of its record, its id, and the time it is asked at. So it is the same on each
instance and after every restart, and the fold can use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from kms import times
from kms.errors import BadHeaderError
from kms.kinds import (
    ASKED,
    CONTROL,
    CRON,
    EVERY,
    EXPIRES,
    NEXT,
    OCCURRENCE,
    UNTIL,
    Kind,
    kind_of,
)
from kms.schedule import Header

SKIPPED = "skipped"  # why a due schedule is not fired; the others are in kms.kinds


class Outcome(NamedTuple):
    """What becomes of a due schedule: fired, unless it is too ``late``; then over, or again."""

    late: str = ""  # EXPIRED, LEFT_OUT or SKIPPED
    again: tuple[Header, ...] | None = None  # the next record's headers


FIRED = Outcome()


def due_of(kind: Kind | None, schedule_id: bytes, time_ms: int) -> int:
    """When a record of this kind is due, where its value says ``time_ms``; in epoch ms.

    Raises BadHeaderError if that is never.
    """
    return time_ms if kind is None else spot_ms(kind, schedule_id, occurrence_ms(kind, time_ms))


def occurrence_ms(kind: Kind, time_ms: int) -> int:
    """When the record's occurrence is, where its value says ``time_ms``; BadHeaderError if never.

    The first one of an interval is that time, of a cron the first match from there on.
    """
    recurrence, found = kind.recurrence, time_ms
    if recurrence is not None and recurrence.next_ms is not None:
        return recurrence.next_ms
    if recurrence is not None:
        first = recurrence.after(time_ms, time_ms - 1)
        if first is None:
            name = EVERY if recurrence.cron is None else CRON
            raise BadHeaderError(f"it never comes: {name} and {UNTIL} leave no time for it")
        found = first
    if kind.expires_ms is not None and found > kind.expires_ms:
        # A time in seconds is one in 1970: that must not end every message without a word.
        raise BadHeaderError(f"it never comes: {EXPIRES} is a time before it is due")
    return found


def spot_ms(kind: Kind, schedule_id: bytes, occurrence: int) -> int:
    """When in its window it is due: a hash of the id and the time, so always the same.

    The window ends where it expires: what is asked to fire by then must be able to.
    """
    window_ms = kind.window_ms
    if kind.expires_ms is not None:
        window_ms = min(window_ms, max(kind.expires_ms - occurrence, 0))
    if not window_ms:
        return occurrence
    digest = hashlib.blake2b(b"%d:" % occurrence + schedule_id, digest_size=8).digest()
    return min(occurrence + int.from_bytes(digest) % window_ms, times.MOST_MS)


def outcome(
    headers: Sequence[Header],
    due_ms: int,
    occurrence: int,
    now_ms: int,
    *,
    skip: bool = False,
) -> Outcome:
    """What becomes of a record at ``now_ms`` that is due at ``due_ms``, its spot.

    Of what recurs, an occurrence is missed once its window is over. By default one is fired for
    all that were. ``skip`` says that this one is not to be fired. Raises BadHeaderError.
    """
    kind = kind_of(headers)
    late = SKIPPED if skip else ""
    if kind is None:
        return Outcome(late)
    late = late or kind.why_late(due_ms, now_ms)
    recurrence = kind.recurrence
    if recurrence is None:
        return Outcome(late)
    fired = recurrence.fired + (not late)
    moment_ms = occurrence
    if skip or recurrence.missed != "all":
        moment_ms = max(occurrence, now_ms - kind.window_ms)
    following = recurrence.after(occurrence, moment_ms)
    if following is None or (recurrence.most is not None and fired >= recurrence.most):
        return Outcome(late)
    if kind.expires_ms is not None and following > kind.expires_ms:
        return Outcome(late)
    kept = tuple(it for it in headers if it[0] in ASKED or it[0] not in CONTROL)
    return Outcome(late, (*kept, (NEXT, b"%d" % following), (OCCURRENCE, b"%d" % fired)))
