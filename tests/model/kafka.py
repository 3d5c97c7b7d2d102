"""A Kafka small enough to think about: logs, a transaction coordinator, one consumer group.

What matters for delivery is kept as it is in Kafka 4: markers reach the logs and the group's
offsets one by one, offsets of a stale generation are refused, a new epoch fences. Client and
broker never lose a request here: a request that is lost is one that was not sent yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kms.schedule import Header
from tests.model.group import Group
from tests.model.log import Firing, Log, Transaction

TOPIC, TARGET, TOPIC_ID, CLUSTER_ID = "schedules", "target", "topic-id", "cluster-id"


class FencedEpochError(Exception):
    """PRODUCER_FENCED: a newer epoch of this transactional id exists."""


class BusyError(Exception):
    """CONCURRENT_TRANSACTIONS: the markers of the last transaction are not all written."""


class Kafka:
    """The cluster: the logs, the group, and the transaction coordinator.

    ``committed`` is told of every transaction that is decided to be committed.
    """

    def __init__(self, partitions: int, committed: Callable[[Transaction], None]) -> None:
        self.schedules = [Log(f"p{number}") for number in range(partitions)]
        self.target = Log("target")
        self.group = Group()
        self.running: dict[str, Transaction] = {}  # by transactional id, until fully marked
        self.slow_markers = False
        self._committed = committed
        self._epochs: dict[str, int] = {}

    def start(self, owner: str) -> int | None:
        """InitProducerId: the new epoch, or None while an older transaction is on its way out."""
        txn = self.running.get(owner)
        if txn is not None:
            if txn.committed is None:
                self.time_out(owner)
            if owner in self.running:
                return None
        self._epochs[owner] = self._epochs.get(owner, 0) + 1
        return self._epochs[owner]

    def produce(
        self,
        owner: str,
        epoch: int,
        log: Log,
        record: tuple[bytes, bytes | None, Sequence[Header]],
        firing: Firing | None,
    ) -> int:
        """Append a record of the running transaction, or of a new one."""
        txn = self._open(owner, epoch)
        txn.touch(log)
        if firing is not None:
            txn.firings.append(firing)
        return log.append(*record, txn)

    def send_offsets(
        self, owner: str, epoch: int, member: str, generation: int, parts: Iterable[int]
    ) -> None:
        """AddOffsetsToTxn and TxnOffsetCommit."""
        txn = self._open(owner, epoch)
        txn.touch(self.group)
        self.group.commit(txn, member, generation, parts)

    def end(self, owner: str, epoch: int, *, commit: bool) -> None:
        """EndTxn: answered once it is decided; the markers follow."""
        self._check(owner, epoch)
        txn = self.running.get(owner)
        if txn is not None and txn.committed is None:
            self._decide(txn, commit)

    def time_out(self, owner: str) -> None:
        """The coordinator aborts an open transaction, and fences who began it."""
        self._epochs[owner] += 1
        self._decide(self.running[owner], False)

    def write_marker(self, txn: Transaction, which: int) -> str:
        """Write one of a decided transaction's markers; answers where."""
        destination = txn.unmarked.pop(which % len(txn.unmarked))
        destination.mark(txn)
        if not txn.unmarked:
            del self.running[txn.owner]
        return destination.name

    def _open(self, owner: str, epoch: int) -> Transaction:
        self._check(owner, epoch)
        txn = self.running.setdefault(owner, Transaction(owner))
        if txn.committed is not None:
            raise BusyError
        return txn

    def _check(self, owner: str, epoch: int) -> None:
        if self._epochs[owner] != epoch:
            raise FencedEpochError

    def _decide(self, txn: Transaction, commit: bool) -> None:
        txn.committed = commit
        if commit:
            self._committed(txn)
        while txn.unmarked and not self.slow_markers:
            self.write_marker(txn, 0)
