"""Kinds of schedule: what headers ask for, and what becomes of a schedule that is due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.errors import BadHeaderError
from kms.formats import AVRO, Headers, Kinds
from kms.kinds import CONTROL, EXPIRED, LEFT_OUT, Kind, kind_of, recurs
from kms.occurrences import FIRED, SKIPPED, Outcome, occurrence_ms, outcome, spot_ms
from kms.schedule import Header, Record, Schedule

DUE_MS = 1_800_000_000_000  # 2027-01-15T08:00:00Z
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
ID = b"id"


def headers(**asked: str) -> tuple[Header, ...]:
    """The headers kms-NAME, between others."""
    own = ((f"kms-{name}", value.encode()) for name, value in asked.items())
    return (("a", b"1"), *own, ("z", None))


def then(found: Outcome, due_ms: int) -> tuple[str, int | None, int | None]:
    """Late or not; how long after that the next one is; how many were fired before it."""
    said = dict(found.again or ())
    if found.again is None:
        return found.late, None, None
    assert (said["a"], said["z"]) == (b"1", None)
    after_ms = int(said["kms-next"] or b"") - due_ms
    return found.late, after_ms, int(said["kms-occurrence"] or b"")


def at(late_ms: int, **asked: str) -> tuple[str, int | None, int | None]:
    """What becomes of one of these headers, so late."""
    return then(outcome(headers(**asked), DUE_MS, DUE_MS, DUE_MS + late_ms), DUE_MS)


def test_most_ask_for_nothing() -> None:
    assert kind_of(()) is None
    assert kind_of([("kms-other", b"1"), ("cron", b"x")]) is None
    assert outcome((), 0, 0, DUE_MS) == FIRED
    assert not recurs(headers(expires="1m"))
    assert recurs(headers(every="1m"))
    assert recurs(headers(cron="* * * * *"))


@pytest.mark.parametrize(
    "asked",
    [[("kms-cron", b"0 0 " + b"31," * 500 + b"31 2 *")], [("kms-every", b"1h")] * 51],
    ids=["one of 1.5 KB", "51 of them"],
)
def test_what_would_take_long_to_be_read_is_refused(asked: list[Header]) -> None:
    with pytest.raises(BadHeaderError, match="longer than 1000 bytes, or one of too many"):
        kind_of(asked)


class TestExpiry:
    @pytest.mark.parametrize(
        "expires", ["5m", "PT5M", "1800000300000", "2027-01-15T08:05:00Z", "2027-01-15T08:05"]
    )
    def test_forms(self, expires: str) -> None:
        assert at(5 * MINUTE, expires=expires) == ("", None, None)
        assert at(5 * MINUTE + 1, expires=expires) == (EXPIRED, None, None)

    def test_a_duration_counts_from_the_spot_in_the_window(self) -> None:
        asked = headers(expires="5m", window="1h")
        due_ms = DUE_MS + HOUR
        assert outcome(asked, due_ms, DUE_MS, due_ms + 5 * MINUTE) == FIRED
        assert outcome(asked, due_ms, DUE_MS, due_ms + 5 * MINUTE + 1).late == EXPIRED

    def test_an_occurrence_expires_and_the_next_one_follows(self) -> None:
        assert at(MINUTE + 1, expires="1m", every="1h") == (EXPIRED, HOUR, 0)
        assert at(MINUTE + 1, expires="1m", every="1h", occurrence="3") == (EXPIRED, HOUR, 3)

    def test_past_a_time_nothing_follows(self) -> None:
        by = str(DUE_MS + HOUR)
        assert at(0, expires=by, every="1h") == ("", HOUR, 1)
        assert at(0, expires=by, every="61m") == ("", None, None)
        assert at(2 * HOUR, expires=by, every="1h") == (EXPIRED, None, None)

    @pytest.mark.parametrize("asked", [{}, {"every": "1h"}, {"cron": "0 * * * *"}])
    @pytest.mark.parametrize("expires", ["1800000", "300", "20270115", str(DUE_MS - 1)])
    def test_what_would_never_come_is_told(self, expires: str, asked: dict[str, str]) -> None:
        """Seconds for milliseconds, say: it would all be ended without a word."""
        kind = kind_of(headers(expires=expires, **asked))
        assert kind is not None
        with pytest.raises(BadHeaderError, match="kms-expires"):
            occurrence_ms(kind, DUE_MS)

    def test_what_came_before_may_have_expired_since(self) -> None:
        by = str(DUE_MS)
        kind = kind_of(headers(expires=by, every="1h", next=str(DUE_MS + HOUR)))
        assert kind is not None
        assert occurrence_ms(kind, DUE_MS) == DUE_MS + HOUR


class TestWindow:
    @given(st.binary(), st.integers(0, 2**52), st.integers(1, 10**10))
    def test_never_early_and_never_after_it(
        self, schedule_id: bytes, due: int, length: int
    ) -> None:
        kind = Kind(window_ms=length)
        found = spot_ms(kind, schedule_id, due)
        assert due <= found < due + length
        assert spot_ms(kind, schedule_id, due) == found

    def test_the_spots_are_the_same_for_ever(self) -> None:
        """In every version of Python, on every machine: or a restart would move them."""
        kind = Kind(window_ms=10 * MINUTE)
        found = [spot_ms(kind, b"%d" % number, DUE_MS) - DUE_MS for number in range(4)]
        assert found == SPOTS
        assert spot_ms(kind, b"0", DUE_MS + 1) - DUE_MS - 1 != SPOTS[0]
        assert spot_ms(kind, b"0", 2**63 - 1) == 2**63 - 1
        assert spot_ms(Kind(), b"0", DUE_MS) == DUE_MS

    @given(st.binary(), st.integers(1, 10**6), st.integers(0, 10**6))
    def test_it_ends_where_it_expires(self, schedule_id: bytes, length: int, left: int) -> None:
        kind = Kind(window_ms=length, expires_ms=DUE_MS + left)
        assert DUE_MS <= spot_ms(kind, schedule_id, DUE_MS) <= DUE_MS + min(length, left)

    def test_they_are_spread(self) -> None:
        kind = Kind(window_ms=10 * MINUTE)
        minutes = [0] * 10
        for number in range(10_000):
            minutes[(spot_ms(kind, b"%d" % number, DUE_MS) - DUE_MS) // MINUTE] += 1
        assert min(minutes) > 800


SPOTS = [324347, 520132, 240934, 296843]


class TestRecurrence:
    def test_the_next_one(self) -> None:
        assert at(0, every="5m") == ("", 5 * MINUTE, 1)
        assert at(7, every="PT5M", occurrence="4") == ("", 5 * MINUTE, 5)
        assert at(7, cron="30 * * * *") == ("", 30 * MINUTE, 1)
        assert at(7, cron="0 9 * * *", timezone="Europe/Berlin") == ("", DAY, 1)

    def test_one_is_fired_for_all_that_were_missed(self) -> None:
        late = 3 * HOUR + 1
        assert at(late, every="1h") == ("", 4 * HOUR, 1)
        assert at(late, every="1h", missed="one") == ("", 4 * HOUR, 1)
        assert at(3 * HOUR, every="1h") == ("", 4 * HOUR, 1)
        assert at(3 * HOUR - 1, every="1h") == ("", 3 * HOUR, 1)

    def test_or_all_of_them_or_none(self) -> None:
        late = 3 * HOUR + 1
        assert at(late, every="1h", missed="all") == ("", HOUR, 1)
        assert at(late, every="1h", missed="none") == (LEFT_OUT, 4 * HOUR, 0)
        assert at(MINUTE, every="1h", missed="none") == ("", HOUR, 1)

    def test_what_is_in_its_window_was_not_missed(self) -> None:
        """Its spot is late in the window; the one after it has a spot of its own."""
        asked, due_ms = headers(every="1h", window="2h"), DUE_MS + 2 * HOUR - 1
        assert then(outcome(asked, due_ms, DUE_MS, due_ms), DUE_MS) == ("", HOUR, 1)
        late_ms = due_ms + 3 * HOUR
        assert then(outcome(asked, due_ms, DUE_MS, late_ms), DUE_MS) == ("", 3 * HOUR, 1)

    def test_it_ends(self) -> None:
        assert at(0, every="1h", count="2") == ("", HOUR, 1)
        assert at(0, every="1h", count="2", occurrence="1") == ("", None, None)
        assert at(0, every="1h", count="1") == ("", None, None)
        # What was left out does not count.
        assert at(MINUTE + 1, every="1h", count="1", missed="none") == (LEFT_OUT, HOUR, 0)
        assert at(0, every="1h", until=str(DUE_MS + HOUR)) == ("", HOUR, 1)
        assert at(0, every="1h", until=str(DUE_MS + HOUR - 1)) == ("", None, None)
        paris = {"timezone": "Europe/Paris", "until": "2027-01-15T10:00"}
        assert at(0, every="1h", **paris) == ("", HOUR, 1)
        assert at(1 * HOUR, every="1h", **paris) == ("", None, None)

    def test_a_clock_that_was_set_back_fires_nothing_again(self) -> None:
        assert at(-HOUR, every="1h") == ("", HOUR, 1)

    def test_the_next_record_asks_for_the_same(self) -> None:
        asked = headers(every="1h", count="3", missed="all", window="1s", expires="1d")
        followed: Iterable[Header] = [("kms-fired-offset", b"4"), ("kms-fired-topic", b"t")]
        again = outcome((*asked, *followed), DUE_MS, DUE_MS, DUE_MS).again
        added = (("kms-next", b"%d" % (DUE_MS + HOUR)), ("kms-occurrence", b"1"))
        assert again == (*asked, *added)
        third = outcome(again, DUE_MS + HOUR, DUE_MS + HOUR, DUE_MS + HOUR).again
        added = (("kms-next", b"%d" % (DUE_MS + 2 * HOUR)), ("kms-occurrence", b"2"))
        assert third == (*asked, *added)

    @given(
        st.sampled_from([{"every": "90s"}, {"cron": "*/2 * * * *"}, {"cron": "*/7 * * * * *"}]),
        st.sampled_from(["all", "one", "none"]),
        st.lists(st.integers(0, 10 * MINUTE), min_size=1, max_size=10),
    )
    def test_every_occurrence_is_fired_or_missed(
        self, asked: Mapping[str, str], missed: str, delays: list[int]
    ) -> None:
        """However late each is fired: none twice, none skipped that was not missed."""
        own, due_ms = headers(missed=missed, **asked), DUE_MS
        kind = kind_of(own)
        assert kind is not None
        assert kind.recurrence is not None
        now_ms = DUE_MS
        for delay in delays:
            now_ms = max(now_ms, due_ms) + delay
            found = outcome(own, due_ms, due_ms, now_ms)
            assert found.again is not None
            next_ms = int(dict(found.again)["kms-next"] or b"")
            one_later = kind.recurrence.after(due_ms, due_ms)
            assert one_later is not None
            if missed == "all":
                assert next_ms == one_later
            else:
                assert next_ms == one_later or now_ms < next_ms
                between = kind.recurrence.after(due_ms, max(due_ms, now_ms))
                assert next_ms == between
            own, due_ms = found.again, next_ms


class TestFirst:
    def test_an_interval_begins_at_the_time_of_the_value(self) -> None:
        assert first(DUE_MS + 7, every="1h") == DUE_MS + 7

    def test_a_cron_at_its_first_match_from_there(self) -> None:
        assert first(DUE_MS, cron="0 * * * *") == DUE_MS
        assert first(DUE_MS + 1, cron="0 * * * *") == DUE_MS + HOUR

    def test_a_next_time_beats_the_values(self) -> None:
        assert first(DUE_MS, every="1h", next="5") == 5
        assert first(DUE_MS, next="5") == DUE_MS, "it does not recur"

    def test_what_never_comes_is_refused(self) -> None:
        for asked in (
            {"cron": "0 0 30 2 *"},
            {"cron": "0 9 * * *", "until": str(DUE_MS)},
            {"every": "1h", "until": str(DUE_MS - 1)},
        ):
            with pytest.raises(BadHeaderError, match="it never comes"):
                first(DUE_MS, **asked)
        with pytest.raises(BadHeaderError, match="it never comes"):
            first(2**63 - 1, every="1h")


def first(time_ms: int, **asked: str) -> int:
    kind = kind_of(headers(**asked))
    assert kind is not None
    return occurrence_ms(kind, time_ms)


BAD: list[tuple[dict[str, str], str]] = [
    ({"expires": "soon"}, "kms-expires can't be read: 'soon' is no time and no dur"),
    ({"expires": ""}, "kms-expires can't be read: '' is no time and"),
    ({"window": "10"}, "kms-window can't be read: '10' is no duration"),
    ({"window": "-1m"}, "kms-window"),
    ({"cron": "* * * *"}, "kms-cron can't be read: it has 4 fields"),
    ({"cron": "99 * * * *"}, "kms-cron can't be read"),
    ({"every": "0s"}, "kms-every can't be read: '0s' is less than a second"),
    ({"every": "1 h"}, "kms-every"),
    ({"every": "1h", "cron": "* * * * *"}, "kms-cron and kms-every exclude each other"),
    ({"every": "1h", "timezone": "Berlin"}, "kms-timezone can't be read: 'Berlin' is no time zone"),
    ({"every": "1h", "timezone": "../etc/passwd"}, "kms-timezone"),
    ({"every": "1h", "timezone": ""}, "kms-timezone"),
    # What a machine has beside IANA's zones, of its own.
    ({"every": "1h", "timezone": "localtime"}, "'localtime' is no time zone: give an IANA name"),
    ({"every": "1h", "timezone": "posixrules"}, "'posixrules' is no time zone"),
    ({"every": "1h", "timezone": "posix/Europe/Berlin"}, "'posix/Europe/Berlin' is no time zone"),
    ({"every": "1h", "timezone": "right/Europe/Berlin"}, "'right/Europe/Berlin' is no time zone"),
    ({"every": "1h", "until": "never"}, "kms-until"),
    ({"every": "1h", "count": "0"}, "kms-count can't be read: '0' is not 1 or more"),
    ({"every": "1h", "count": "x" * 1000}, "kms-count"),
    ({"every": "1h", "missed": "some"}, "kms-missed can't be read: 'some' is none of all, one, no"),
    ({"every": "1h", "next": "soon"}, "kms-next"),
    ({"every": "1h", "occurrence": "²"}, "kms-occurrence"),
    ({"until": "5"}, "kms-until needs kms-cron or kms-every beside it"),
    ({"count": "5"}, "kms-count needs"),
    ({"timezone": "UTC"}, "kms-timezone needs"),
    ({"missed": "all"}, "kms-missed needs"),
]


@pytest.mark.parametrize(("asked", "text"), BAD)
def test_bad_headers_are_refused_with_a_sentence(asked: dict[str, str], text: str) -> None:
    with pytest.raises(BadHeaderError, match=text) as caught:
        kind_of(headers(**asked))
    assert len(str(caught.value)) < 300
    assert caught.value.reason == "bad-header"


def test_a_header_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadHeaderError, match="kms-cron is no text"):
        kind_of([("kms-cron", b"\xff")])
    with pytest.raises(BadHeaderError, match="kms-window"):
        kind_of([("kms-window", None)])


@given(st.dictionaries(st.sampled_from(sorted(CONTROL)), st.binary(max_size=12) | st.text()))
def test_any_headers_are_a_kind_or_a_sentence(found: dict[str, bytes | str]) -> None:
    own = [(name, it if isinstance(it, bytes) else it.encode()) for name, it in found.items()]
    try:
        kind = kind_of(own)
    except BadHeaderError as error:
        assert str(error)  # noqa: PT017
    else:
        assert (kind is None) == (not found)


class TestFormats:
    def test_avro_keeps_its_bytes(self) -> None:
        value = AVRO.encode_value(Schedule(DUE_MS, "target", b"k", b"v", (("own", b"1"),)))
        form = Kinds(AVRO)
        record = Record(1, ID, value, headers(every="1h", window="10m", next=str(DUE_MS + HOUR)))
        occurrence = DUE_MS + HOUR
        assert form.decode(record) == Schedule(occurrence, "target", b"k", b"v", (("own", b"1"),))
        assert occurrence < form.due_of(record) < occurrence + 10 * MINUTE
        plain = Record(1, ID, value, [("own", b"2")])
        assert form.due_of(plain) == form.decode(plain).due_ms == DUE_MS
        bad = record._replace(headers=headers(every="often"))
        for call in (form.due_of, form.decode):
            with pytest.raises(BadHeaderError):
                call(bad)

    def test_etf1s_message_has_none_of_these_headers(self) -> None:
        how: tuple[Header, ...] = (
            ("scheduler-epoch", b"%d" % (DUE_MS // 1000)),
            ("scheduler-target-topic", b"target"),
        )
        form = Kinds(Headers("schedules"))
        asked: tuple[Header, ...] = tuple((name, b"1") for name in sorted(CONTROL))
        own = (*how, ("kms-every", b"1h"), ("own", b"1"))
        found = form.decode(Record(1, ID, b"v", own, 5_000))
        assert form.due_of(Record(1, ID, b"v", own)) == DUE_MS
        assert [name for name, _ in found.headers] == [
            *("scheduler-epoch", "scheduler-target-topic", "own"),
            *("scheduler-timestamp", "scheduler-key", "scheduler-topic"),
        ]
        assert (
            not {name for name, _ in Headers("t").decode(Record(1, ID, b"v", asked + how)).headers}
            & CONTROL
        )


@pytest.mark.parametrize("missed", ["one", "all", "none"])
def test_what_is_skipped_goes_on_with_its_next_time(missed: str) -> None:
    """None of those missed meanwhile, however they would be made up for else."""
    asked = headers(every="1m", missed=missed)
    found = outcome(asked, DUE_MS, DUE_MS, DUE_MS + 10 * MINUTE + 1, skip=True)
    assert then(found, DUE_MS) == (SKIPPED, 11 * MINUTE, 0)
    assert outcome((), DUE_MS, DUE_MS, DUE_MS, skip=True) == Outcome(SKIPPED)
