"""``inspect``: which are meant, how many there are, and one of them in full."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from kms.schedule import Schedule
from tests.cli.conftest import T0_MS, Cache, Done

Kms = Callable[..., Done]

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
DUE = {  # by id: topic, partition, due, target
    b"order-1": ("orders", 0, T0_MS, "out"),
    b"order-2": ("orders", 1, T0_MS + HOUR_MS, "out"),
    b"order-3": ("orders", 0, T0_MS + DAY_MS, "a" * 200),
    b"order-\xff": ("orders", 0, T0_MS + HOUR_MS + 1, "out2"),
    b"mail-1": ("mails", 0, T0_MS + HOUR_MS, "ou"),
    b"old": ("mails", 0, -1, "out"),
    b"late": ("mails", 0, 2**62, "out"),
}


@pytest.fixture
def various(cache: Cache) -> Cache:
    for offset, (name, (topic, partition, due_ms, target)) in enumerate(DUE.items()):
        cache.put(topic, partition, offset, name, Schedule(due_ms, target, b"k", b"v"))
    cache.fail("orders", 1, 90, b"order-bad", b"\x00rubbish")
    return cache


def ids(kms: Kms, *arguments: str) -> list[Any]:
    done = kms("inspect", "--json", "--limit", "0", *arguments)
    found = [json.loads(line)["id"] for line in done.out.splitlines()]
    assert kms("inspect", "--count", *arguments).out == f"{len(found)}\n"
    return found


@pytest.mark.usefixtures("various")
class TestFilters:
    def test_target(self, kms: Kms) -> None:
        assert ids(kms, "--target", "out") == ["old", "order-1", "order-2", "late"]
        assert ids(kms, "--target", "ou") == ["mail-1"]
        assert ids(kms, "--target", "a" * 200) == ["order-3"]
        assert ids(kms, "--target", "o") == ids(kms, "--target", "rubbish") == []

    def test_prefix(self, kms: Kms) -> None:
        order_ff = {"hex": b"order-\xff".hex()}
        every = ["order-bad", "order-1", "order-2", order_ff, "order-3"]
        assert ids(kms, "--prefix", "order-") == every
        assert ids(kms, "--prefix", "order-\udcff") == [order_ff]
        assert ids(kms, "--prefix", "l") == ["late"]
        assert ids(kms, "--prefix", "order-10") == []

    def test_time_range(self, kms: Kms) -> None:
        found = ids(kms, "--after", str(T0_MS + HOUR_MS), "--before", str(T0_MS + HOUR_MS + 1))
        assert sorted(found) == ["mail-1", "order-2"]
        assert ids(kms, "--after", "2030-02-01T12:00:00Z") == ["order-3", "late"]
        assert ids(kms, "--before", "1970-01-01T00:00:00Z") == ["old"]

    def test_they_combine(self, kms: Kms) -> None:
        """Every combination lets through what each of its filters lets through."""
        one_by_one = [
            ("--topic", "orders"),
            ("--target", "out"),
            ("--prefix", "order-"),
            ("--after", str(T0_MS)),
            ("--before", str(T0_MS + HOUR_MS + 1)),
            ("--failed",),
        ]
        alone = {each: set(map(str, ids(kms, *each))) for each in one_by_one}
        for size in range(2, len(one_by_one) + 1):
            for together in itertools.combinations(one_by_one, size):
                found = set(map(str, ids(kms, *itertools.chain(*together))))
                assert found == set.intersection(*(alone[each] for each in together)), together

    def test_failed_of_an_id(self, kms: Kms) -> None:
        assert ids(kms, "order-bad", "--failed") == ["order-bad"]
        assert ids(kms, "order-1", "--failed") == []


class TestManyRows:
    """More than are sorted at once: other ways through the file, the same answers."""

    @pytest.mark.parametrize("at_once", [0, 1, 4])
    def test_the_same_answers(
        self, kms: Kms, various: Cache, monkeypatch: pytest.MonkeyPatch, at_once: int
    ) -> None:
        assert various.path
        questions = [
            ["--prefix", "order-"],
            ["--target", "out"],
            ["--target", "ou"],
            ["--target", "out", "--prefix", "order-", "--after", "0"],
            ["--prefix", "o", "--before", str(T0_MS + HOUR_MS), "--topic", "orders"],
        ]
        few = [kms("inspect", *question).out for question in questions]
        by = [kms("inspect", "--count", "--by", by).out for by in ("topic", "hour", "day")]
        monkeypatch.setattr("kms.store.reader._FEW", at_once)
        assert [kms("inspect", *question).out for question in questions] == few
        assert [kms("inspect", "--count", "--by", it).out for it in ("topic", "hour", "day")] == by


@pytest.mark.usefixtures("various")
class TestCount:
    def test_by_topic(self, kms: Kms) -> None:
        done = kms("inspect", "--count", "--by", "topic")
        assert done == Done(0, f"4  out\n1  no schedule\n1  {'a' * 200}\n1  ou\n1  out2\n", "")

    def test_by_hour_and_day(self, kms: Kms) -> None:
        assert kms("inspect", "--count", "--by", "hour").out.splitlines() == [
            "1  no schedule",
            "1  1969-12-31T23:00:00.000Z",
            "1  2030-01-31T12:00:00.000Z",
            "3  2030-01-31T13:00:00.000Z",
            "1  2030-02-01T12:00:00.000Z",
            f"1  {2**62 - 2**62 % HOUR_MS} ms",
        ]
        assert kms("inspect", "--count", "--by", "day", "--target", "out").out.splitlines() == [
            "1  1969-12-31T00:00:00.000Z",
            "2  2030-01-31T00:00:00.000Z",
            f"1  {2**62 - 2**62 % DAY_MS} ms",
        ]

    def test_json_and_csv(self, kms: Kms) -> None:
        done = kms("inspect", "--count", "--by", "topic", "--topic", "mails", "--json")
        assert [json.loads(line) for line in done.out.splitlines()] == [
            {"topic": "out", "count": 2},
            {"topic": "ou", "count": 1},
        ]
        assert json.loads(kms("inspect", "--count", "--json").out) == {"count": 8}
        done = kms("inspect", "--count", "--by", "day", "--failed", "--json")
        assert json.loads(done.out) == {"day": None, "count": 1}
        text = kms("inspect", "--count", "--by", "hour", "--prefix", "mail", "--format", "csv").out
        assert list(csv.reader(io.StringIO(text))) == [
            ["hour", "count"],
            ["2030-01-31T13:00:00.000Z", "1"],
        ]

    def test_by_without_count(self, kms: Kms) -> None:
        done = kms("inspect", "--by", "hour")
        assert done.code == 2
        assert "goes with --count" in done.err


class TestOne:
    def show(self, kms: Kms, cache: Cache, value: bytes) -> list[str]:
        cache.put("orders", 0, 0, b"a", Schedule(T0_MS, "out", b"", value))
        text = kms("inspect", "a").out.split("value:        ")[1]
        return text.split("\n1 of 1 pending")[0].splitlines()

    def test_each_partition_that_has_it(self, kms: Kms, cache: Cache) -> None:
        for topic, partition in (("orders", 1), ("mails", 0), ("orders", 0)):
            cache.put(topic, partition, 5, b"a", Schedule(T0_MS, f"to-{topic}", b"", b""))
        done = kms("inspect", "a")
        records = [line for line in done.out.splitlines() if line.startswith("record:")]
        assert sorted(records) == [
            f"record:       {name} offset 5" for name in ("mails/0", "orders/0", "orders/1")
        ]
        assert done.out.count("\n\nid:           a\n") == 2
        assert "3 of 3 pending" in done.out
        only = kms("inspect", "a", "--topic", "orders", "--json").out.splitlines()
        assert {json.loads(line)["partition"] for line in only} == {0, 1}

    def test_json_is_indented(self, kms: Kms, cache: Cache) -> None:
        assert self.show(kms, cache, '{"größe":[1,"a\\u001b b"], "b" : {}}'.encode()) == [
            "37 bytes of JSON",
            "{",
            '  "größe": [',
            "    1,",
            r'    "a\u001b b"',
            "  ],",
            '  "b": {}',
            "}",
        ]

    @pytest.mark.parametrize(
        "text",
        ['{"a":1.10}', '{"a":1,"a":2}', '["\\u0041"]', "{not json}", "[" * 9999, "NaN", "17"],
    )
    def test_what_would_not_stay_the_same_stays_as_it_is(
        self, kms: Kms, cache: Cache, text: str
    ) -> None:
        assert self.show(kms, cache, text.encode()) == [f"{len(text)} bytes", text]

    def test_bytes_that_are_no_text(self, kms: Kms, cache: Cache) -> None:
        assert self.show(kms, cache, b"0123456789abcdef\xff\x00\x1b") == [
            "19 bytes, no text",
            "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef",
            "00000010  ff 00 1b                                         ...",
        ]
