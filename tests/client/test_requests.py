"""What a program asks for, as the record that is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.client import AsyncScheduleClient, ScheduleClient
from kms.client.link import Link
from kms.client.requests import FORMS, Entry, Requests, due_ms_of, duration_ms_of
from kms.errors import RequestError, SettingsError
from kms.formats import FORMATS
from kms.kafka import java_partition
from kms.schedule import Record, Schedule
from kms.times import now_ms

AT_MS = 1_893_456_000_000
AT = datetime(2030, 1, 1, tzinfo=UTC)
CONFIG = {"bootstrap.servers": "localhost:1", "log_level": 0}


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
        ("every day", {}, "the header kms-cron can't be read: it has 2 fields"),
        ("0 9 * * *", {"timezone": "Mars"}, "the header kms-timezone can't be read: 'Mars' is no"),
        ("0 9 * * *", {"count": 0}, "the header kms-count can't be read"),
        ("0 9 * * *", {"first": AT, "until": 0}, "it never comes"),
    ],
)
def test_what_would_never_come(cron: str, more: Any, sentence: str) -> None:
    asked: Any = {"to": "o", **more}
    with pytest.raises(RequestError, match=sentence):
        Requests("schedules", "avro").cron(cron, asked)


def test_expiry_and_window() -> None:
    requests = Requests("schedules", "avro")
    asked = requests.at(AT, {"to": "o", "expires": timedelta(minutes=90), "window": 600})
    assert asked.headers == (("kms-expires", b"1h30m"), ("kms-window", b"10m"))
    assert requests.at(0, {"to": "o", "expires": AT}).headers == (("kms-expires", b"%d" % AT_MS),)


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
        due_ms = due_ms_of(moment, "when")
        due = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=1) * min(
            due_ms, 253_402_300_799_999
        )
        assert timedelta(0) <= due - moment < timedelta(milliseconds=1) or due.year == 9999

    def test_summer_time(self) -> None:
        london = datetime(2030, 7, 1, 9, tzinfo=ZoneInfo("Europe/London"))
        assert due_ms_of(london, "when") == due_ms_of(datetime(2030, 7, 1, 8, tzinfo=UTC), "when")

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

    @pytest.mark.parametrize("delay", [-1, timedelta(-1), float("nan"), float("inf"), "5m", None])
    def test_what_is_no_duration(self, delay: Any) -> None:
        with pytest.raises(RequestError, match="delay is "):
            duration_ms_of(delay, "delay")

    def test_a_duration_is_never_cut(self) -> None:
        assert duration_ms_of(0.0001, "delay") == 1
        assert duration_ms_of(timedelta(microseconds=2_001), "delay") == 3
        with pytest.raises(RequestError, match=r"interval is 0.999, which is less than a second"):
            Requests("schedules", "avro").every(0.999, {"to": "o"})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"to": "no topic"}, "The target topic, to, 'no topic' is no name of a topic"),
        ({"to": None}, "The target topic"),
        ({"to": "o", "id": ""}, "id is empty"),
        ({"to": "o", "id": "\ud800"}, "id holds half a character"),
        ({"to": "o", "value": {"a": 1}}, "value is a dict: give bytes, or a str"),
        ({"to": "o", "headers": {"a": 1}}, "header 'a' is a int"),
        (
            {"to": "o", "headers": {"kms-window": "5m"}},
            "to schedules: no message can have the header kms-window, .*; ask for window itself",
        ),
    ],
)
def test_what_makes_no_sense(asked: Any, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        Requests("schedules", "avro").at(AT, asked)


def test_what_a_client_can_not_be_made_of() -> None:
    with pytest.raises(RequestError, match="'xml' is no format here: there are avro, json"):
        ScheduleClient("schedules", CONFIG, format="xml")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="The schedule topic '' is no name"):
        AsyncScheduleClient("", CONFIG)
    with pytest.raises(SettingsError, match="acks can't be set: kms decides on it"):
        ScheduleClient("schedules", {**CONFIG, "acks": 0})
    with pytest.raises(SettingsError, match="security_protocol"):
        ScheduleClient("schedules", {**CONFIG, "security.protocol": "secret"})


def test_properties_as_a_producer_takes_them() -> None:
    config = {**CONFIG, "security.protocol": "SASL_SSL", "sasl.password": "x", "socket.x": True}
    settings = Link(Requests("schedules", "avro"), config).settings
    assert settings.kafka_brokers == "localhost:1"
    assert settings.security_protocol == "SASL_SSL"
    assert dict(settings.kafka) == {"log_level": "0", "sasl.password": "x", "socket.x": "true"}


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
