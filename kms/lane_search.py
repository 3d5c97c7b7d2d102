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
        self._more: set[int] = set()  # lanes where more may come that needs no room

    def take(self, now_ms: int, most: int) -> list[Due]:
        """Claim what is due and may be sent, ``most`` of a lane at most, the oldest first.

        What is to be skipped, or comes too late, is not sent and needs no room.
        """
        taken: list[Due] = []
        self._more.clear()
        for lane in self._gate.open_lanes()[1:]:
            room = self._gate.room(lane, most)
            if room or self._gate.may_hold_skipped(lane):
                taken += self._take(lane, now_ms, room, most)
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
                wait_seconds = self._gate.rates.wait_seconds(lanes[lane])
                wait_ms = 0 if lane in self._more else math.ceil(wait_seconds * 1000)
                found.append(max(first_ms, times.now_ms() + wait_ms) if wait_ms else first_ms)
        return found

    def _take(self, lane: int, now_ms: int, room: int, most: int) -> list[Due]:
        starts = self._starts(lane)
        limit = max(room, 1)
        every = self._due(lane, starts, now_ms, limit)
        if every and limit < most and not self._gate.needs_room(lane, every[0]):
            limit = most
            every = self._due(lane, starts, now_ms, limit)
        chosen, unsent = self._chosen(lane, every, room)
        took_all, may_be_more = len(chosen) == len(every), len(every) >= limit
        if unsent and took_all and may_be_more:
            self._more.add(lane)
        ours: dict[int, list[Due]] = {number: [] for number in starts}
        for due in chosen:
            ours[due.number].append(due)
        taken: list[Due] = []
        for number, start in starts.items():
            end = _position(ours[number][-1]) if ours[number] else start
            taken += self._claims.take(number, ours[number], end, lane)
        sent = sum(id(due) not in unsent for due in taken)
        self._gate.took(lane, sent, was_all=took_all and not may_be_more)
        return taken

    def _starts(self, lane: int) -> dict[int, Position]:
        found = {number: self._claims.start_of_search(number, lane) for number in self._open()}
        return {number: start for number, start in found.items() if start is not None}

    def _due(self, lane: int, starts: dict[int, Position], now_ms: int, limit: int) -> list[Due]:
        found = [
            due
            for number, start in starts.items()
            for due in self._reader.due(number, start, now_ms, limit, lane)
        ]
        return sorted(found, key=_position)

    def _chosen(self, lane: int, every: list[Due], room: int) -> tuple[list[Due], set[int]]:
        """As many as there is room for, and which of them (``id``) are not sent and need none."""
        unsent: set[int] = set()
        if not self._gate.has_limit(lane):
            return every, unsent  # all that was read: it need not be read once more
        chosen: list[Due] = []
        for due in every:
            if not self._gate.needs_room(lane, due):
                unsent.add(id(due))
            elif len(chosen) - len(unsent) == room:
                break
            chosen.append(due)
        return chosen, unsent

    def _open(self) -> list[int]:
        return self._claims.open_numbers()


def _position(due: Due) -> Position:
    return due.due_ms, due.offset
