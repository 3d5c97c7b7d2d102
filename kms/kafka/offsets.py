"""Look-ups of offsets: watermarks, the last stable offset, what a group has committed stably.

By consumers that belong to no group and are assigned nothing. The admin client's own look-ups
don't survive a broker's restart (measured with confluent-kafka 2.16.1): list_offsets goes on
answering FENCED_LEADER_EPOCH, or -1001 without an error, and list_consumer_group_offsets crashes
the process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import confluent_kafka as ck

from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka.config import common_config
from kms.kafka.errors import is_hopeless, translated
from kms.kafka.values import TopicPartition
from kms.settings import Settings

_CALL_SECONDS = 2.0


class Offsets:
    """Answers within a few seconds, from any thread.

    Raises RetriableKafkaError for whatever waiting may heal, KafkaError for the rest.
    """

    def __init__(self, settings: Settings) -> None:
        config = common_config(settings) | {"group.id": settings.consumer_group_id, "log_level": 0}
        # Nobody polls these clients, so nothing would ever fetch what is meant for them.
        del config["logger"], config["error_cb"]
        self._stable = ck.Consumer({**config, "isolation.level": "read_committed"})
        self._all = ck.Consumer({**config, "isolation.level": "read_uncommitted"})

    def starts(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that each partition's log still has."""
        return _asked(self._all, partitions, ck.OFFSET_BEGINNING)

    def high_watermarks(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The end of each partition's log, whatever transactions are open."""
        return end_offsets(self._all, partitions)

    def stable_ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The last stable offset of each: what a read_committed reader can see lies before it."""
        return end_offsets(self._stable, partitions)

    def committed(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int | None]:
        """What our group has committed, stable or not; None where it has nothing."""
        asked = [ck.TopicPartition(*partition) for partition in partitions]
        found = _checked(
            lambda: self._all.committed(asked, timeout=_CALL_SECONDS), "committed offsets"
        )
        return {
            TopicPartition(each.topic, each.partition): each.offset if each.offset >= 0 else None
            for each in found
        }

    def await_stable_group(self, partitions: Collection[TopicPartition]) -> None:
        """Return once no transaction holds offsets of these partitions in our group (KIP-447).

        A read_committed consumer asks for stable offsets only; while there are others, the
        answer is RetriableKafkaError.
        """
        asked = [ck.TopicPartition(*partition) for partition in partitions]
        _checked(lambda: self._stable.committed(asked, timeout=_CALL_SECONDS), "committed offsets")

    def close(self) -> None:
        """Close the connections."""
        self._stable.close()
        self._all.close()


def end_offsets(
    client: ck.Consumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, int]:
    """The ends of the logs as this consumer's isolation level sees them."""
    return _asked(client, partitions, ck.OFFSET_END)


def _asked(
    client: ck.Consumer, partitions: Collection[TopicPartition], which: int
) -> dict[TopicPartition, int]:
    if not partitions:
        return {}
    # A "time" of -1 or -2 asks for the end or the beginning (ListOffsets in the protocol).
    asked = [ck.TopicPartition(*partition, which) for partition in partitions]
    found = _checked(lambda: client.offsets_for_times(asked, timeout=_CALL_SECONDS), "the offsets")
    if any(each.offset < 0 for each in found):
        raise RetriableKafkaError("Asking for the offsets brought no answer")
    return {TopicPartition(each.topic, each.partition): each.offset for each in found}


def _checked(call: Callable[[], list[ck.TopicPartition]], what: str) -> list[ck.TopicPartition]:
    doing = f"Asking for {what}"
    try:
        found = call()
    except ck.KafkaException as error:
        raise _problem(error.args[0], doing) from error
    for each in found:
        if each.error is not None:
            raise _problem(each.error, f"{doing} of {each.topic}/{each.partition}")
    return found


def _problem(error: ck.KafkaError, doing: str) -> KafkaError:
    if is_hopeless(error):
        return translated(error, doing)
    # A leader that moves, a topic just made, a broker that starts: it takes many codes to say so.
    return RetriableKafkaError(f"{doing} failed: {error.str()} ({error.name()})")
