"""Whether what is due may be fired now: its target topic may be paused, or have a limit.

What may not waits in the lane of its target topic, which is looked at on its own: so it is in
nobody's way, and needs no memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from enum import Enum

from kms import times
from kms.due import Due
from kms.errors import BadHeaderError
from kms.kinds import kind_of
from kms.pauses import Pauses
from kms.rates import Rates

_MOST_HELD = 10_000  # on their way into a lane


class Verdict(Enum):
    """What is to be done with a schedule that is due."""

    FIRE = "fire"
    SKIP = "skip"  # it fell due in a pause of which nothing is to be fired
    HOLD = "hold"  # into the lane of its target topic
    LATER = "later"  # where it is


class Gate:
    """Judges what is due, and takes what is held from the producer to the store's writer.

    Safe from any thread. ``lanes`` are those that the cache has already, by number.
    """

    def __init__(
        self,
        pauses: Pauses | None = None,
        rates: Rates | None = None,
        lanes: Mapping[int, str] | None = None,
    ) -> None:
        self.pauses = pauses or Pauses()
        self.rates = rates or Rates({})
        self._lock = threading.Lock()
        self._lanes = dict(lanes or {})
        self._numbers = {topic: lane for lane, topic in self._lanes.items()}
        self._backlog = set(self._lanes.values())  # topics of whom some may wait in their lane
        self._held: list[tuple[Due, str]] = []

    def lanes(self) -> Mapping[int, str]:
        """The lanes that there are: their numbers, and whose they are."""
        with self._lock:
            return dict(self._lanes)

    def open_lanes(self) -> list[int]:
        """The lanes that may fire, 0 among them if anything may at all."""
        if self.pauses.all_are():
            return []
        lanes = self.lanes().items()
        return [0, *(lane for lane, topic in lanes if not self.pauses.is_paused(topic))]

    def is_open(self) -> bool:
        """Whether everything may fire: nothing has to be judged then."""
        # In this order: a pause that ends with some to be skipped is first among both, and then
        # among those alone.
        paused = self.pauses.since_ms()
        return not (paused or self.rates.limits or self.pauses.any_skipped)

    def judge(self, due: Due, target: str) -> Verdict:
        """What to do with it now; where that is to fire, what its limit leaves is taken."""
        # What failed comes by another way, even if it was in a lane before.
        out_of_lane = due.lane > 0 and due.tried is None
        if self.pauses.is_paused(target):
            # With all of them paused nothing is looked for, so nothing would be in the way.
            waits = out_of_lane or self.pauses.all_are()
            return Verdict.LATER if waits else Verdict.HOLD
        if self.pauses.skips(target, due.due_ms, due.written_ms):
            return Verdict.SKIP
        # What was taken out of a lane had room then. The others don't overtake who waits there.
        if out_of_lane or target not in self.rates.limits or _is_late(due):
            return Verdict.FIRE
        if due.tried is not None:
            return Verdict.FIRE if self.rates.take(target, 1) else Verdict.LATER
        if target not in self._backlog and self.rates.take(target, 1):
            return Verdict.FIRE
        return Verdict.HOLD

    def room(self, lane: int, most: int) -> int:
        """How many of a lane may be taken now, ``most`` at most."""
        topic = self._lanes[lane]
        if self.pauses.is_paused(topic):
            return 0
        room = self.rates.room(topic)
        return most if room is None else min(room, most)

    def has_limit(self, lane: int) -> bool:
        """Whether no more than there is room for may be taken out of it."""
        return self._lanes[lane] in self.rates.limits

    def may_hold_skipped(self, lane: int) -> bool:
        """Whether some of a lane may be of a pause of which nothing is to be fired."""
        return self.has_limit(lane) and self.pauses.any_skipped

    def needs_room(self, lane: int, due: Due) -> bool:
        """Whether this one of a lane is to be sent: what is skipped or too late is not."""
        skips = self.pauses.any_skipped and self.pauses.skips(
            self._lanes[lane], due.due_ms, due.written_ms
        )
        return not (skips or _is_late(due))

    def took(self, lane: int, count: int, *, was_all: bool) -> None:
        """So many were taken out of a lane to be sent; ``was_all`` that were there."""
        topic = self._lanes[lane]
        self.rates.spend(topic, count)
        if was_all:
            with self._lock:
                if not any(target == topic for _, target in self._held):
                    self._backlog.discard(topic)

    def hold(self, held: Iterable[tuple[Due, str]]) -> None:
        """These are to wait in the lanes of their target topics; their claims stay until then."""
        with self._lock:
            found = list(held)
            self._held += found
            self._backlog.update(target for _, target in found)

    def is_full(self) -> bool:
        """Whether so many are on their way into lanes that no more should be taken."""
        return len(self._held) > _MOST_HELD

    def held(self) -> dict[tuple[int, str], list[Due]]:
        """What was held since the last call, by lane and target topic; new ones get a lane."""
        with self._lock:
            taken, self._held = self._held, []
            found: dict[tuple[int, str], list[Due]] = {}
            for due, target in taken:
                if target not in self._numbers:
                    lane = max(self._lanes, default=0) + 1
                    self._numbers[target], self._lanes[lane] = lane, target
                found.setdefault((self._numbers[target], target), []).append(due)
            return found


def _is_late(due: Due) -> bool:
    """Whether only its end will be written."""
    try:
        kind = kind_of(due.headers)
    except BadHeaderError:
        return False  # it is found out where it is decoded
    return kind is not None and bool(kind.why_late(due.due_ms, times.now_ms()))
