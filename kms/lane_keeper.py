"""Lets what is held back wait in its lane, and keeps what is paused for those who look."""

from __future__ import annotations

from kms.claims import Claims
from kms.due import Due
from kms.gate import Gate
from kms.store import Writer


class LaneKeeper:
    """Writes what the gate holds into the store; for the consumer thread."""

    def __init__(self, writer: Writer, claims: Claims, gate: Gate | None = None) -> None:
        self._writer = writer
        self._claims = claims
        self._gate = gate or Gate()
        self._written: dict[str, int] | None = None

    def are_full(self) -> bool:
        """Whether so many are on their way into lanes that no more are taken."""
        return self._gate.is_full()

    def turn(self) -> None:
        """Write what is new; the writer must be free."""
        for (lane, topic), held in self._gate.held().items():
            self._writer.set_aside(lane, topic, held)
            # In this order: while it is claimed nobody takes it, whether here or there.
            self._claims.release(held)
            for number in {due.number for due in held}:
                self._claims.stored(number, _earliest(held, number), lane)
        if self._gate.pauses.known:
            since_ms = self._gate.pauses.since_ms()
            if since_ms != self._written:
                self._writer.remember_pauses(since_ms)
                self._written = since_ms


def _earliest(held: list[Due], number: int) -> tuple[int, int]:
    return min((due.due_ms, due.offset) for due in held if due.number == number)
