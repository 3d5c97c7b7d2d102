"""Claims: each method, and the races that its docstrings name."""

from __future__ import annotations

import threading

import pytest

from kms.claims import Claims, Position
from kms.due import Due

A, B = b"a", b"b"


def due(schedule_id: bytes = A, offset: int = 5, due_ms: int = 100, number: int = 1) -> Due:
    return Due(number, schedule_id, offset, due_ms, b"")


def position(found: Due) -> Position:
    return found.due_ms, found.offset


def taken(claims: Claims, *found: Due) -> list[Due]:
    """Search and take without anything in between."""
    assert claims.start_of_search(found[0].number) is not None
    return claims.take(found[0].number, found, max(map(position, found)))


@pytest.fixture
def claims() -> Claims:
    claims = Claims()
    claims.open(1)
    return claims


def test_only_open_partitions_are_searched_and_taken_from() -> None:
    claims = Claims()
    assert claims.start_of_search(1) is None
    assert claims.next_search(1) is None
    assert claims.take(1, [due()], (100, 5)) == []
    claims.stored(1, (0, 0))
    claims.folded(1, {A: 1})
    claims.open(1)
    claims.open(2)
    assert claims.open_numbers() == [1, 2]
    assert len(taken(claims, due())) == 1
    assert claims.close([1])
    assert claims.open_numbers() == [2]
    assert (claims.count(), claims.next_search(1), claims.take(1, [due()], (1, 1))) == (0, None, [])


@pytest.mark.parametrize("first", [due(offset=0, due_ms=-(2**63)), due(offset=0, due_ms=2**63 - 1)])
def test_the_first_search_finds_every_row_and_no_position_is_too_large_for_sqlite(
    claims: Claims, first: Due
) -> None:
    start = claims.start_of_search(1)
    assert start is not None
    assert start < position(first)
    assert claims.take(1, [first], position(first)) == [first]
    claims.give_back([first])
    for found in (claims.next_search(1), claims.start_of_search(1)):
        assert found is not None
        assert found < position(first)
        assert all(-(2**63) <= part < 2**63 for part in found)


def test_a_row_is_taken_once_and_the_next_search_starts_behind_it(claims: Claims) -> None:
    one = due()
    assert taken(claims, one) == [one]
    assert taken(claims, due(), due(B, 6)) != []
    assert claims.count() == 2
    assert claims.next_search(1) == claims.start_of_search(1) == (100, 6)
    assert claims.take(1, [due()], (0, 0)) == []
    assert claims.next_search(1) == (100, 6)
    assert claims.take(1, [due(b"c", 9)], (100, 9)) == []  # not part of a search


def test_one_search_never_takes_an_id_twice(claims: Claims) -> None:
    assert len(taken(claims, due(), due())) == 1


def test_what_is_stored_between_search_and_take_is_looked_at_again(claims: Claims) -> None:
    claims.start_of_search(1)
    claims.stored(1, (50, 7))
    claims.stored(1, (60, 8))  # the earliest counts
    claims.take(1, [due()], (100, 5))
    assert claims.next_search(1) == (50, 6)
    assert claims.start_of_search(1) == (50, 6)
    assert claims.next_search(1) == (50, 6)  # until somebody got further
    claims.take(1, [due(B, 7, 50)], (50, 7))
    assert claims.next_search(1) == (50, 7)


@pytest.mark.parametrize(("offset", "count"), [(None, 0), (6, 0), (5, 1)])
def test_a_claim_lasts_as_long_as_its_row(claims: Claims, offset: int | None, count: int) -> None:
    # The same offset: the claim was taken between the commit and this call.
    batch = taken(claims, due())
    claims.folded(1, {A: offset, B: 9})
    assert claims.count() == count
    assert claims.begin(batch) == batch[:count]


