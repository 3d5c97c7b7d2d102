"""What a query asks for, and the sentence where it makes no sense."""

from __future__ import annotations

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms import times
from kms.store import Place
from kms.web.question import DEFAULT_LIMIT, NAMES, Question, QuestionError, asked, cursor

NOON_MS = 1_893_499_200_000  # 2030-01-01T12:00:00Z


def test_nothing_asked_is_everything() -> None:
    assert asked("") == asked("&&") == Question(DEFAULT_LIMIT)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=1000", Question(1_000)),
        ("target=a.b&topic=c", Question(target="a.b", topic="c")),
        ("prefix=a%2Fb%20%FF+%2B", Question(prefix=b"a/b \xff +")),
        ("after=1893499200000", Question(start=Place(NOON_MS, -1, -1))),
        ("before=2030-01-01T12:00:00Z", Question(before_ms=NOON_MS)),
        ("before=2030-01-01T14:00:00%2B02:00", Question(before_ms=NOON_MS)),
        ("before=2030-01-01T14:00:00+02:00", Question(before_ms=NOON_MS)),
        ("failed=true", Question(failed=True)),
        ("failed=false", Question(failed=False)),
        ("cursor=-5_6_7", Question(start=Place(-5, 6, 7))),
        # Whichever is later.
        ("after=5&cursor=4_0_0", Question(start=Place(5, -1, -1))),
        ("after=5&cursor=5_0_0", Question(start=Place(5, 0, 0))),
    ],
)
def test_what_is_asked(query: str, expected: Question) -> None:
    assert asked(query) == expected


def test_a_duration_is_from_now_on() -> None:
    before_ms = times.now_ms()
    found = asked("before=1h&after=30m")
    assert found.before_ms is not None
    assert found.start is not None
    assert before_ms + 3_600_000 <= found.before_ms <= times.now_ms() + 3_600_000
    assert before_ms + 1_800_000 <= found.start.due_ms <= times.now_ms() + 1_800_000


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        *((f"limit={bad}", "limit is ") for bad in ("0", "1001", "-1", "1.0", "x", "", "9" * 99)),
        ("limit=%D9%A1", "limit is "),  # a digit, but not one of ours
        ("after=soon", "after: 'soon' is no time"),
        ("before=99999999-01-01", "before: "),
        ("before=%FF", "before is no UTF-8."),
        ("target=%FF", "target is no UTF-8."),
        ("failed=yes", "failed is 'yes': give true or false."),
        ("failed", "failed is ''"),
        ("cursor=1_2", "cursor is '1_2'"),
        ("cursor=1_2_99999999999", "cursor is "),
        ("cursor=9223372036854775807_1_1", "cursor is "),
        ("cursor=-9223372036854775809_1_1", "cursor is "),
        ("colour=red", "'colour' is no parameter: there are limit, target, "),
        ("%3Cscript%3E=1", "'<script>' is no parameter"),
        ("limit=1&limit=2", "limit is there twice"),
        ("limit=" + "1" * 15_000, "..."),
    ],
)
def test_what_makes_no_sense(query: str, sentence: str) -> None:
    with pytest.raises(QuestionError) as found:
        asked(query)
    assert sentence in str(found.value)
    assert len(str(found.value)) < 400
    assert str(found.value).isascii()


@given(st.integers(-(2**63), 2**63 - 2), st.integers(0, 2**63 - 2), st.integers(0, 10**9 - 1))
def test_a_cursor_comes_back_as_its_place(due_ms: int, offset: int, number: int) -> None:
    place = Place(due_ms, offset, number)
    assert asked(f"cursor={quote(cursor(place))}").start == place


@given(st.one_of(st.text(), st.dictionaries(st.sampled_from(NAMES), st.text()).map(urlencode)))
def test_any_query_is_a_question_or_a_sentence(query: str) -> None:
    try:
        found = asked(query)
    except QuestionError as error:
        found = Question() if str(error).endswith(".") else Question(0)
    assert 1 <= found.limit <= 1_000
