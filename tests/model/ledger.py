"""The oracle: what users wrote, what was fired, and which firings were wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from tests.model.log import Firing, Transaction
from tests.model.steps import HOUR_MS

Key = tuple[int, bytes]  # partition and schedule id


@dataclass(frozen=True)
class Write:
    """What a user wrote under an id; ``version`` None cancels. It recurs ``times`` times."""

    offset: int
    version: int | None = None
    due_ms: int = 0
    times: int = 1


class Ledger:
    """Judges each firing when its transaction is decided.

    Each occurrence of a version may be fired once, not before its time, and not by a transaction
    that began when its instance had seen what the user wrote after it: had folded it, or had taken
    the partition over when it was stable already. What compaction had taken out before it was read
    counts, unless a later write, that was not read yet either, is what it gave way to.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._writes: dict[Key, list[Write]] = defaultdict(list)
        self._keys: dict[int, Key] = {}
        self._fired: Counter[tuple[int, int]] = Counter()  # by version and occurrence

    def is_known(self, key: Key) -> bool:
        """Whether anything was written under it."""
        return key in self._writes

    def wrote(self, key: Key, write: Write) -> None:
        """A user wrote this; what they wrote before under the same id needs no firing."""
        self._writes[key].append(write)
        if write.version is not None:
            self._keys[write.version] = key

    def committed(self, txn: Transaction) -> None:
        """What this transaction fired is fired."""
        for firing in txn.firings:
            self._fired[firing.version, firing.occurrence] += 1
            self._judge(firing)

    def lost(self) -> list[str]:
        """What is the newest under its id and was never fired, or not as often as it should."""
        newest = [writes[-1] for writes in self._writes.values()]
        return [
            f"v{it.version} is never fired" if not number else f"v{it.version} ends at {number}"
            for it in newest
            if it.version is not None
            for number in range(it.times)
            if not self._fired[it.version, number]
        ]

    def _judge(self, firing: Firing) -> None:
        name, key = f"v{firing.version}", self._keys[firing.version]
        own = next(it for it in self._writes[key] if it.version == firing.version)
        writes = self._writes[key]
        later = [it for it in writes if own.offset < it.offset < firing.seen]
        if writes[-1].offset >= firing.seen:
            later = [it for it in later if it.offset in firing.read]
        if self._fired[firing.version, firing.occurrence] > 1:
            self.wrong.append(f"{name} is fired twice")
        if firing.occurrence >= own.times:
            self.wrong.append(f"{name} is fired too often")
        if own.due_ms + firing.occurrence * HOUR_MS > firing.began_ms:
            self.wrong.append(f"{name} is fired before its time")
        if later:
            done = "cancelled" if later[0].version is None else "updated"
            self.wrong.append(
                f"{name} is fired, {done} at p{key[0]}@{later[0].offset}: when it began, "
                f"{firing.by} had seen all before p{key[0]}@{firing.seen}"
            )