@pytest.mark.parametrize(("offset", "count"), [(None, 0), (6, 0), (5, 1)])
def test_what_was_read_before_a_fold_is_not_taken_after_it(
    claims: Claims, offset: int | None, count: int
) -> None:
    fired = taken(claims, due())
    claims.begin(fired)
    claims.end()
    claims.give_back([])
    claims.stored(1, (1, 1))
    claims.start_of_search(1)
    read = due()  # its tombstone is not in the store yet
    claims.folded(1, {A: None, B: 9})
    claims.folded(1, {A: offset})
    assert len(claims.take(1, [read], (100, 5))) == count
    assert len(taken(claims, due(A, 5), due(B, 9))) == 2 - count  # the next search reads anew


def test_what_was_read_before_a_partition_was_closed_is_not_taken_later(claims: Claims) -> None:
    claims.start_of_search(1)
    claims.close([1])
    claims.open(1)
    assert claims.take(1, [due()], (100, 5)) == []
    assert len(taken(claims, due())) == 1


def test_a_claim_of_an_earlier_opening_is_never_valid_again(claims: Claims) -> None:
    old = taken(claims, due())
    claims.close([1])
    claims.open(1)
    assert claims.begin(old) == []
    claims.end()
    new = taken(claims, due())
    start = claims.next_search(1)
    claims.give_back(old)
    assert claims.next_search(1) == start
    assert claims.begin([*old, *new]) == new


def test_a_batch_is_fired_without_what_changed_since(claims: Claims) -> None:
    claims.open(2)
    batch = taken(claims, due(), due(B), due(b"c")) + taken(claims, due(number=2))
    claims.folded(1, {A: 8, B: None})
    claims.close([2])
    assert claims.begin(batch) == [batch[2]]
    claims.end()
    assert claims.begin(batch) == [batch[2]]  # claimed until its tombstone is folded


def test_what_is_given_back_is_taken_again(claims: Claims) -> None:
    batch = taken(claims, due(B, 3, 20), due())
    claims.begin(batch)
    claims.give_back(batch)
    assert (claims.count(), claims.next_search(1)) == (0, (20, 2))
    assert len(taken(claims, due(B, 3, 20), due())) == 2
    assert claims.begin(batch) == []  # those were other claims


def test_whoever_may_find_something_new_is_called_without_the_lock() -> None:
    called: list[bool] = []

    def changed() -> None:
        other = threading.Thread(target=watched.count, daemon=True)
        other.start()
        other.join(5)
        called.append(not other.is_alive())

    watched = Claims(changed)
    watched.open(1)
    assert called == [True]
    watched.stored(1, (1, 1))
    assert called == [True] * 2
    watched.give_back(taken(watched, due()))
    assert called == [True] * 3


@pytest.mark.parametrize("ending", ["end", "give_back"])
def test_closing_waits_for_the_transaction_that_runs(claims: Claims, ending: str) -> None:
    batch = claims.begin(taken(claims, due()))
    results: list[tuple[bool, bool]] = []
    ended = threading.Event()
    closer = threading.Thread(
        target=lambda: results.append((claims.close([1], 60), ended.is_set())), daemon=True
    )
    closer.start()
    while claims.open_numbers():  # closed under the lock, which only waiting releases
        closer.join(0.001)
    assert claims.close([2], 0)  # not touched by it
    assert not claims.close([1], 0)
    assert closer.is_alive()
    ended.set()
    if ending == "end":
        claims.end()
    else:
        claims.give_back(batch)
    closer.join(10)
    assert results == [(True, True)]
    assert claims.close([1], 0)


def test_a_search_that_runs_takes_nothing_as_it_was_before_its_release(claims: Claims) -> None:
    """It has read the row, say, as one of lane 0, and the store has it in another one now."""
    (held,) = taken(claims, due())
    read = due()
    assert claims.start_of_search(1) is not None
    claims.release([held])
    assert claims.take(1, [read], position(read)) == []
    assert claims.start_of_search(1) is not None
    assert claims.take(1, [read], position(read)) == [read]  # a search that began later may
