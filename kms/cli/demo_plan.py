"""What the demo sends, what must come of it, and whether it did; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from kms.kafka import TailRecord, TopicPartition
from kms.schedule import EXPIRED_HEADER, Schedule, fired_of

HOUR_MS = 3_600_000


class Step(NamedTuple):
    """One record for the schedule topic; ``schedule`` None cancels what is under the id."""

    id: bytes
    schedule: Schedule | None
    note: str


def plan(target: str, now_ms: int) -> list[Step]:
    """The steps in the order to send them; every schedule has a key of its own."""

    def step(
        name: str,
        due_in_ms: int,
        value: bytes | None,
        note: str,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> Step:
        key = f"key of {name}".encode()
        return Step(name.encode(), Schedule(now_ms + due_in_ms, target, key, value, headers), note)

    everything = bytes(range(256))
    # Their ids spread them over all of three partitions.
    return [
        step("past", -HOUR_MS, b"should be there since an hour", "due an hour ago"),
        step("changed", 3_000, b"the old value", "due in 3 s"),
        step("cancelled", 3_000, b"must not come", "due in 3 s"),
        step("greeting", 2_000, "gr\u00fc\u00dfe".encode(), "due in 2 s", (("from", b"kms"),)),
        step("binary", 4_000, everything, "due in 4 s", (("empty", b""), ("bytes", everything))),
        step("changed", 5_000, b"the new value", "updated, due in 5 s now"),
        Step(b"cancelled", None, "cancelled"),
        step("null", 6_000, None, "due in 6 s, a null value and no headers"),
    ]


def expected(steps: Sequence[Step]) -> dict[bytes, Schedule]:
    """What must fire, by schedule id: the last of each, unless that cancels."""
    last = {step.id: step.schedule for step in steps}
    return {name: schedule for name, schedule in last.items() if schedule is not None}


def tombstones(records: Collection[TailRecord]) -> list[TailRecord]:
    """The tombstones that the service wrote after firing, among a schedule topic's records."""
    return [
        record
        for record in records
        if record.value is None and any(name == EXPIRED_HEADER for name, _ in record.headers)
    ]


def problems(
    wanted: Mapping[bytes, Schedule],
    written: Mapping[bytes, TopicPartition],
    messages: Collection[TailRecord],
    schedule_records: Collection[TailRecord],
) -> list[str]:
    """A sentence for everything that did not come out as it must; empty if all is well.

    ``written`` says on which partition the records of each schedule are, ``messages`` is all of
    the target topic, ``schedule_records`` all of the schedule topic.
    """
    keys = {schedule.key for schedule in wanted.values()}
    found = [
        f"A message came that must not: key {message.key!r}."
        for message in messages
        if message.key not in keys
    ]
    for name, schedule in wanted.items():
        came = [message for message in messages if message.key == schedule.key]
        if len(came) != 1:
            found.append(f"{name.decode()} came {len(came)} times, not once.")
        for message in came:
            found += _differences(name.decode(), schedule, message)
        found += _tombstone_problems(name, written[name], schedule_records)
    return found


def _differences(name: str, schedule: Schedule, message: TailRecord) -> list[str]:
    found = []
    if message.value != schedule.value:
        found.append(f"{name} came with the value {message.value!r}, not {schedule.value!r}.")
    if message.headers != schedule.headers:
        found.append(f"{name} came with the headers {message.headers}, not {schedule.headers}.")
    if message.timestamp_ms < schedule.due_ms:
        early_ms = schedule.due_ms - message.timestamp_ms
        found.append(f"{name} came {early_ms} ms early.")
    return found


def _tombstone_problems(
    name: bytes, where: TopicPartition, schedule_records: Collection[TailRecord]
) -> list[str]:
    own = [record for record in schedule_records if record.key == name]
    ends = tombstones(own)
    if len(ends) != 1:
        return [f"{name.decode()} has {len(ends)} tombstones, not one."]
    (end,) = ends
    newest = max(record.offset for record in own if record.value is not None)
    fired = fired_of(end.headers)
    if end.where != where:
        return [f"The tombstone of {name.decode()} is on {end.where}, not on {where}."]
    if fired is None or fired.offset != newest:
        return [f"The tombstone of {name.decode()} does not speak of its offset {newest}."]
    return []
