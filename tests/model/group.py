"""The consumer group, as its coordinator sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.model.log import Transaction


class StaleMemberError(Exception):
    """ILLEGAL_GENERATION or UNKNOWN_MEMBER_ID: the group went on without this member."""


@dataclass
class Seat:
    """A member of the group: what it was given by the last rebalance, and what it still holds."""

    name: str
    generation: int = -1
    assigned: frozenset[int] = frozenset()
    held: set[int] = field(default_factory=set)
    told: bool = True  # whether its application has dealt with what it was given


class Group:
    """The group coordinator, with cooperative rebalancing and pending offsets (KIP-447)."""

    def __init__(self) -> None:
        self.name = "offsets"
        self.generation = 0
        self.seats: dict[str, Seat] = {}
        self._pending: dict[Transaction, set[int]] = {}
        self._ids = 0

    def join(self, name: str, *, static: bool) -> str:
        """Take a seat, the old one of this name if members are static; answers the member id."""
        self._ids += 1
        member = f"{name}{self._ids}"
        old = next((it for it, seat in self.seats.items() if seat.name == name), None)
        if static and old is not None:
            # No new generation: the seat changes hands as it is, and the old id is fenced.
            seat = self.seats.pop(old)
            told = not seat.assigned
            self.seats[member] = Seat(name, seat.generation, seat.assigned, told=told)
        else:
            self.seats[member] = Seat(name)
        return member

    def can_rebalance(self) -> bool:
        """Every member has to rejoin, and none does before it dealt with the last one."""
        return bool(self.seats) and all(seat.told for seat in self.seats.values())

    def rebalance(self, wanted: Sequence[int]) -> None:
        """Give partition p to the member number ``wanted[p]``, once nobody else holds it."""
        self.generation += 1
        members = sorted(self.seats)
        for number, member in enumerate(members):
            seat = self.seats[member]
            others = [it.held for it in self.seats.values() if it is not seat]
            seat.generation = self.generation
            seat.assigned = frozenset(
                partition
                for partition, want in enumerate(wanted)
                if want % len(members) == number and not any(partition in held for held in others)
            )
            seat.told = seat.assigned == seat.held

    def commit(self, txn: Transaction, member: str, generation: int, parts: Iterable[int]) -> None:
        """TxnOffsetCommit: the offsets are pending until the transaction ends."""
        seat = self.seats.get(member)
        empty = all(it.generation < 0 for it in self.seats.values())
        if not (generation < 0 and empty) and (seat is None or generation != self.generation):
            raise StaleMemberError
        self._pending.setdefault(txn, set()).update(parts)

    def is_stable(self, parts: Iterable[int]) -> bool:
        """Whether a look-up of these offsets that wants stable ones is answered."""
        return not any(pending.intersection(parts) for pending in self._pending.values())

    def mark(self, txn: Transaction) -> None:
        """The transaction ended: its offsets are stable, or forgotten."""
        self._pending.pop(txn, None)
