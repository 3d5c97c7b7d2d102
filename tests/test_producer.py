"""The producer: whole batches, and what goes wrong with one schedule stays with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from kms.due import Due
from kms.errors import (
    AbortTransactionError,
    FencedError,
    KafkaError,
    RetriableKafkaError,
    UndeliverableError,
)
from kms.formats import AVRO
from kms.kafka import TopicPartition
from tests.producer_instance import NUMBER, Instance
from tests.scheduler_instance import wait_until

MISSING = "not-made-yet"


@pytest.fixture
def instance() -> Iterator[Instance]:
    with closing(Instance()) as instance:
        yield instance


def errors(caplog: pytest.LogCaptureFixture, level: int = logging.ERROR) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.levelno == level]


def test_what_has_gathered_is_fired_together_and_counted(instance: Instance) -> None:
    wanted = [instance.put(b"%d" % number, offset=number) for number in range(100)]
    republished = instance.put(b"again", "anything", 100, again=True)
    instance.producer.start()
    wait_until(lambda: len(instance.sent()) == 101)
    # Copies go first, and apart: one that must not be written aborts all that is beside it.
    (copies, before), (jobs, _) = instance.delivery.sent
    assert [job.schedule for job in jobs] == wanted
    assert [AVRO.decode(job.due) for job in copies] == [republished]
    assert [job.due.offset for job in copies + jobs] == [100, *range(100)]
    assert before == ("metadata", {TopicPartition("schedules", 3): 100})
    figures = instance.producer.figures
    wait_until(lambda: sum(figures.lateness_counts) == 100)
    assert (figures.fired, figures.republished) == ({"target": 100}, 1)
    assert figures.lateness_sum_seconds == pytest.approx(100 * time.time(), rel=1e-3)
    assert (figures.aborted, figures.failed, figures.errors.count) == (0, {}, 0)
    assert instance.claims.count() == 101  # until their tombstones are folded
    instance.put(b"later", offset=200)
    wait_until(lambda: figures.fired["target"] == 101)
    assert instance.delivery.asked == ["target"]  # it was there, and is not asked for again
    assert instance.claims.close([NUMBER])  # no transaction runs


def test_a_missing_topic_holds_up_nobody_else_and_fires_once_it_is_there(
    instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kms")
    wanted = instance.put(b"early\xff", MISSING, 5)
    instance.put(b"other", offset=6)
    instance.put(b"again", MISSING, 8, again=True)  # goes to the schedule topic
    instance.producer.start()
    figures = instance.producer.figures
    wait_until(lambda: figures.failed[MISSING, "topic-missing"] >= 3)
    assert instance.sent_ids() == [b"again", b"other"]
    (said,) = errors(caplog)
    for part in ("schedules/3", "offset 5", repr(b"early\xff"), MISSING, "does not exist"):
        assert part in said
    assert MISSING in figures.errors.last_text
    instance.delivery.topics.add(MISSING)
    wait_until(lambda: b"early\xff" in instance.sent_ids())
    assert instance.sent()[2:] == [(b"early\xff", wanted)]
    wait_until(lambda: figures.fired[MISSING] == 1)
    assert len(errors(caplog)) == 1


def test_a_topic_that_goes_missing_later_is_noticed(instance: Instance) -> None:
    instance.put(b"a")
    instance.producer.start()
    wait_until(lambda: instance.sent_ids() == [b"a"])
    instance.delivery.topics.clear()
    instance.delivery.refusals[b"b"] = UndeliverableError("gone")
    instance.put(b"b", offset=8)
    failed = instance.producer.figures.failed
    wait_until(lambda: failed["target", "topic-missing"] >= 3)
    assert failed["target", "refused"] == 1
    assert instance.sent_ids() == [b"a"]


def test_a_topic_without_permission_holds_up_nobody_else(instance: Instance) -> None:
    instance.delivery.exists_errors.append(UndeliverableError("not authorised"))
    instance.put(b"a", "secret")
    instance.put(b"b", offset=8)
    instance.producer.start()
    wait_until(lambda: not instance.delivery.exists_errors)
    wait_until(lambda: instance.sent_ids() == [b"b"] or instance.producer.join(0))
    instance.producer.raise_for_error()


@pytest.mark.parametrize("error", [AbortTransactionError("moved on"), RetriableKafkaError("away")])
@pytest.mark.parametrize("place", ["send_errors", "exists_errors"])
def test_an_abort_gives_all_back_and_they_are_fired_again(
    instance: Instance, caplog: pytest.LogCaptureFixture, place: str, error: Exception
) -> None:
    getattr(instance.delivery, place).extend([error, error])
    instance.put_all(b"a", b"b", b"c")
    instance.producer.start()
    wait_until(lambda: instance.sent_ids() == [b"a", b"b", b"c"])
    assert instance.producer.figures.aborted == 2
    (said,) = errors(caplog, logging.WARNING)  # once for all of them in a row
    assert str(error) in said
    wait_until(lambda: instance.producer.figures.fired["target"] == 3)
    instance.delivery.send_errors.append(error)
    instance.put(b"d", offset=50)
    wait_until(lambda: b"d" in instance.sent_ids())
    assert len(errors(caplog, logging.WARNING)) == 1  # within a minute: counted
    wait_until(lambda: instance.claims.close([NUMBER]))
    instance.producer.raise_for_error()


def test_what_a_user_overtook_does_not_hold_up_the_others(instance: Instance) -> None:
    instance.delivery.overtaken = {b"b"}
    instance.put_all(b"a", b"b", b"c")
    instance.producer.start()
    wait_until(lambda: len(instance.sent()) == 3)
    tried = instance.delivery.tried
    assert tried[:2] == [[b"a", b"b", b"c"], [b"a", b"c"]]
    assert instance.sent_ids() == [b"a", b"c", b"b"]
    assert instance.producer.figures.failed == {}


def test_what_is_refused_is_set_aside_and_the_rest_goes_through(
    instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    instance.delivery.refusals[b"b"] = UndeliverableError("too large")
    instance.put_all(b"a", b"b", b"c")
    instance.producer.start()
    wait_until(lambda: len(instance.sent()) == 3)
    assert instance.sent_ids() == [b"a", b"c", b"b"]
    (said,) = errors(caplog)
    assert "too large" in said
    assert "offset 8" in said
    figures = instance.producer.figures
    wait_until(lambda: figures.fired["target"] == 3)
    assert figures.failed == {("target", "refused"): 1}


def test_what_made_the_transaction_fail_is_set_aside(instance: Instance) -> None:
    instance.delivery.send_errors.append(AbortTransactionError("one was refused"))
    instance.delivery.refusals[b"b"] = UndeliverableError("too large")
    instance.put_all(b"a", b"b", b"c")
    instance.producer.start()
    wait_until(lambda: len(instance.sent()) == 3)
    assert sorted(instance.sent_ids()) == [b"a", b"b", b"c"]
    assert instance.producer.figures.failed == {("target", "refused"): 1}
    assert instance.producer.figures.aborted == 1
    assert [job.due.id for job in instance.delivery.sent[0][0]] == [b"a", b"c"]


def test_what_changed_since_it_was_taken_is_dropped(instance: Instance) -> None:
    instance.put_all(b"cancelled", b"updated", b"kept")
    instance.remove(b"cancelled")
    instance.claims.folded(NUMBER, {b"updated": 50})
    updated = instance.put(b"updated", offset=50)
    instance.producer.start()
    wait_until(lambda: len(instance.sent()) == 2)
    assert dict(instance.sent())[b"updated"] == updated
    assert set(instance.sent_ids()) == {b"kept", b"updated"}


def test_what_is_cancelled_while_it_waits_is_dropped(instance: Instance) -> None:
    instance.put(b"a", MISSING)
    instance.producer.start()
    wait_until(lambda: instance.producer.figures.failed[MISSING, "topic-missing"] >= 1)
    instance.remove(b"a")
    instance.delivery.topics.add(MISSING)
    instance.put(b"b", offset=9)
    wait_until(lambda: instance.sent_ids() == [b"b"])
    assert instance.claims.count() == 1


def test_a_batch_without_a_valid_claim_is_not_sent(instance: Instance) -> None:
    instance.put_all(b"a", b"b")
    instance.claims.close([NUMBER])
    instance.claims.open(NUMBER)  # takes both again
    assert instance.queue.take(2, 0) != []  # the older claims
    instance.remove(b"a")
    instance.producer.start()
    wait_until(lambda: instance.sent_ids() == [b"b"])
    assert [len(jobs) for jobs, _ in instance.delivery.sent] == [1]


def test_the_assignment_is_older_than_the_look_at_the_claims(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = instance.claims.begin

    def begin_late(batch: list[Due]) -> list[Due]:
        instance.assignment.group_metadata = "newer"
        instance.assignment.partitions[NUMBER].next_offset += 1
        return begin(batch)

    monkeypatch.setattr(instance.claims, "begin", begin_late)
    instance.put(b"a")
    instance.producer.start()
    wait_until(lambda: bool(instance.delivery.sent))
    assert instance.delivery.sent[0][1] == ("metadata", {TopicPartition("schedules", 3): 100})


@pytest.mark.parametrize("error", [FencedError("another one"), KafkaError("no"), ValueError("bug")])
def test_what_another_attempt_does_not_heal_ends_the_thread(
    instance: Instance, error: Exception
) -> None:
    instance.delivery.send_errors.append(error)
    instance.put(b"a")
    instance.producer.start()
    wait_until(lambda: instance.producer.join(0))
    with pytest.raises(type(error)) as raised:
        instance.producer.raise_for_error()
    assert raised.value is error


def test_a_thread_that_failed_leaves_no_transaction_behind(instance: Instance) -> None:
    instance.delivery.send_errors.append(FencedError("another one took over"))
    instance.put(b"a")
    instance.producer.start()
    wait_until(lambda: instance.producer.join(0))
    assert instance.claims.close([NUMBER])
