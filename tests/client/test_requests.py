"""What a program asks for, as the record that is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.client import Recurring
from kms.client.requests import Entry, Requests
from kms.client.values import duration_ms_of, epoch_ms_of
from kms.errors import RequestError
from kms.formats import FORMATS
from kms.kafka import java_partition
from kms.schedule import Record, Schedule
from kms.times import now_ms

AT_MS = 1_893_456_000_000
AT = datetime(2030, 1, 1, tzinfo=UTC)
FORMS = [form for form in FORMATS if form != "registry"]


def decoded(entry: Entry, form: str) -> Schedule:
    record = Record(0, entry.id, entry.value, entry.headers)
    return FORMATS[form]("schedules").decode(record)


@pytest.mark.parametrize("form", FORMS)
def test_a_message_is_read_as_it_was_asked_for(form: str) -> None:
    asked = Requests("schedules", form).at(
        AT,
        {"to": "orders", "key": "k", "value": b"\xff", "headers": {"a": "é", "b": b""}, "id": "x"},
    )
    assert asked.id == b"x"
    found = decoded(asked, form)
    assert (found.due_ms, found.topic, found.key, found.value) == (AT_MS, "orders", b"k", b"\xff")
    headers = [it for it in found.headers if not it[0].startswith("scheduler-")]
    assert headers == [("a", "é".encode()), ("b", b"")]


@pytest.mark.parametrize(("form", "key"), [("avro", b""), ("json", b""), ("headers", None)])
def test_without_a_key(form: str, key: bytes | None) -> None:
    asked = Requests("schedules", form).at(AT, {"to": "orders", "value": "v"})
    assert decoded(asked, form).key == key
    other = Requests("schedules", form).at(AT, {"to": "orders", "value": "v"})
    assert len(asked.id) == 36
    assert asked.id != other.id


def test_without_a_value_it_is_null() -> None:
    assert decoded(Requests("schedules", "avro").at(AT, {"to": "o"}), "avro").value is None
    with pytest.raises(RequestError, match="schedules: without a value"):
        Requests("schedules", "headers").at(AT, {"to": "o"})


@pytest.mark.parametrize("form", FORMS)
def test_again_and_again(form: str) -> None:
    requests = Requests("schedules", form)
    every = requests.every(
        timedelta(minutes=5), {"to": "o", "value": "v", "first": AT, "count": 3, "missed": "all"}
    )
    assert decoded(every, form).due_ms == AT_MS
    assert dict(every.headers).items() >= {
        ("kms-every", b"5m"),
        ("kms-count", b"3"),
        ("kms-missed", b"all"),
    }
    cron = requests.cron(
        "0 9 * * mon", {"to": "o", "value": "v", "timezone": "Europe/London", "until": AT}
    )
    assert dict(cron.headers).items() >= {
        ("kms-cron", b"0 9 * * mon"),
        ("kms-timezone", b"Europe/London"),
        ("kms-until", b"%d" % AT_MS),
    }
    assert abs(decoded(cron, form).due_ms - now_ms()) < 60_000


@pytest.mark.parametrize(
    ("cron", "more", "sentence"),
    [
        ("every day", {}, "^cron can't be read: it has 2 fields"),
        ("\ud800 9 * * *", {}, "The cron expression holds half a character"),
        (None, {}, "The cron expression is a NoneType: give a str"),
        ("0 9 * * *", {"timezone": "Mars"}, "^timezone can't be read: 'Mars' is no time zone"),
        ("0 9 * * *", {"timezone": UTC}, "timezone is datetime.timezone.utc: give an IANA name"),
        ("0 9 * * *", {"count": 0}, "count is 0: give a whole number, 1 or more"),
        ("0 9 * * *", {"count": "3"}, "count is '3': give"),
        ("0 9 * * *", {"count": 3.5}, "count is 3.5: give"),
        ("0 9 * * *", {"count": True}, "count is True: give"),
        ("0 9 * * *", {"count": 2**63}, f"count is {2**63}: give"),
        ("0 9 * * *", {"until": -(10**15)}, "^until can't be read: '-10+' is no time"),
        ("0 9 * * *", {"missed": "some"}, "^missed can't be read: 'some' is none of all, one"),
        ("0 9 * * *", {"missed": 1}, "missed is a int: give a str"),
        ("0 9 * * *", {"first": AT, "until": 0}, "it never comes: cron and until leave no time"),
    ],
)
def test_what_would_never_come(cron: Any, more: Any, sentence: str) -> None:
    asked: Any = {"to": "o", **more}
    with pytest.raises(RequestError, match=sentence):
        Requests("schedules", "avro").cron(cron, asked)


def test_an_interval_that_ends_before_it_begins() -> None:
    with pytest.raises(RequestError, match="it never comes: every and until leave no time"):
        Requests("schedules", "avro").every(60, {"to": "o", "until": 0})


def test_none_is_as_good_as_nothing() -> None:
    requests = Requests("schedules", "avro")
    nothing: Any = dict.fromkeys(Recurring.__annotations__) | {"to": "o"}
    asked = requests.cron("0 9 * * *", nothing)
    assert asked.headers == (("kms-cron", b"0 9 * * *"),)
    assert len(asked.id) == 36
    assert decoded(asked, "avro")[1:] == ("o", b"", None, ())


def test_a_time_zone_as_it_comes() -> None:
    zone = ZoneInfo("Europe/London")
    asked = Requests("schedules", "avro").cron("0 9 * * *", {"to": "o", "timezone": zone})
    assert asked.headers == (("kms-cron", b"0 9 * * *"), ("kms-timezone", b"Europe/London"))


class TestKeywords:
    """Python looks at none of those that it unpacks into ``**asked``."""

    @pytest.mark.parametrize(
        ("call", "asked", "sentence"),
        [
            ("at", {"vlaue": "x"}, "vlaue is no keyword of at: there are to, key, value, headers"),
            ("after", {"count": 3}, "count is for every and cron: after sends it once"),
            ("at", {"timezone": None}, "timezone is for every and cron: at sends it once"),
            ("every", {"cout": 3}, "cout is no keyword of every: there are to, .* until, count"),
            ("every", {"when": 3}, "when is no keyword of every"),
        ],
    )
    def test_one_that_is_none(self, call: str, asked: Any, sentence: str) -> None:
        with pytest.raises(RequestError, match=sentence):
            getattr(Requests("schedules", "avro"), call)(90, {"to": "o", **asked})

    @pytest.mark.parametrize(("call", "first"), [("at", 1), ("every", 90), ("cron", "0 9 * * *")])
    @pytest.mark.parametrize("asked", [{"value": "v"}, {"to": None}])
    def test_one_that_is_missing(self, call: str, first: Any, asked: Any) -> None:
        with pytest.raises(RequestError, match="to is missing: the topic to send the message to"):
            getattr(Requests("schedules", "avro"), call)(first, asked)


def test_expiry_and_window() -> None:
    requests = Requests("schedules", "avro")
    asked = requests.at(AT, {"to": "o", "expires": timedelta(minutes=90), "window": 600})
    assert asked.headers == (("kms-expires", b"1h30m"), ("kms-window", b"10m"))
    assert requests.at(0, {"to": "o", "expires": AT}).headers == (("kms-expires", b"%d" % AT_MS),)


def test_numbers_that_python_does_not_write() -> None:
    requests, most = Requests("schedules", "avro"), 10**5_000
    with pytest.raises(RequestError, match="when is a number of thousands of digits, which has"):
        requests.at(most, {"to": "o"})
    with pytest.raises(RequestError, match="delay is a number of thousands of digits: give sec"):
        requests.after(most, {"to": "o"})
    with pytest.raises(RequestError, match="count is a number of thousands of digits: give a wh"):
        requests.every(60, {"to": "o", "count": most})


def test_before_1970() -> None:
    """Digits are no time there."""
    early = datetime(1960, 1, 1, tzinfo=UTC)
    asked = Requests("schedules", "avro").every(
        60, {"to": "o", "first": datetime(1950, 1, 1, tzinfo=UTC), "until": early, "expires": early}
    )
    assert dict(asked.headers).items() >= {
        ("kms-until", b"1960-01-01T00:00:00.000Z"),
        ("kms-expires", b"1960-01-01T00:00:00.000Z"),
    }


def test_after_and_every_count_from_now() -> None:
    before_ms = now_ms()
    after = decoded(Requests("schedules", "avro").after(90, {"to": "o"}), "avro")
    every = decoded(Requests("schedules", "avro").every(90.0, {"to": "o"}), "avro")
    assert before_ms + 90_000 <= after.due_ms <= every.due_ms <= now_ms() + 90_000


def test_a_cancel_is_a_null() -> None:
    assert Requests("schedules", "avro").cancel("é") == Entry("é".encode(), None)
    assert Requests("schedules", "json").cancel(b"\xff").id == b"\xff"


class TestTimes:
    @given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3))])))
    def test_none_is_early(self, moment: datetime) -> None:
        due_ms = epoch_ms_of(moment, "when")
        due = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=1) * min(
            due_ms, 253_402_300_799_999
        )
        assert timedelta(0) <= due - moment < timedelta(milliseconds=1) or due.year == 9999

    def test_summer_time(self) -> None:
        london = datetime(2030, 7, 1, 9, tzinfo=ZoneInfo("Europe/London"))
        assert epoch_ms_of(london, "when") == epoch_ms_of(
            datetime(2030, 7, 1, 8, tzinfo=UTC), "when"
        )

    @pytest.mark.parametrize(
        ("when", "sentence"),
        [
            (datetime(2030, 1, 1), r"when is 2030-01-01T00:00:00 without a time zone: give an awa"),  # noqa: DTZ001
            (1.5, "when is 1.5: give an aware datetime, or whole milliseconds since 1970"),
            (True, "when is True: give"),
            ("2030-01-01", "when is '2030-01-01': give"),
            (2**63, "more than 64 bits"),
        ],
    )
    def test_what_is_no_time(self, when: Any, sentence: str) -> None:
        with pytest.raises(RequestError, match=sentence):
            Requests("schedules", "avro").at(when, {"to": "o"})

    @pytest.mark.parametrize(
        "delay", [-1, timedelta(-1), float("nan"), float("inf"), "5m", None, True]
    )
    def test_what_is_no_duration(self, delay: Any) -> None:
        with pytest.raises(RequestError, match="delay is "):
            duration_ms_of(delay, "delay")

    def test_the_longest_duration(self) -> None:
        requests = Requests("schedules", "avro")
        with pytest.raises(RequestError, match="that is later than the year 9999"):
            requests.after(timedelta.max, {"to": "o"})
        with pytest.raises(RequestError, match=r"^every can't be read"):
            requests.every(timedelta.max, {"to": "o"})
        with pytest.raises(RequestError, match=r"^window can't be read"):
            requests.at(AT, {"to": "o", "window": timedelta.max})

    def test_a_duration_is_never_cut(self) -> None:
        assert duration_ms_of(0.0001, "delay") == 1
        assert duration_ms_of(timedelta(microseconds=2_001), "delay") == 3
        with pytest.raises(RequestError, match=r"interval is 0.999, which is less than a second"):
            Requests("schedules", "avro").every(0.999, {"to": "o"})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"to": "no topic"}, "The target topic, to, 'no topic' is no name of a topic"),
        ({"to": b"o"}, "The target topic, to, is a bytes: give a str"),
        ({"to": "o", "id": ""}, "id is empty"),
        ({"to": "o", "id": "\ud800"}, "id holds half a character"),
        ({"to": "o", "value": {"a": 1}}, "value is a dict: give bytes, or a str"),
        ({"to": "o", "headers": {"a": 1}}, "header 'a' is a int"),
        (
            {"to": "o", "headers": {"kms-window": "5m"}},
            "to schedules: no message can have the header kms-window, .*; ask for window itself",
        ),
        ({"to": "o", "headers": {1: "a"}}, "the header name 1 is a int: give a str"),
        ({"to": "o", "headers": {"a\0b": "x"}}, r"the header name 'a.x00b' holds a NUL, which"),
        ({"to": "o", "headers": {"\ud800": "x"}}, "the header name .* holds half a character"),
        ({"to": "o", "headers": [("a", "b")]}, "headers is a list: give a dict"),
    ],
)
def test_what_makes_no_sense(asked: Any, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        Requests("schedules", "avro").at(AT, asked)


@pytest.mark.parametrize(
    "name", ["scheduler-epoch", "scheduler-target-topic", "scheduler-target-key"]
)
def test_a_header_that_would_say_how_to_send_it(name: str) -> None:
    """With no key, one of these would make it."""
    asked: Any = {"to": "o", "value": "v", "headers": {name: "x"}}
    with pytest.raises(RequestError, match=f"the header {name} would be taken for one of the rec"):
        Requests("schedules", "headers").at(AT, asked)
    assert decoded(Requests("schedules", "json").at(AT, asked), "json").headers == ((name, b"x"),)


@pytest.mark.parametrize(
    ("key", "found"),  # of Kafka's own UtilsTest.testMurmur2
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_java_s_partitions(key: str, found: int) -> None:
    assert java_partition(key.encode(), 2**31) == found & 0x7FFFFFFF
