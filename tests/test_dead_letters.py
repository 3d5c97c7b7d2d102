"""What can't be fired: how often it is tried, and when it goes to the dead-letter topic."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import closing

import pytest

from kms.due import Due, Tried
from kms.errors import AbortTransactionError, UndeliverableError
from kms.failures import LETTER_HEADERS, Failure, FailureLog, Patience, letter_headers
from kms.figures import MOST_KINDS, ProducerFigures
from kms.kafka import TopicPartition
from kms.messages import Job
from kms.schedule import stand_in_id
from kms.settings import Settings
from kms.times import Duration, now_ms
from tests.producer_instance import NUMBER, Instance
from tests.scheduler_instance import wait_until

DEAD = "dead"
WHERE = TopicPartition("schedules", 3)


@pytest.fixture
def instance() -> Iterator[Instance]:
    with closing(Instance(kms_dead_letter_topic=DEAD)) as instance:
        instance.delivery.topics.add(DEAD)
        yield instance


def letters(instance: Instance) -> dict[bytes, Job]:
    jobs = [job for jobs, _ in instance.delivery.sent for job in jobs]
    return {job.due.id: job for job in jobs if job.letter is not None}


def reason_of(job: Job) -> str:
    assert job.letter is not None
    return (dict(job.letter.headers)["kms-reason"] or b"").decode()


def test_what_nothing_can_heal_is_given_up_at_once(instance: Instance) -> None:
    instance.put(b"good")
    instance.put_raw(b"rubbish", b"\xff", 8)
    instance.put(b"nowhere", "no/topic", 9)
    instance.put_raw(stand_in_id(10), instance.rows[b"good"].value, 10)
    instance.producer.start()
    wait_until(lambda: len(letters(instance)) == 3 or instance.producer.join(0))
    instance.producer.raise_for_error()
    assert {it.due.offset: reason_of(it) for it in letters(instance).values()} == {
        8: "undecodable",
        9: "illegal-topic",
        10: "null-id",
    }
    figures = instance.producer.figures
    wait_until(lambda: figures.fired["target"] == 1)
    assert figures.buried == {"undecodable": 1, "null-id": 1, "illegal-topic": 1}
    assert sum(figures.lateness_counts) == 1  # of what was fired only


def test_what_may_heal_is_given_up_after_its_time(caplog: pytest.LogCaptureFixture) -> None:
    options = {"kms_dead_letter_topic": DEAD, "kms_retry_for": Duration(150)}
    with closing(Instance(**options)) as instance:
        instance.delivery.topics.add(DEAD)
        instance.put(b"a", "missing")
        instance.producer.start()
        wait_until(lambda: bool(letters(instance)))
        (job,) = letters(instance).values()
        assert job.letter is not None
        said = dict(job.letter.headers)
        assert int(said["kms-attempts"] or b"") == len(instance.noted) + 1 > 3
        assert said["kms-message"] == b"target topic 'missing' does not exist"
        first, last = instance.noted[0], instance.noted[-1]
        assert first.since_ms == last.since_ms
        assert int(said["kms-failed-at-ms"] or b"") >= first.since_ms + 150
        assert [it.levelno for it in caplog.records] == [logging.ERROR]


def test_without_a_dead_letter_topic_everything_stays_pending() -> None:
    with closing(Instance(kms_retry_for=Duration(20))) as instance:
        instance.put_raw(b"rubbish", b"\xff")
        instance.put(b"good", offset=8)
        instance.producer.start()
        wait_until(lambda: len(instance.noted) >= 3)
        assert instance.sent_ids() == [b"good"]
        assert [it.attempt for it in instance.noted][:3] == [1, 2, 3]
        assert {it.reason for it in instance.noted} == {"undecodable"}


def test_a_letter_that_is_not_taken_stays_pending(
    instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    instance.delivery.topics.discard(DEAD)
    instance.put_raw(b"rubbish", b"\xff")
    instance.producer.start()
    wait_until(lambda: len(instance.noted) >= 2)
    assert letters(instance) == {}
    assert "dead-letter topic does not take it either" in instance.noted[0].text
    assert any("'dead' does not exist" in it.getMessage() for it in caplog.records)
    instance.delivery.topics.add(DEAD)
    wait_until(lambda: bool(letters(instance)))
    assert reason_of(letters(instance)[b"rubbish"]) == "undecodable"


def test_a_letter_that_is_aborted_is_sent_again(instance: Instance) -> None:
    instance.delivery.send_errors.append(AbortTransactionError("moved on"))
    instance.put_raw(b"rubbish", b"\xff")
    instance.producer.start()
    wait_until(lambda: bool(letters(instance)))
    assert instance.producer.figures.aborted == 1


def test_who_was_refused_with_others_is_judged_alone(instance: Instance) -> None:
    too_large = UndeliverableError("too large", "too-large", permanent=True)
    instance.delivery.together = True  # the broker refuses the whole request
    instance.delivery.refusals = {b"a": too_large, b"b": too_large, b"c": too_large}
    instance.delivery.send_errors.append(AbortTransactionError("one was refused"))
    instance.put_all(b"a", b"b", b"c")
    instance.producer.start()
    wait_until(lambda: len(instance.sent()) == 3)
    assert letters(instance) == {}
    assert sorted(instance.delivery.tried[1:]) == [[b"a"], [b"b"], [b"c"]]
    assert instance.producer.figures.failed == {}  # nobody was to blame


def test_who_is_refused_alone_is_given_up(instance: Instance) -> None:
    too_large = UndeliverableError("too large", "too-large", permanent=True)
    instance.delivery.refusals = {b"b": too_large}
    instance.put_all(b"a", b"b", b"c")
    instance.producer.start()
    wait_until(lambda: bool(letters(instance)))
    assert reason_of(letters(instance)[b"b"]) == "too-large"
    wait_until(lambda: instance.producer.figures.fired["target"] == 2)


@pytest.mark.slow
def test_a_topic_without_permission_is_found_out_and_harms_no_other(instance: Instance) -> None:
    instance.delivery.topics |= {"closed", "other"}
    instance.delivery.forbidden.add("closed")
    for offset, topic in enumerate(["target", "closed", "other", "closed"], 7):
        instance.put(b"%d" % offset, topic, offset)
    instance.producer.start()
    wait_until(lambda: len(instance.noted) >= 4)
    assert sorted(instance.sent_ids()) == [b"7", b"9"]
    assert {(it.due.id, it.reason) for it in instance.noted} == {
        (b"8", "not-authorised"),
        (b"10", "not-authorised"),
    }
    assert "'closed'" in instance.noted[0].text
    assert instance.producer.figures.aborted == 0  # nothing innocent was given back
    instance.delivery.forbidden.clear()
    wait_until(lambda: len(instance.sent_ids()) == 4)


def test_a_cancel_between_two_transactions_is_seen(instance: Instance) -> None:
    """Each transaction looks at the claims anew: what was cancelled since is left out."""
    instance.delivery.topics |= {"closed", "other"}
    instance.delivery.forbidden.add("closed")
    for offset, topic in enumerate(["target", "closed", "other"], 7):
        instance.put(b"%d" % offset, topic, offset)
    sends = iter(range(100))

    def cancel_after_the_first() -> None:
        if next(sends) == 1:
            instance.remove(b"9")

    instance.delivery.before_send = cancel_after_the_first
    instance.producer.start()
    wait_until(lambda: bool(instance.noted))
    assert instance.sent_ids() in ([b"7"], [])
    wait_until(lambda: instance.sent_ids() == [b"7"])
    assert b"9" not in instance.sent_ids()


def test_a_cancel_before_the_letter_is_seen(instance: Instance) -> None:
    instance.put_raw(b"rubbish", b"\xff")
    add = instance.producer._failures.add

    def cancelled(failures: Iterable[Failure]) -> None:
        add(failures)
        if instance.rows:
            instance.remove(b"rubbish")

    instance.producer._failures.add = cancelled  # type: ignore[method-assign]
    instance.producer.start()
    wait_until(lambda: not instance.rows)
    instance.put(b"good", offset=9)
    wait_until(lambda: instance.sent_ids() == [b"good"])
    assert letters(instance) == {}


def test_a_copy_of_what_cant_be_read_is_written_all_the_same(instance: Instance) -> None:
    instance.put_raw(b"rubbish", b"\xff", again=True)
    instance.producer.start()
    wait_until(lambda: instance.sent_ids() == [b"rubbish"])
    assert letters(instance) == {}


def test_many_suspects_hold_up_nobody(instance: Instance) -> None:
    too_large = UndeliverableError("too large", "too-large", permanent=True)
    for offset in range(300):
        instance.delivery.refusals[b"%d" % offset] = too_large
        instance.put(b"%d" % offset, offset=offset)
    instance.delivery.together = True
    for offset in range(1_000, 1_010):
        instance.put(b"%d" % offset, offset=offset)
    instance.producer.start()
    wait_until(lambda: instance.producer.figures.fired["target"] == 310)
    assert instance.producer.figures.aborted == 0


def test_a_letter_names_its_source() -> None:
    due = Due(NUMBER, b"id", 17, 0, b"value", (("mine", b"x"), ("null", None)))
    failure = Failure(due, 4, 0, 0, "too-large", "it is too large")
    headers = letter_headers(failure, WHERE)
    assert headers[:2] == [("mine", b"x"), ("null", None)]
    assert tuple(name for name, _ in headers[2:]) == LETTER_HEADERS
    found = dict(headers)
    assert now_ms() - int(found.pop("kms-failed-at-ms") or b"") < 10_000
    assert list(found.values())[2:] == [
        *(b"schedules", b"3", b"17", b"too-large", b"it is too large", b"4")
    ]


def test_pauses_double_up_to_the_longest_with_jitter() -> None:
    patience = Patience(Settings())
    error = UndeliverableError("not now", "topic-missing")
    for attempts in range(1, 60):
        due = Due(NUMBER, b"id", 1, 0, b"", tried=Tried(attempts, 5, "topic-missing"))
        failure = patience.failure(due, error)
        assert (failure.attempt, failure.since_ms) == (attempts + 1, 5)
        expected_ms = min(1_000 * 2**attempts, 60_000)
        assert 0.79 <= (failure.next_ms - now_ms()) / expected_ms <= 1.2
    first = Due(NUMBER, b"id", 1, 0, b"")
    assert patience.failure(first, error, at_once=True).next_ms <= now_ms()


@pytest.mark.parametrize(("topic", "expected_ms"), [(None, 86_400_000), (DEAD, 1_000)])
def test_what_nothing_can_heal_is_hardly_tried_again(topic: str | None, expected_ms: int) -> None:
    patience = Patience(Settings(kms_dead_letter_topic=topic))
    error = UndeliverableError("never", "undecodable", permanent=True)
    failure = patience.failure(Due(NUMBER, b"id", 1, 0, b""), error)
    assert 0.79 <= (failure.next_ms - now_ms()) / expected_ms <= 1.2
    assert patience.is_over(failure, error) is (topic is not None)


def test_a_kind_of_failure_is_said_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    log, due = FailureLog(), Due(NUMBER, b"id\xff", 17, 0, b"")
    failure = Failure(due, 1, 0, 0, "topic-missing", "it is not there")
    for clock[0] in (0.0, 1.0, 59.0):
        log.say(failure, WHERE, "target", "It stays.")
    log.say(failure, None, "other", "It stays.")
    clock[0] = 61.0
    log.say(failure, WHERE, "target", "It stays.")
    first, other, again = (it.getMessage() for it in caplog.records)
    for part in ("schedules/3 offset 17", repr(b"id\xff"), "it is not there", "It stays."):
        assert part in first
    assert "a partition given up" in other
    assert again.endswith("It stays. 2 more attempts failed like this since it was last said.")


def test_names_that_anybody_may_write_fill_neither_log_nor_metrics(
    caplog: pytest.LogCaptureFixture,
) -> None:
    figures, log = ProducerFigures(), FailureLog()
    due = Due(NUMBER, b"id", 17, 0, b"")
    for number in range(1_000):
        figures.add_failure(f"x{number}" * 100, "topic-missing")
        log.say(Failure(due, 1, 0, 0, "topic-missing", ""), WHERE, f"x{number}", "")
    assert len(figures.failed) == len(caplog.records) == MOST_KINDS + 1
    assert sum(figures.failed.values()) == 1_000
    assert max(len(target) for target, _ in figures.failed) <= 249
