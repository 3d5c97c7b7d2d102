"""What this instance owns at the moment: written by the consumer, read by the producer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kms.due import Due
from kms.errors import AbortTransactionError
from kms.formats import Format
from kms.kafka import TopicPartition
from kms.schedule import Schedule


@dataclass
class OwnedPartition:
    """An assigned partition; ``number`` names it in the store and in the claims.

    ``next_offset`` is the first offset not yet folded and committed to the store.
    """

    number: int
    where: TopicPartition
    topic_id: str
    next_offset: int
    form: Format


class Snapshot(NamedTuple):
    """What was owned at one moment: the group's metadata, and how far each partition was folded."""

    group_metadata: Any
    next_offsets: dict[TopicPartition, int]


@dataclass
class Assignment:
    """The owned partitions by number, and the group's metadata as of the consumer's last poll.

    Reading and replacing single entries is atomic in Python; nothing here needs a lock, for the
    group coordinator judges whether what was read is still true.
    """

    group_metadata: Any = None
    partitions: dict[int, OwnedPartition] = field(default_factory=dict)
    total: int = 0  # of all schedule topics, how many partitions there are; 0 if not known yet

    def snapshot(self) -> Snapshot:
        """As of now; what is claimed after this call is true of these offsets or later ones."""
        metadata = self.group_metadata  # first: partitions that go away move the group on
        owned = list(self.partitions.values())
        return Snapshot(metadata, {part.where: part.next_offset for part in owned})

    def share(self) -> float:
        """Which part of all partitions is owned, from 0 to 1."""
        return min(len(self.partitions) / self.total, 1.0) if self.total else 1.0

    def decode(self, due: Due) -> Schedule:
        """What a claimed record says, by the format of its topic; FormatError if nothing.

        AbortTransactionError if its partition was given up.
        """
        return self.owned(due).form.decode(due)

    def owned(self, due: Due) -> OwnedPartition:
        """Where a schedule belongs; raises AbortTransactionError if that was given up."""
        found = self.partitions.get(due.number)
        if found is None:
            raise AbortTransactionError("a partition was given up meanwhile")
        return found

    def offsets(self, numbers: Iterable[int]) -> dict[TopicPartition, int]:
        """The consumer's offsets of these partitions, those that were given up left out."""
        owned = [self.partitions.get(number) for number in numbers]
        return {part.where: part.next_offset for part in owned if part is not None}
