"""How a batch is fired: what is written where, and what happens when Kafka refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kms import delivery
from kms.assignment import Assignment
from kms.at_least_once import AtLeastOnce
from kms.delivery import ExactlyOnce, Refused
from kms.due import Due
from kms.errors import (
    AbortTransactionError,
    BrokenProducerError,
    FencedError,
    KafkaError,
    OvertakenError,
    RetriableKafkaError,
    UndeliverableError,
)
from kms.kafka import TopicPartition
from kms.messages import Job, Letter
from kms.occurrences import Outcome
from kms.schedule import Header, Schedule, following_headers, stand_in_id
from kms.settings import Settings
from tests.delivery_scene import (
    BEFORE,
    HEADERS,
    SCHEDULES,
    FakeStretches,
    FakeWriter,
    Sent,
    assignment,
    fake_writers,
    job,
    made,
    target,
    tombstone,
)

__all__ = ["assignment", "fake_writers"]


def test_target_tombstone_and_offsets_are_one_transaction(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    first, second = job(), job(6, 9)
    assert fires.send([first, second], BEFORE) == []
    more = TopicPartition("more", 0)
    assert writer.calls == [
        "begin",
        target(first),
        tombstone(first, SCHEDULES, "topic-id"),
        target(second),
        tombstone(second, more, "other-id"),
        ("commit", {SCHEDULES: 100, more: 300}, "metadata"),
    ]
    assert FakeStretches.asked == []  # that is for copies only


def test_producers_take_turns_and_each_is_started(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_TURNS", ("", "2"))
    fires = ExactlyOnce(Settings(), assignment)
    fires.start(lambda: False)
    used: dict[str, list[Any]] = {writer.purpose: writer.calls for writer in fires._writers}  # type: ignore[attr-defined]
    assert used == {"": ["start"], "2": ["start"]}
    order = []
    for offset in range(4):
        fires.send([job(offset=offset)], BEFORE)
        order.append(fires._writer.purpose)
        assert used[order[-1]][-1] == ("commit", {SCHEDULES: 100}, "metadata")
    assert order in (["", "2"] * 2, ["2", ""] * 2)


def test_a_copy_is_written_as_it_was_where_it_was(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    FakeStretches.found = [
        (SCHEDULES, b"another"),
        (SCHEDULES, None),
        (SCHEDULES, b"id8"),
        (SCHEDULES, b"another"),
    ]
    assert fires.send([job(4, 8, "nowhere", again=True)], BEFORE) == []
    assert FakeStretches.asked == [{SCHEDULES: 90}]
    assert writer.calls == [
        "begin",
        Sent("schedules", b"id8", b"encoded", HEADERS, 3),
        "flush",  # it must lie there before anybody looks what else does
        ("commit", {SCHEDULES: 100}, "metadata"),
    ]


@pytest.mark.parametrize("count", [0, 2])
def test_a_copy_that_would_undo_a_newer_record_is_aborted(
    assignment: Assignment, count: int
) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    FakeStretches.found = [(SCHEDULES, b"id7"), *[(SCHEDULES, b"id8")] * count]
    with pytest.raises(AbortTransactionError, match="'id8' at schedules/3"):
        fires.send([job(again=True), job(4, 8, again=True)], BEFORE)
    assert writer.calls[-2:] == ["flush", "abort"]


@pytest.mark.parametrize("kind", [ExactlyOnce, AtLeastOnce])
def test_what_recurs_is_written_again_in_place_of_a_tombstone(
    assignment: Assignment, kind: type[ExactlyOnce | AtLeastOnce]
) -> None:
    fires, writer = made(kind, assignment)
    asked: tuple[Header, ...] = (("kms-every", b"1h"), ("kms-next", b"3600000"))
    fired = job()._replace(outcome=Outcome(again=asked))
    late = job(offset=8)._replace(outcome=Outcome("expired", asked))
    over = job(offset=10)._replace(outcome=Outcome("expired"))
    FakeStretches.found = [(SCHEDULES, b"id7"), (SCHEDULES, b"id8")]
    assert fires.send([fired, late, over], BEFORE) == []
    follows = [tuple(following_headers(offset, "topic-id")) for offset in (7, 8)]
    sent = [call for call in writer.calls if isinstance(call, Sent)]
    assert [it for it in sent if it.topic == "target"] == [target(fired)]
    assert [it for it in sent if it.topic == "schedules"] == [
        Sent("schedules", b"id7", b"encoded", (*asked, *follows[0]), 3),
        Sent("schedules", b"id8", b"encoded", (*asked, *follows[1]), 3),
        tombstone(over, SCHEDULES, "topic-id"),
    ]
    assert len(FakeStretches.asked) == (kind is ExactlyOnce)


def test_a_next_record_that_is_refused_takes_its_message_back(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    error = writer.refuses["schedules"] = UndeliverableError("too large", permanent=True)
    bad = job()._replace(outcome=Outcome(again=HEADERS))
    with pytest.raises(AbortTransactionError, match="too large"):
        fires.send([bad], BEFORE)
    assert writer.calls == ["begin", target(bad), "abort"]
    assert fires.refused() == [Refused(bad, error)]


@pytest.mark.parametrize("topic", ["target", "schedules", "history"])
def test_nobody_is_blamed_for_a_message_before(assignment: Assignment, topic: str) -> None:
    """The transaction fails while the next one is being produced, with what came before."""
    fires, writer = made(ExactlyOnce, assignment, Settings(history_topic="history"))
    refusal = UndeliverableError("too large", "too-large", permanent=True)
    writer.refuses[topic] = AbortTransactionError("failed")
    writer.refuses[topic].__cause__ = refusal
    with pytest.raises(AbortTransactionError) as caught:
        fires.send([job()], BEFORE)
    assert caught.value.__cause__ is refusal
    assert fires.refused() == []


def test_what_recurs_and_was_overtaken_is_named(assignment: Assignment) -> None:
    """So that the others need not wait for it."""
    fires, writer = made(ExactlyOnce, assignment)
    jobs = [job(offset=it)._replace(outcome=Outcome(again=())) for it in (7, 8)]
    FakeStretches.found = [(SCHEDULES, b"id7"), (SCHEDULES, b"id8"), (SCHEDULES, b"id8")]
    with pytest.raises(AbortTransactionError, match="'id8' at schedules/3") as caught:
        fires.send(jobs, BEFORE)
    assert isinstance(caught.value.__cause__, OvertakenError)
    assert caught.value.__cause__.claims == [jobs[1].due]
    assert writer.calls[-2:] == ["flush", "abort"]


def test_a_copy_of_what_recurs_follows_nothing(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    copy = job(again=True)
    copy.due.headers = (*HEADERS, *following_headers(3, "topic-id"))
    FakeStretches.found = [(SCHEDULES, b"id7")]
    assert fires.send([copy], BEFORE) == []
    assert Sent("schedules", b"id7", b"encoded", HEADERS, 3) in writer.calls


def test_a_copy_that_nobody_can_judge_is_aborted(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    with pytest.raises(AbortTransactionError, match="taken over"):
        fires.send([job(again=True)], BEFORE._replace(next_offsets={}))
    FakeStretches.error = RetriableKafkaError("took too long")
    with pytest.raises(AbortTransactionError, match="took too long"):
        fires.send([job(again=True)], BEFORE)
    assert [call for call in writer.calls if isinstance(call, str)] == [
        "begin",
        "flush",
        "abort",
    ] * 2


def test_what_is_refused_at_once_gets_no_tombstone(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    writer.refuses["huge"] = error = UndeliverableError("too large")
    good, bad = job(), job(5, 8, "huge")
    assert fires.send([bad, good], BEFORE) == [Refused(bad, error)]
    offsets = {SCHEDULES: 100, TopicPartition("schedules", 0): 200}
    assert writer.calls == [
        "begin",
        target(good),
        tombstone(good, SCHEDULES, "topic-id"),
        ("commit", offsets, "metadata"),
    ]


@pytest.mark.parametrize("kind", [ExactlyOnce, AtLeastOnce])
def test_what_would_not_arrive_byte_for_byte_is_refused(
    assignment: Assignment, kind: type[ExactlyOnce | AtLeastOnce]
) -> None:
    fires, writer = made(kind, assignment)
    cut = job()._replace(schedule=Schedule(0, "target", b"", b"", (("a\0b", b""),)))
    assert [it.job for it in fires.send([cut], BEFORE)] == [cut]
    assert not any(isinstance(call, Sent) for call in writer.calls)


@pytest.mark.parametrize("error", [AbortTransactionError("no"), UndeliverableError("too large")])
def test_what_fails_to_commit_is_aborted(assignment: Assignment, error: KafkaError) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    writer.commit_error = error
    writer.undelivered["target"] = UndeliverableError("too large")
    writer.undelivered["schedules"] = KafkaError("purged")  # it goes down with the others
    bad = job()
    with pytest.raises(AbortTransactionError, match=str(error)):
        fires.send([bad], BEFORE)
    assert writer.calls[-1] == "abort"
    assert [refused.job for refused in fires.refused()] == [bad]


def test_a_broken_producer_makes_way_for_one_that_starts(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    fires, broken = made(ExactlyOnce, assignment)
    broken.commit_error = BrokenProducerError("it disagrees with the broker")
    later: list[FakeWriter] = []

    class Later(FakeWriter):
        def start(self, give_up: Callable[[], bool]) -> None:
            later.append(self)
            if len(later) < 3:
                raise BrokenProducerError("still")
            super().start(give_up)

    monkeypatch.setattr(delivery, "TransactionalWriter", Later)
    monkeypatch.setattr(delivery, "_RENEW_SECONDS", 0.0)
    with pytest.raises(AbortTransactionError, match="disagrees"):
        fires.send([job()], BEFORE)
    assert "abort" not in broken.calls
    assert fires.send([job()], BEFORE) == []
    assert [len(each.calls) for each in later] == [0, 0, 5]
    fires.start(lambda: True)  # told to give up
    later.clear()
    later_broken = fires._writer
    later_broken.commit_error = BrokenProducerError("again")
    with pytest.raises(BrokenProducerError, match="still"):
        fires.send([job()], BEFORE)
    assert len(later) == 1


def test_a_fenced_transaction_ends_the_process(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    writer.commit_error = FencedError("another one")
    with pytest.raises(FencedError):
        fires.send([job()], BEFORE)


@pytest.mark.parametrize("kind", [ExactlyOnce, AtLeastOnce])
@pytest.mark.parametrize("again", [True, False])
def test_nothing_is_written_to_a_partition_that_was_given_up(
    assignment: Assignment, kind: type[ExactlyOnce | AtLeastOnce], again: bool
) -> None:
    fires, writer = made(kind, assignment)
    del assignment.partitions[4]
    with pytest.raises(AbortTransactionError):
        fires.send([job(again=again)], BEFORE)
    assert not any(call.topic == "schedules" for call in writer.calls if isinstance(call, Sent))
    assert ("abort" in writer.calls) is (kind is ExactlyOnce)


def test_without_offsets_or_membership_nobody_could_fence_it(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    with pytest.raises(AbortTransactionError):
        fires.send([job()], BEFORE._replace(group_metadata=None))
    produce = writer.produce

    def revoked_meanwhile(*arguments: Any, **named: Any) -> None:
        produce(*arguments, **named)
        if arguments[0] == "schedules":
            assignment.partitions.clear()

    writer.produce = revoked_meanwhile  # type: ignore[method-assign]
    with pytest.raises(AbortTransactionError):
        fires.send([job()], BEFORE)
    assert [call[0] for call in writer.calls if call[0] == "commit"] == []


def test_refused_with_others_is_not_surely_to_blame(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    writer.commit_error = UndeliverableError("too large")
    writer.undelivered["target"] = UndeliverableError("too large")
    for jobs in ([job(), job(4, 8)], [job()]):
        with pytest.raises(AbortTransactionError):
            fires.send(jobs, BEFORE)
        assert {it.surely for it in fires.refused()} == {len(jobs) == 1}


def test_who_is_not_acknowledged_is_to_blame_unless_nobody_is(assignment: Assignment) -> None:
    fires, writer = made(ExactlyOnce, assignment)
    writer.commit_error = AbortTransactionError("timed out")
    unacknowledged = UndeliverableError("timed out", "unacknowledged")
    writer.undelivered["stuck"] = unacknowledged
    good, stuck = job(), job(4, 8, "stuck")
    with pytest.raises(AbortTransactionError):
        fires.send([good, stuck], BEFORE)
    assert [it.job for it in fires.refused()] == [stuck]
    writer.undelivered["schedules"] = unacknowledged  # an outage: the tombstones were not, either
    with pytest.raises(AbortTransactionError):
        fires.send([good, stuck], BEFORE)
    assert fires.refused() == []


@pytest.mark.parametrize("kind", [ExactlyOnce, AtLeastOnce])
def test_a_dead_letter_is_the_record_whole_and_its_tombstone_follows(
    assignment: Assignment, kind: type[ExactlyOnce | AtLeastOnce]
) -> None:
    fires, writer = made(kind, assignment)
    letter = Letter("dead", [("kms-reason", b"too-large")])
    dead = job()._replace(letter=letter)
    keyless = Job(Due(4, stand_in_id(9), 9, 0, b"raw"), Schedule(0, "", b"", None), letter)
    assert fires.send([dead, keyless], BEFORE) == []
    headers = (("kms-reason", b"too-large"),)
    assert [call for call in writer.calls if isinstance(call, Sent) and call.topic == "dead"] == [
        Sent("dead", b"id7", b"encoded", headers, -1),
        Sent("dead", None, b"raw", headers, -1),
    ]
    for each in (dead, keyless):
        assert tombstone(each, SCHEDULES, "topic-id") in writer.calls
