"""``inspect`` of what recurs, expires or has a window: what its record's headers ask for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest

from kms.schedule import Header, Schedule
from tests.cli.conftest import T0_MS, Cache, Done

Kms = Callable[..., Done]
RECURS: tuple[Header, ...] = (
    ("kms-until", b"1924992000000"),
    ("own", b"1"),
    ("kms-count", b"10"),
    ("kms-every", b"5m"),
    ("kms-next", b"%d" % T0_MS),
    ("kms-occurrence", b"3"),
    ("kms-fired-offset", b"4"),
    ("kms-fired-topic", b"id"),
)
KIND = {"every": "5m", "until": "1924992000000", "count": "10", "occurrence": "3"}


@pytest.fixture
def filled(cache: Cache) -> Cache:
    """One that recurs, one with a header that can't be read, one of no kind."""
    cache.put("orders", 0, 5, b"again", Schedule(T0_MS, "out", b"k", b"v"), RECURS)
    wrong = (("kms-window", b"so\x1bon"), ("kms-expires", b"5m"))
    cache.put("orders", 0, 6, b"wrong", Schedule(T0_MS + 1, "out", b"k", b"v"), wrong)
    cache.put("orders", 0, 7, b"once", Schedule(T0_MS + 2, "out", b"k", b"v"), (("own", b"1"),))
    return cache


@pytest.mark.usefixtures("filled")
class TestKinds:
    def test_one_whole(self, kms: Kms) -> None:
        lines = kms("inspect", "again").out.splitlines()
        assert lines[3:9] == [
            "record:       orders/0 offset 5",
            "every:        5m",
            "until:        2031-01-01T00:00:00.000Z (1924992000000)",
            "count:        10",
            "fired:        3 so far",
            "target topic: out",
        ]

    def test_one_that_can_not_be_read(self, kms: Kms) -> None:
        lines = kms("inspect", "wrong").out.splitlines()
        assert lines[1:5] == [
            "due:          no schedule",
            "record:       orders/0 offset 6",
            r"window:       so\x1bon",
            "expires:      5m",
        ]

    def test_json_has_it_where_there_is_one(self, kms: Kms) -> None:
        again, wrong, once = map(json.loads, kms("inspect", "--json").out.splitlines())
        assert again["kind"] == KIND
        assert wrong["kind"] == {"window": "so\x1bon", "expires": "5m"}
        assert "kind" not in once
        (one,) = map(json.loads, kms("inspect", "again", "--json").out.splitlines())
        assert one == again

    def test_csv_has_a_column_behind_the_others(self, kms: Kms) -> None:
        head, *rows = csv.reader(io.StringIO(kms("inspect", "--format", "csv").out))
        assert head[-2:] == ["message", "kind"]
        assert [json.loads(row[-1]) if row[-1] else None for row in rows] == [
            KIND,
            {"window": "so\x1bon", "expires": "5m"},
            None,
        ]

    def test_the_table_has_the_most_important(self, kms: Kms) -> None:
        head, again, wrong, once, *_ = kms("inspect").out.splitlines()
        assert head.endswith("Record      Kind")
        assert again.endswith("orders/0@5  every 5m")
        assert wrong.endswith(r"orders/0@6  window so\x1bon, expires 5m")
        assert once.endswith("orders/0@7")

    def test_a_terminal_has_it_only_where_there_is_one(
        self, kms: Kms, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
        assert "every 5m" in kms("inspect").out
        without = kms("inspect", "--prefix", "once").out
        assert "Record" in without
        assert "Kind" not in without
