"""``scripts/hand-back``: what sky-uk's service needs on the schedule topics beside what kms leaves.

Its version 1 passes over tombstones with ``schedule:expired``, also while it loads, so what was
fired and is not compacted yet would fire again: each such id gets a plain null behind it. And all
its versions load until they see the record right before a partition's end. Behind kms's
transactions there is none, only a marker that no client sees, so each partition gets a record.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import confluent_kafka as ck

from kms.errors import KmsError
from kms.kafka.config import common_config
from kms.kafka.tail import TailRecord, read_all
from kms.kafka.values import TopicPartition
from kms.schedule import EXPIRED_HEADER
from kms.settings import Settings
from kms.settings_loading import load_settings

LAST_ID = b"kms-handed-back"

_READ_SECONDS = 600.0
_FLUSH_SECONDS = 60.0


def plain_nulls(records: Iterable[TailRecord]) -> Iterator[tuple[TopicPartition, bytes]]:
    """Under which ids a plain null has to be written on which partition."""
    fired: dict[tuple[TopicPartition, bytes], None] = {}
    partitions = set()
    for each in records:
        partitions.add(each.where)
        key = (each.where, each.key or b"")
        fired.pop(key, None)
        if each.value is None and any(name == EXPIRED_HEADER for name, _ in each.headers):
            fired[key] = None
    yield from fired
    yield from ((where, LAST_ID) for where in sorted(partitions))


def main() -> int:
    """Read the topics of the settings, write, and say how much; the exit code is 1 on failure."""
    try:
        settings = load_settings(required=["schedule_topics"])
        records = read_all(settings, settings.schedule_topics, _READ_SECONDS)
        wanted = list(plain_nulls(records))
        _write(settings, wanted)
    except KmsError as error:
        print(f"scripts/hand-back: {error}", file=sys.stderr)
        return 1
    ends = sum(key == LAST_ID for _, key in wanted)
    print(f"{len(wanted) - ends} fired schedules and {ends} partitions have a plain null now.")
    return 0


def _write(settings: Settings, wanted: Iterable[tuple[TopicPartition, bytes]]) -> None:
    failures: list[str] = []

    def on_delivery(error: ck.KafkaError | None, message: ck.Message) -> None:
        if error is not None:
            failures.append(f"{message.topic()}-{message.partition()}: {error.str()}")

    producer = ck.Producer({**common_config(settings), "enable.idempotence": True})
    for where, key in wanted:
        while True:
            try:
                producer.produce(where.topic, None, key, where.partition, on_delivery)
                break
            except BufferError:
                producer.poll(0.1)
    left = producer.flush(_FLUSH_SECONDS)
    if left or failures:
        raise KmsError(f"{left + len(failures)} records were not written: {failures[:1]}")


if __name__ == "__main__":
    sys.exit(main())
