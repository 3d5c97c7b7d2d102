"""Takes what is due out of the lanes, as much as may be sent."""

from __future__ import annotations

import math

from kms import times
from kms.claims import Claims, Position
from kms.due import Due
from kms.gate import Gate
from kms.store import Reader


class LaneSearch:
    """Looks into the lanes of all open partitions; for the scheduler thread."""

    def __init__(self, reader: Reader, claims: Claims, gate: Gate) -> None:
        self._reader = reader
        self._claims = claims
        self._gate = gate

    def take(self, now_ms: int, most: int) -> list[Due]:
        """Claim what is due and may be sent, ``most`` of a lane at most, the oldest first."""
        taken: list[Due] = []
        for lane in self._gate.lanes():
            room = self._gate.room(lane, most)
            if room:
                taken += self._take(lane, now_ms, room)
        return taken

    def next_ms(self) -> list[int]:
        """When to look again, for each lane that may be sent to."""
        found = []
        open_lanes = self._gate.open_lanes()[1:]
        lanes = self._gate.lanes()  # later: new ones come, and none goes
        for lane in open_lanes:
            starts = {number: self._claims.next_search(number, lane) for number in self._open()}
            dues_ms = [
                self._reader.next_due_ms(number, start, lane)
                for number, start in starts.items()
                if start is not None
            ]
            first_ms = min((due_ms for due_ms in dues_ms if due_ms is not None), default=None)
            if first_ms is not None:
                wait_ms = math.ceil(self._gate.rates.wait_seconds(lanes[lane]) * 1000)
                found.append(max(first_ms, times.now_ms() + wait_ms) if wait_ms else first_ms)
        return found

    def _take(self, lane: int, now_ms: int, room: int) -> list[Due]:
        found: dict[int, list[Due]] = {}
        starts: dict[int, Position] = {}
        for number in self._open():
            start = self._claims.start_of_search(number, lane)
            if start is not None:
                starts[number] = start
                found[number] = self._reader.due(number, start, now_ms, room, lane)
        every = sorted((due for dues in found.values() for due in dues), key=_position)
        # Without a limit all that was read is taken: it need not be read once more.
        chosen = {id(due) for due in (every[:room] if self._gate.has_limit(lane) else every)}
        taken: list[Due] = []
        for number, dues in found.items():
            ours = [due for due in dues if id(due) in chosen]
            end = _position(ours[-1]) if ours else starts[number]
            taken += self._claims.take(number, ours, end, lane)
        self._gate.took(lane, len(taken), was_all=len(every) < room)
        return taken

    def _open(self) -> list[int]:
        return self._claims.open_numbers()


def _position(due: Due) -> Position:
    return due.due_ms, due.offset
