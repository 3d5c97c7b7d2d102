"""The demo's own checks: all well is nothing, and everything that can be wrong is a sentence."""

from __future__ import annotations

from kms.cli.demo_plan import HOUR_MS, expected, plan, problems, tombstones
from kms.formats import AVRO
from kms.kafka import TailRecord, TopicPartition
from kms.schedule import fired_headers

NOW_MS = 1_896_091_200_000
STEPS = plan("out", NOW_MS)
WANTED = expected(STEPS)
WHERE = {name: TopicPartition("in", index % 3) for index, name in enumerate(WANTED)}

Records = list[TailRecord]


def well() -> tuple[Records, Records]:
    """The target topic and the schedule topic after a run without a fault."""
    messages: Records = []
    records: Records = []
    for offset, (name, schedule, _) in enumerate(STEPS):
        where = WHERE.get(name, TopicPartition("in", 0))
        value = None if schedule is None else AVRO.encode_value(schedule)
        records.append(TailRecord(where, offset, NOW_MS, name, value, ()))
    newest = {record.key: record.offset for record in records}
    for offset, (name, schedule) in enumerate(WANTED.items()):
        due_ms, _, key, value, headers = schedule
        late_ms = max(due_ms, NOW_MS) + 10
        out = TopicPartition("out", 0)
        messages.append(TailRecord(out, offset, late_ms, key, value, headers))
        fired = tuple(fired_headers(newest[name], "id"))
        records.append(TailRecord(WHERE[name], 100 + offset, late_ms, name, None, fired))
    return messages, records


def found(messages: Records, records: Records) -> list[str]:
    return problems(WANTED, WHERE, messages, records)


def test_the_plan_has_every_kind() -> None:
    assert set(WANTED) == {b"past", b"changed", b"greeting", b"binary", b"null"}
    assert WANTED[b"past"].due_ms == NOW_MS - HOUR_MS
    assert WANTED[b"changed"].value == b"the new value"
    assert WANTED[b"null"].value is None
    assert WANTED[b"null"].headers == ()
    keys = [schedule.key for schedule in WANTED.values()]
    assert len(set(keys)) == len(keys)


def test_all_is_well() -> None:
    assert found(*well()) == []


def test_nothing_came() -> None:
    sentences = found([], well()[1])
    assert sentences == [f"{name.decode()} came 0 times, not once." for name in WANTED]


def test_one_came_twice() -> None:
    messages, records = well()
    assert found([*messages, messages[2]], records) == [
        f"{list(WANTED)[2].decode()} came 2 times, not once."
    ]


def test_one_came_that_was_cancelled() -> None:
    messages, records = well()
    cancelled = next(
        step.schedule for step in STEPS if step.id == b"cancelled" and step.schedule is not None
    )
    messages.append(messages[0]._replace(key=cancelled.key, value=cancelled.value))
    assert found(messages, records) == [f"A message came that must not: key {cancelled.key!r}."]


def test_one_came_changed() -> None:
    messages, records = well()
    for change, word in (
        ({"value": b"other"}, "value"),
        ({"value": None}, "value"),
        ({"headers": (("a", b""),)}, "headers"),
    ):
        changed = messages[0]._replace(**change)
        (sentence,) = found([changed, *messages[1:]], records)
        assert f"came with the {word} " in sentence


def test_one_came_early() -> None:
    messages, records = well()
    due_ms = list(WANTED.values())[-1].due_ms
    on_time = messages[-1]._replace(timestamp_ms=due_ms)
    assert found([*messages[:-1], on_time], records) == []
    early = messages[-1]._replace(timestamp_ms=due_ms - 1)
    assert found([*messages[:-1], early], records) == ["null came 1 ms early."]


def test_the_tombstone_is_missing_there_twice_or_elsewhere() -> None:
    messages, records = well()
    last = records[-1]
    assert found(messages, records[:-1]) == ["null has 0 tombstones, not one."]
    assert found(messages, [*records, last]) == ["null has 2 tombstones, not one."]
    elsewhere = last._replace(where=TopicPartition("in", 9))
    (sentence,) = found(messages, [*records[:-1], elsewhere])
    assert sentence.startswith("The tombstone of null is on in/9, not on ")


def test_the_tombstone_speaks_of_another_version() -> None:
    messages, records = well()
    changed = next(i for i, record in enumerate(records) if record in tombstones(records))
    for headers in (tuple(fired_headers(0, "id"))[:1], tuple(fired_headers(77, "id"))):
        other = [*records]
        other[changed] = records[changed]._replace(headers=headers)
        (sentence,) = found(messages, other)
        assert "does not speak of its offset" in sentence


def test_a_plain_null_is_no_tombstone_of_a_firing() -> None:
    _, records = well()
    assert {record.key for record in tombstones(records)} == set(WANTED)
