"""An assigned partition while it is folded: its position, and whether it may fire."""

from __future__ import annotations

from kms.assignment import OwnedPartition
from kms.formats import Format
from kms.kafka import TopicPartition
from kms.store import Checkpoint, PartitionRows


class FoldingPartition:
    """The consumer's own record of one assigned partition; for the consumer thread.

    ``next_offset`` runs ahead of what the store has until ``committed`` is called. ``target`` is
    the offset to fold up to before anything fires, None until it is known.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        rows: PartitionRows,
        high_watermark: int,
        retention_ms: int,
        form: Format,
    ) -> None:
        self.where = TopicPartition(checkpoint.topic, checkpoint.partition)
        self.number = checkpoint.number
        self.topic_id = checkpoint.topic_id
        self.rows = rows
        self.next_offset = self.started_at = checkpoint.next_offset
        self.seen_ms = self._written_seen_ms = checkpoint.seen_ms
        self.target: int | None = None
        self.ready = False
        self._stable_end: tuple[int, int] | None = None
        self.due_of = form.due_of
        self.owned = OwnedPartition(self.number, self.where, self.topic_id, self.next_offset, form)
        self._high_watermark = high_watermark
        self._retention_ms = retention_ms

    def reached(self, end_offset: int) -> None:
        """The end was reported here: transaction markers before it are never delivered."""
        self.next_offset = max(self.next_offset, end_offset)

    def stable_end(self, end_offset: int, asked_ms: int) -> None:
        """The log's stable end lay here when it was asked for, at ``asked_ms``."""
        if self._stable_end is None:
            self._stable_end = end_offset, asked_ms

    def confirm(self) -> None:
        """Once all of that is folded, the fold is known to have been true then."""
        if self._stable_end is not None and self.next_offset >= self._stable_end[0]:
            self.seen_ms = max(self.seen_ms, self._stable_end[1])
            self._stable_end = None

    def is_folded(self) -> bool:
        """Whether everything that must be known before firing is known."""
        return self.target is not None and self.next_offset >= self.target

    def is_stale(self, now_ms: int) -> bool:
        """Whether tombstones may be gone that were never read here; no, where nobody can know."""
        return 0 < self._retention_ms <= now_ms - self.seen_ms

    def is_dirty(self) -> bool:
        """Whether the store does not have all of this yet."""
        return (
            bool(self.rows.changed)
            or self.next_offset != self.owned.next_offset
            or self.seen_ms != self._written_seen_ms
        )

    def committed(self, next_offset: int, seen_ms: int) -> None:
        """The store has it all up to this offset, and knows that it was seen then."""
        self.owned.next_offset = next_offset
        self._written_seen_ms = seen_ms

    def left(self) -> int:
        """How many offsets there are still to fold, as far as is known."""
        return max((self.target or self._high_watermark) - self.next_offset, 0)
