"""What the control topic says, and what follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.errors import FormatError
from kms.pauses import (
    ALL,
    NOT_PAUSED,
    Pause,
    Pauses,
    Stretch,
    key_of,
    pause_of,
    target_of,
    value_of,
)

MOMENTS = st.integers(0, 2**53)
PAUSES = st.builds(
    Pause,
    st.none() | MOMENTS,
    st.lists(st.builds(Stretch, MOMENTS, MOMENTS), max_size=5).map(tuple),
)

LONELY = b'{"group": "g", "target": "\\ud800"}'
BEYOND = [b'{"since_ms": %s, "skipped": []}' % text for text in (b"1e999", b"-1", b"1" + b"0" * 30)]


@given(st.text(), st.text(), PAUSES)
def test_what_is_written_is_read(group: str, target: str, pause: Pause) -> None:
    assert target_of(key_of(group, target), group) == target
    assert target_of(key_of(group, target), f"{group}2") is None
    assert pause_of(value_of(pause)) == pause


def test_a_null_pauses_nothing() -> None:
    assert pause_of(None) == NOT_PAUSED


@pytest.mark.parametrize(
    "value", [b"", b"x", b"[]", b"{}", b'{"since_ms": "x", "skipped": []}', *BEYOND]
)
def test_a_value_of_somebody_else_is_refused(value: bytes) -> None:
    with pytest.raises(FormatError):
        pause_of(value)


@pytest.mark.parametrize("key", [None, b"", b"{}", b'"x"', b'{"group": "g", "target": 1}', LONELY])
def test_a_key_of_somebody_else_is_refused(key: bytes | None) -> None:
    with pytest.raises(FormatError):
        target_of(key, "g")


def test_paused_twice_is_paused_since_the_first_time() -> None:
    assert NOT_PAUSED.paused(5).paused(9) == Pause(5)


@pytest.mark.parametrize("target", ["payments", ALL])
def test_what_is_skipped_fell_due_in_the_pause_and_was_written_before_its_end(target: str) -> None:
    pauses = Pauses()
    pauses.replace({target: Pause(10).resumed(20, skip=True)})
    assert not pauses.is_paused("payments")
    fell_due = {
        due_ms: pauses.skips("payments", due_ms, written_ms=5) for due_ms in (9, 10, 20, 21)
    }
    assert fell_due == {9: False, 10: True, 20: True, 21: False}
    assert not pauses.skips("payments", 15, written_ms=21)
    # And still, once it is paused again.
    pauses.replace({target: Pause(10).resumed(20, skip=True).paused(30)})
    assert pauses.skips("payments", 15, written_ms=5)


def test_without_being_asked_nothing_is_skipped() -> None:
    pauses = Pauses()
    pauses.replace({"payments": Pause(10).resumed(20, skip=False)})
    assert not pauses.skips("payments", 15, written_ms=5)
    assert not pauses.any_skipped


def test_all_are_paused_or_one() -> None:
    told = []
    pauses = Pauses(known=False)
    pauses.changed = lambda: told.append(pauses.known)
    pauses.replace({"payments": Pause(10)})
    assert told == [True]
    assert pauses.is_paused("payments")
    assert not pauses.is_paused("mails")
    assert not pauses.all_are()
    pauses.replace({ALL: Pause(10)})
    assert pauses.is_paused("mails")
    assert pauses.all_are()
    assert pauses.since_ms() == {ALL: 10}
