"""What ``inspect`` shows: a pending schedule, read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from kms.errors import FormatError, RegistryAwayError
from kms.pauses import ALL
from kms.refold import Told
from kms.schedule import Schedule
from kms.store import Pending
from kms.times import iso_time


class Found(NamedTuple):
    """A pending schedule: where its record lies, and what that says; None if it can't be read.

    ``history`` is what is known of its id, where somebody asked for that. ``away`` says why nobody
    can tell what it says: its schema could not be had. ``paused`` if its target topic was, when
    the service last looked.
    """

    pending: Pending
    schedule: Schedule | None
    history: Sequence[Told] | None = None
    away: str | None = None
    paused: bool = False


def read(pending: Pending) -> Found:
    """What no format reads is on its way to the dead-letter topic, or waits to be mended."""
    try:
        return Found(pending, pending.form.decode(pending))
    except FormatError:
        return Found(pending, None)
    except RegistryAwayError as error:
        return Found(pending, None, away=str(error))


def with_pauses(found: Found, pauses: Collection[str]) -> Found:
    """The same, with what is known of its target topic; ``pauses`` are those that are paused."""
    target = "" if found.schedule is None else found.schedule.topic
    return found._replace(paused=ALL in pauses or target in pauses)


def due_text(found: Found) -> str:
    """When it is due; what no calendar has is shown as the number it is."""
    if found.away is not None and found.pending.due_ms == 0:
        return "not known"  # folded without its schema
    if found.schedule is None and found.away is None:
        return "no schedule"
    return iso_time(found.pending.due_ms) or f"{found.pending.due_ms} ms"


def next_try_text(next_ms: int) -> str:
    """When the next attempt is."""
    return "at once" if next_ms == 0 else iso_time(next_ms) or f"{next_ms} ms"
