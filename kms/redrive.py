"""Dead letters back on the schedule topics they came from, each of them once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from kms.errors import KafkaError, UndeliverableError
from kms.failures import LETTER_HEADERS, SOURCE_OFFSET, SOURCE_PARTITION, SOURCE_TOPIC
from kms.kafka import TailRecord, TopicPartition, TransactionalWriter
from kms.schedule import Header
from kms.settings import Settings

REDRIVEN_HEADER = "kms-redriven"

_BATCH = 500


class DeadLetter(NamedTuple):
    """A record that was given up: as it was, where it lay, why, and where its letter lies."""

    id: bytes
    value: bytes | None
    headers: tuple[Header, ...]
    where: TopicPartition
    offset: int
    reason: str
    lies_on: TopicPartition


def dead_letters(records: Iterable[TailRecord]) -> list[DeadLetter]:
    """The letters among the records of a dead-letter topic that can be and were not put back.

    In order. Passed over is what is no letter of kms, and what has no key: a compacted topic
    takes no such record.
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
    KafkaError that names the letter which Kafka refuses; those of the batches before it are back.
    """
    writer = TransactionalWriter(settings, "redrive")
    writer.start(lambda: True)
    for start in range(0, len(letters), _BATCH):
        writer.begin()
        letter = None
        try:
            for letter in letters[start : start + _BATCH]:
                _produce(writer, letter)
            writer.commit({}, None)
        except KafkaError as error:
            writer.abort()  # or it would hold up the readers of these topics
            reason = error
            for found in writer.refused():
                if isinstance(found.error, UndeliverableError):
                    letter, reason = cast(DeadLetter, found.tag), found.error
            which = f"{letter.id!r} of {letter.where}, " if letter is not None else ""
            raise KafkaError(
                f"{which}{reason}. Nothing of this batch was put back: leave it out with --id, "
                "--reason or --topic."
            ) from error


def _produce(writer: TransactionalWriter, letter: DeadLetter) -> None:
    (topic, partition), (dead_letters, lies_on) = letter.where, letter.lies_on
    headers, marker = letter.headers, _marker(letter)
    writer.produce(topic, letter.id, letter.value, headers, tag=letter, partition=partition)
    # Behind the letter itself, so that whoever reads on finds them in this order.
    writer.produce(dead_letters, letter.id, None, marker, tag=letter, partition=lies_on)


def _letter(record: TailRecord) -> DeadLetter | None:
    said = dict(record.headers)
    if record.key is None:
        return None
    own = tuple(header for header in record.headers if header[0] not in LETTER_HEADERS)
    try:
        topic, partition, offset = (
            (said[name] or b"").decode() for name in (SOURCE_TOPIC, SOURCE_PARTITION, SOURCE_OFFSET)
        )
        where = TopicPartition(topic, int(partition))
        reason = (said["kms-reason"] or b"").decode()
        return DeadLetter(record.key, record.value, own, where, int(offset), reason, record.where)
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
