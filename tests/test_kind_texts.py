"""A kind of schedule as people and programs are shown it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.errors import BadHeaderError
from kms.kind_texts import NAMES, mark_of, own_words, texts_of, with_date
from kms.kinds import ASKED, CONTROL, CRON, EVERY, EXPIRES, WINDOW, kind_of
from kms.schedule import Header


def headers(**asked: str) -> tuple[Header, ...]:
    """The headers kms-NAME, between others."""
    own = ((f"kms-{name}", value.encode()) for name, value in asked.items())
    return (("a", b"1"), *own, ("z", None))


def test_every_header_that_asks_has_a_name() -> None:
    assert set(NAMES) == {it.removeprefix("kms-") for it in ASKED} | {"occurrence"}
    assert texts_of(headers(**dict.fromkeys(NAMES, "x"))) == dict.fromkeys(NAMES, "x")


def test_most_ask_for_nothing() -> None:
    for none in ((), headers(next="5", occurrence="3"), [("kms-fired-offset", b"1")]):
        assert texts_of(none) == {}
        assert mark_of(none) == ""


def test_of_what_recurs_how_often_it_was_fired() -> None:
    assert texts_of(headers(every="5m", count="3")) == {
        "every": "5m",
        "count": "3",
        "occurrence": "0",
    }
    assert texts_of(headers(cron="* * * * *", occurrence="2", next="60000"))["occurrence"] == "2"
    assert "occurrence" not in texts_of(headers(window="5m"))


def test_what_can_not_be_read_is_shown_as_it_is() -> None:
    wrong: list[Header] = [("kms-every", b"\xff"), ("kms-window", None), ("kms-count", b" x ")]
    assert texts_of(wrong) == {"every": r"\xff", "count": " x ", "window": "", "occurrence": "0"}


def test_at_a_glance() -> None:
    asked = headers(expires="1893456000000", window="10m", every="5m", count="3", missed="all")
    assert mark_of(asked) == "every 5m, window 10m, expires 2030-01-01T00:00:00.000Z"
    assert mark_of(headers(cron="0 9 * * mon", timezone="Europe/London")) == "cron 0 9 * * mon"


def test_milliseconds_as_a_date() -> None:
    assert with_date("0") == "1970-01-01T00:00:00.000Z"
    for other in ("5m", "", "9" * 30, "9" * 5_000, "٣", "2030-01-01T00:00"):
        assert with_date(other) == other


@given(st.lists(st.tuples(st.sampled_from(sorted(CONTROL)), st.none() | st.binary(max_size=9))))
def test_whatever_a_record_has_is_shown(found: list[Header]) -> None:
    names = {name for name, _ in found}
    assert bool(texts_of(found)) is bool(names & set(ASKED))
    assert bool(mark_of(found)) is bool(names & {EVERY, CRON, WINDOW, EXPIRES})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"every": "5m", "cron": "* * * * *"}, "--cron and --every exclude each other"),
        ({"count": "3"}, "--count needs --cron or --every beside it"),
        ({"every": "kms"}, "--every can't be read: 'kms' is no duration"),
    ],
)
def test_an_error_in_the_words_of_who_wrote_no_header(asked: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadHeaderError) as caught:
        kind_of(headers(**asked))
    assert own_words(caught.value, "--").startswith(sentence)
    assert own_words(caught.value).startswith(sentence.replace("--", ""))
