"""What failed is looked at in turns: nobody who can't be fired now is in another one's way."""

from __future__ import annotations

import itertools
import math

import pytest

from kms import failed_search
from kms.due import Due
from kms.failed_search import FailedSearch
from kms.schedule import Row
from tests.test_store import Store, failure, store

__all__ = ["store"]

NOW_MS, BATCH = 99, 3


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_search, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(failed_search, "BATCH", BATCH)


def fill(store: Store, *counts: int) -> list[int]:
    """Failed schedules, so many in each partition, all due again; answers the partitions."""
    numbers = []
    for partition, count in enumerate(counts):
        rows = store.partition(partition)
        numbers.append(rows.number)
        found = [Due(rows.number, b"%d" % it, it, it, b"v") for it in range(count)]
        for due in found:
            rows[due.id] = Row(due.offset, due.due_ms, due.value)
        store.commit(rows)
        store.writer.note([failure(due, next_ms=0) for due in found])
    return numbers


def look(search: FailedSearch, numbers: list[int]) -> list[tuple[int, int]]:
    """The partition, from 0, and the offset of each that one look has found."""
    order = search.begin(numbers)
    assert sorted(order) == numbers
    found = [due for number in order for due in search.find(number, NOW_MS)]
    assert len(found) <= BATCH
    return [(numbers.index(due.number), due.offset) for due in found]


@pytest.mark.parametrize("counts", list(itertools.product((0, 1, 3, 7), repeat=3)), ids=str)
def test_each_gets_its_turn_however_many_stay_due(store: Store, counts: tuple[int, ...]) -> None:
    numbers = fill(store, *counts)
    search = FailedSearch(store.reader)
    every = {(part, offset) for part, count in enumerate(counts) for offset in range(count)}
    for _ in range(3):  # over and over
        looks = [look(search, numbers) for _ in range(math.ceil(len(every) / BATCH) + 1)]
        assert set(itertools.chain(*looks)) == every


def test_a_look_goes_on_where_the_last_one_ended(store: Store) -> None:
    numbers = fill(store, 5, 2)
    search = FailedSearch(store.reader)
    assert look(search, numbers) == [(0, 0), (0, 1), (0, 2)]
    assert look(search, numbers) == [(0, 3), (0, 4), (1, 0)]
    assert look(search, numbers) == [(1, 1), (0, 0), (0, 1)]
    assert look(search, numbers) == [(0, 2), (0, 3), (0, 4)]
    assert look(search, numbers[1:]) == [(0, 0), (0, 1)]  # the other one was given up
    assert look(search, numbers) == [(0, 0), (0, 1), (0, 2)]


def test_between_two_looks_nothing_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_search, "LOOK_SECONDS", 3_600.0)
    numbers = fill(store, 5)
    search = FailedSearch(store.reader)
    assert len(look(search, numbers)) == BATCH
    assert look(search, numbers) == []
