"""Dead letters back on the schedule topics they came from, each of them once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kms.errors import AbortTransactionError, KafkaError, RetriableKafkaError
from kms.failures import LETTER_HEADERS, SOURCE_OFFSET, SOURCE_PARTITION, SOURCE_TOPIC
from kms.kafka import TailRecord, TopicPartition, TransactionalWriter
from kms.schedule import Header
from kms.settings import Settings

REDRIVEN_HEADER = "kms-redriven"

_BATCH = 500


class DeadLetter(NamedTuple):
    """A record that was given up: as it was, where it lay, and why it was given up."""

    id: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    where: TopicPartition
    offset: int
    reason: str


def dead_letters(records: Iterable[TailRecord]) -> list[DeadLetter]:
    """The letters among the records of a dead-letter topic that were not put back yet, in order.

    What is no letter of kms is passed over.
    """
    found: dict[tuple[TopicPartition, int], DeadLetter] = {}
    for record in records:
        letter = _letter(record)
        if letter is None:
            continue
        if dict(record.headers).get(REDRIVEN_HEADER) is None:
            found[letter.where, letter.offset] = letter
        else:
            found.pop((letter.where, letter.offset), None)
    return list(found.values())


def put_back(settings: Settings, letters: Sequence[DeadLetter]) -> None:
    """Write them to their partitions, and to the dead-letter topic that they were.

    Both in one transaction, so that no letter is put back twice, however this ends. Raises
    KafkaError where Kafka refuses one; those of the batches before it are back.
    """
    topic = settings.kms_dead_letter_topic
    assert topic is not None
    writer = TransactionalWriter(settings, "redrive")
    writer.start(lambda: True)
    for start in range(0, len(letters), _BATCH):
        writer.begin()
        try:
            for letter in letters[start : start + _BATCH]:
                writer.produce(
                    letter.where.topic,
                    letter.id,
                    letter.value,
                    letter.headers,
                    tag=letter,
                    partition=letter.where.partition,
                )
                writer.produce(topic, letter.id, None, _marker(letter), tag=letter)
            writer.commit({}, None)
        except (AbortTransactionError, RetriableKafkaError) as error:
            writer.abort()
            refused = writer.refused()
            raise KafkaError(str(refused[0].error if refused else error)) from error


def _letter(record: TailRecord) -> DeadLetter | None:
    said = dict(record.headers)
    own = tuple(header for header in record.headers if header[0] not in LETTER_HEADERS)
    try:
        topic, partition, offset = (
            (said[name] or b"").decode() for name in (SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET)
        )
        where = TopicPartition(topic, int(partition))
        reason = (said["kms-reason"] or b"").decode()
        return DeadLetter(record.key, record.value, own, where, int(offset), reason)
    except (KeyError, ValueError):
        return None


def _marker(letter: DeadLetter) -> list[Header]:
    return [
        (SOURCE_TOPIC, letter.where.topic.encode()),
        (SOURCE_PARTITION, b"%d" % letter.where.partition),
        (SOURCE_OFFSET, b"%d" % letter.offset),
        ("kms-reason", letter.reason.encode()),
        (REDRIVEN_HEADER, b"true"),
    ]
