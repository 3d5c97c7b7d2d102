"""Pauses of target topics: what is asked for in the control topic, and what follows from it.

The control topic is compacted. A record's key names the consumer group and the target topic, or
all of them; its value says since when that is paused, and of which pauses before it what fell due
is not to be fired. So every instance knows, also one that was down when it was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kms.errors import FormatError

ALL = "*"  # no topic can have this name

_MOST_SKIPPED = 50  # pauses before this one that are remembered


class Stretch(NamedTuple):
    """From the first to the last of these moments (epoch ms)."""

    first_ms: int
    last_ms: int


class Pause(NamedTuple):
    """What was asked for one target topic, or for all; not paused where ``since_ms`` is None.

    What fell due in a stretch that is ``skipped`` is not fired, wherever it still is.
    """

    since_ms: int | None = None
    skipped: tuple[Stretch, ...] = ()

    def paused(self, now_ms: int) -> Pause:
        """The same, paused from now on, if it is not already."""
        return self if self.since_ms is not None else self._replace(since_ms=now_ms)

    def resumed(self, now_ms: int, *, skip: bool) -> Pause:
        """The same, not paused; with ``skip`` without what fell due meanwhile."""
        if self.since_ms is None or not skip:
            return self._replace(since_ms=None)
        stretch = Stretch(self.since_ms, now_ms)
        return Pause(None, (*self.skipped, stretch)[-_MOST_SKIPPED:])


NOT_PAUSED = Pause()


def named_target(target: str) -> str:
    """A target topic, or ALL, as part of a sentence."""
    return "all target topics" if target == ALL else f"target topic {target}"


def resuming(target: str) -> str:
    """The command that resumes a target topic, or ALL."""
    return f"python kms.py resume {'--all' if target == ALL else target}"


def paused_since_ms(found: Mapping[str, Pause]) -> dict[str, int]:
    """Since when (epoch ms), by target topic or ALL; only those that are paused."""
    return {target: it.since_ms for target, it in found.items() if it.since_ms is not None}


def key_of(group: str, target: str) -> bytes:
    """The key of a control record."""
    return json.dumps({"group": group, "target": target}).encode()


def target_of(key: bytes | None, group: str) -> str | None:
    """Whose record it is; None of another group's. Raises FormatError if it is nobody's."""
    try:
        found = json.loads(key or b"")
        theirs, target = found["group"], found["target"]
        str(target).encode()  # it is kept in the cache
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(f"its key is none of kms: {error}") from error
    if not isinstance(target, str):
        raise FormatError("its key names no target topic")
    return target if theirs == group else None


def value_of(pause: Pause) -> bytes:
    """The value of a control record."""
    return json.dumps({"since_ms": pause.since_ms, "skipped": pause.skipped}).encode()


def pause_of(value: bytes | None) -> Pause:
    """What a control record says; nothing is paused by a null. Raises FormatError."""
    if value is None:
        return NOT_PAUSED
    try:
        found = json.loads(value)
        since_ms, skipped = found["since_ms"], found["skipped"]
        stretches = tuple(Stretch(_moment(first), _moment(last)) for first, last in skipped)
        return Pause(None if since_ms is None else _moment(since_ms), stretches)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise FormatError(f"its value is none of kms: {error}") from error


def _moment(value: object) -> int:
    found = int(value)  # type: ignore[call-overload]
    if not 0 <= found < 2**63:
        raise ValueError(f"{str(value)[:40]} is no time")
    return int(found)


class Pauses:
    """What is paused now; replaced as a whole by one thread, asked by any.

    ``known`` is False until the control topic has been read: nothing may fire before. ``changed``
    is called whenever that, or what is paused, is another.
    """

    def __init__(self, *, known: bool = True) -> None:
        self.known = known
        self.changed: Callable[[], None] = lambda: None
        self._found: Mapping[str, Pause] = {}
        self._all = NOT_PAUSED
        self.any_skipped = False

    def replace(self, found: Mapping[str, Pause]) -> None:
        """From now on it is this, by target topic."""
        any_skipped = any(each.skipped for each in found.values())
        # First, if there are: who asks meanwhile must not find it all open.
        self.any_skipped = self.any_skipped or any_skipped
        self._found, self._all = dict(found), found.get(ALL, NOT_PAUSED)
        self.any_skipped = any_skipped
        self.known = True
        self.changed()

    def since_ms(self) -> dict[str, int]:
        """Since when (epoch ms), by target topic or ALL; only those that are paused."""
        return paused_since_ms(self._found)

    def all_are(self) -> bool:
        """Whether every target topic is paused."""
        return self._all.since_ms is not None

    def is_paused(self, target: str) -> bool:
        """Whether nothing may be sent to this one, also because nothing may to any."""
        found = self._found.get(target)
        return self.all_are() or (found is not None and found.since_ms is not None)

    def skips(self, target: str, due_ms: int, written_ms: int) -> bool:
        """Whether it fell due in a pause that is skipped, and was written before its end."""
        return any(
            first_ms <= due_ms <= last_ms and written_ms <= last_ms
            for each in (self._found.get(target, NOT_PAUSED), self._all)
            for first_ms, last_ms in each.skipped
        )
