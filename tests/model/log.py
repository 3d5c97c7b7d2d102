"""A partition: a log with transactions, their markers, and compaction.

Markers take offsets and reach the logs one by one; a reader sees what lies before the last stable
offset; a tombstone is kept for a while after it was cleaned for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kms.schedule import Header, Record


@dataclass(frozen=True)
class Firing:
    """A target message, and what its sender knew when its transaction began at ``began_ms``.

    ``seen`` is the offset up to which it had folded the partition, or should have; ``read`` are
    the offsets before it that compaction had left for it to read. ``occurrence`` counts from 0.
    """

    version: int
    seen: int
    read: frozenset[int]
    began_ms: int
    by: str
    occurrence: int = 0


class Destination(Protocol):
    """Whatever a transaction's marker is written to."""

    name: str

    def mark(self, txn: Transaction) -> None: ...


@dataclass(eq=False)
class Transaction:
    """``committed`` None: open. ``unmarked``: where its marker is still to be written."""

    owner: str
    committed: bool | None = None
    unmarked: list[Destination] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)

    def touch(self, destination: Destination) -> None:
        if destination not in self.unmarked:
            self.unmarked.append(destination)


@dataclass
class Entry:
    """A record in a log; a tombstone that was cleaned once is kept until ``horizon_ms``."""

    record: Record
    txn: Transaction | None
    horizon_ms: int | None = None


class Log:
    """A partition. ``end`` is the high watermark."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.end = 0
        self.entries: list[Entry] = []
        self._aborted: list[Entry] = []
        self._open: dict[Transaction, int] = {}

    @property
    def stable_end(self) -> int:
        """The last stable offset: where the first open transaction begins."""
        return min(self._open.values(), default=self.end)

    def append(
        self,
        key: bytes,
        value: bytes | None,
        headers: Sequence[Header] = (),
        txn: Transaction | None = None,
    ) -> int:
        """Append a record, of a transaction or not; answers its offset."""
        offset = self.end
        self.entries.append(Entry(Record(offset, key, value, tuple(headers)), txn))
        self.end += 1
        if txn is not None:
            self._open.setdefault(txn, offset)
        return offset

    def mark(self, txn: Transaction) -> None:
        """Write a marker. It takes an offset; what was aborted is never delivered."""
        self.end += 1
        self._open.pop(txn, None)
        if not txn.committed:
            self._aborted += [entry for entry in self.entries if entry.txn is txn]
            self.entries = [entry for entry in self.entries if entry.txn is not txn]

    def read(self, position: int, limit: int) -> tuple[list[Record], int, bool]:
        """What a read_committed reader gets, its next position, and whether that is the end."""
        stable_end = self.stable_end
        found = [it.record for it in self.entries if position <= it.record.offset < stable_end]
        if len(found) > limit:
            return found[:limit], found[limit - 1].offset + 1, False
        return found, max(position, stable_end), True

    def stable(self) -> list[Record]:
        """All that can be read."""
        return self.read(0, self.end)[0]

    def keys(self, start: int) -> list[bytes]:
        """What a read_uncommitted reader finds from ``start`` on: the ids of whatever lies there.

        That the cleaner takes out what was aborted as well is left out: it lies near the end.
        """
        records = [entry.record for entry in self.entries + self._aborted]
        return [record.id for record in records if record.offset >= start]

    def clean(self, up_to: int, unread: int, now_ms: int, retention_ms: int) -> int:
        """Compact what lies before ``up_to``; answers how many records went.

        A tombstone goes ``retention_ms`` after it was cleaned for the first time, unless it is
        ``unread`` or later.
        """
        up_to = min(up_to, self.stable_end)
        newest = {it.record.id: it for it in self.entries if it.record.offset < up_to}
        kept = []
        for entry in self.entries:
            record = entry.record
            if record.offset >= up_to:
                kept.append(entry)
            elif entry is newest[record.id]:
                if record.value is None and record.offset < unread:
                    if entry.horizon_ms is None:
                        entry.horizon_ms = now_ms + retention_ms
                    elif now_ms >= entry.horizon_ms:
                        continue
                kept.append(entry)
        gone = len(self.entries) - len(kept)
        self.entries = kept
        return gone
