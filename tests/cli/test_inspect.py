"""``inspect`` on a cache that the store's own writer made."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kms.schedule import Schedule
from kms.times import now_ms, parse_duration, parse_time
from tests.cli.conftest import T0_MS, Cache, Done

Kms = Callable[..., Done]

DAY_MS = 86_400_000


@pytest.fixture
def filled(cache: Cache) -> Cache:
    """Three schedules, due in the order a, b, c, on three partitions."""
    headers = (("text", b"x"), ("bytes", b"\xff\x00"), ("empty", b""))
    cache.put("orders", 1, 7, b"b", Schedule(T0_MS + 1, "out", b"key b", None))
    cache.put("orders", 0, 41, b"c", Schedule(T0_MS + 2, "out", b"", b"", headers))
    cache.put("mails", 0, 3, b"\xffa", Schedule(T0_MS, "out", b"\xfe", b"line 1\nline 2, \xe2"))
    return cache


NOT_FAILED = dict.fromkeys(["attempts", "failed_since", "next_try", "reason", "message"])


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


class TestJson:
    @pytest.mark.usefixtures("filled")
    def test_all_of_each_soonest_first(self, kms: Kms) -> None:
        done = kms("inspect", "--format", "json")
        assert done.code == 0
        assert lines(done.out) == [
            {
                "id": {"hex": "ff61"},
                "due": "2030-01-31T12:00:00.000Z",
                "due_ms": T0_MS,
                "schedule_topic": "mails",
                "partition": 0,
                "offset": 3,
                "target_topic": "out",
                "key": {"hex": "fe"},
                "value": {"hex": b"line 1\nline 2, \xe2".hex()},
                "headers": [],
                **NOT_FAILED,
            },
            {
                "id": "b",
                "due": "2030-01-31T12:00:00.001Z",
                "due_ms": T0_MS + 1,
                "schedule_topic": "orders",
                "partition": 1,
                "offset": 7,
                "target_topic": "out",
                "key": "key b",
                "value": None,
                "headers": [],
                **NOT_FAILED,
            },
            {
                "id": "c",
                "due": "2030-01-31T12:00:00.002Z",
                "due_ms": T0_MS + 2,
                "schedule_topic": "orders",
                "partition": 0,
                "offset": 41,
                "target_topic": "out",
                "key": "",
                "value": "",
                "headers": [["text", "x"], ["bytes", {"hex": "ff00"}], ["empty", ""]],
                **NOT_FAILED,
            },
        ]

    @pytest.mark.usefixtures("filled")
    def test_as_of_when_goes_to_stderr(self, kms: Kms) -> None:
        first, *rest = kms("inspect", "--format", "json").err.splitlines()
        assert first == "3 of 3 pending, as of"
        assert [line.split(", written at ")[0] for line in rest] == [
            "  mails/0 up to offset 4",
            "  orders/0 up to offset 42",
            "  orders/1 up to offset 8",
        ]
        for line in rest:
            written_ms = parse_time(line.split(", written at ")[1])
            assert now_ms() - 60_000 < written_ms <= now_ms()

    def test_a_time_that_no_calendar_has(self, kms: Kms, cache: Cache) -> None:
        cache.put("orders", 0, 0, b"a", Schedule(2**63 - 1, "out", b"", b""))
        (found,) = lines(kms("inspect", "--format", "json").out)
        assert (found["due"], found["due_ms"]) == (None, 2**63 - 1)
        assert "9223372036854775807 ms" in kms("inspect").out
        assert "9223372036854775807" in kms("inspect", "a").out


class TestFilters:
    def ids(self, kms: Kms, *arguments: str) -> list[Any]:
        return [found["id"] for found in lines(kms("inspect", "--format", "json", *arguments).out)]

    @pytest.mark.usefixtures("filled")
    def test_topic_before_and_limit(self, kms: Kms) -> None:
        assert self.ids(kms, "--topic", "orders") == ["b", "c"]
        assert self.ids(kms, "--before", "2030-01-31T12:00:00.002Z") == [{"hex": "ff61"}, "b"]
        assert self.ids(kms, "--before", str(T0_MS + 2), "--topic", "orders") == ["b"]
        assert self.ids(kms, "--limit", "1") == [{"hex": "ff61"}]
        assert self.ids(kms, "--topic", "nobodys") == []
        assert kms("inspect", "--limit", "1").out.splitlines()[2].startswith("1 of 3 pending")

    def test_before_can_be_a_duration(self, kms: Kms, cache: Cache) -> None:
        cache.put("orders", 0, 0, b"soon", Schedule(now_ms() + DAY_MS, "out", b"", b""))
        assert self.ids(kms, "--before", "23h") == []
        assert self.ids(kms, "--before", "1d1m") == ["soon"]

    def test_the_limit_is_50_and_0_is_none(self, kms: Kms, cache: Cache) -> None:
        for index in range(60):
            due_ms = T0_MS - index
            cache.put("orders", 0, index, b"%d" % index, Schedule(due_ms, "out", b"", b""))
        latest_first = [str(index) for index in reversed(range(60))]
        assert self.ids(kms) == latest_first[:50]
        assert self.ids(kms, "--limit", "0") == latest_first

    @pytest.mark.usefixtures("filled")
    def test_count_prints_the_number_alone(self, kms: Kms) -> None:
        assert kms("inspect", "--count") == Done(0, "3\n", "")
        assert kms("inspect", "--count", "--topic", "orders", "--limit", "1") == Done(0, "2\n", "")
        assert kms("inspect", "--count", "c") == Done(0, "1\n", "")
        assert kms("inspect", "--count", "d") == Done(1, "0\n", "d is not pending.\n")

    @pytest.mark.usefixtures("cache")
    def test_a_bad_time_is_refused(self, kms: Kms) -> None:
        done = kms("inspect", "--before", "soon")
        assert done.code == 2
        assert "'--before': 'soon' is no time" in done.err


class TestTable:
    @pytest.mark.usefixtures("filled")
    def test_plain_on_a_pipe(self, kms: Kms) -> None:
        header, *rows = kms("inspect").out.splitlines()
        assert header.split() == ["Due", "Id", "Target", "topic", "Key", "Value", "Record", "Kind"]
        assert [row.split() for row in rows[1:3]] == [
            ["2030-01-31T12:00:00.001Z", "b", "out", "key", "b", "null", "orders/1@7"],
            ["2030-01-31T12:00:00.002Z", "c", "out", "orders/0@41"],
        ]
        assert r"\xffa" in rows[0]
        assert r"line 1\nline 2, \xe2" in rows[0]
        assert rows[3] == "3 of 3 pending, as of"
        assert rows[4].startswith("  mails/0 up to offset 4, written at 20")
        assert len(rows) == 7

    def test_a_pipe_has_no_edge_to_wrap_at(self, kms: Kms, cache: Cache) -> None:
        name = b"x" * 5_000
        cache.put("orders", 0, 0, name, Schedule(T0_MS, "t" * 249, b"k" * 99, b"v" * 99))
        row = kms("inspect").out.splitlines()[1].split()
        assert row[1] == name.decode()
        assert row[2] == "t" * 249
        assert row[3:5] == ["k" * 99, "v" * 99]

    def test_nothing_in_it_reaches_the_terminal_as_a_command(
        self, kms: Kms, cache: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        evil = b"\x1b[2J\x07\r\xc2\x9b[bold]\xe2\x80\xae"
        headers = (("h\x1b", evil),)
        cache.put("orders", 0, 0, evil, Schedule(T0_MS, "o\x1b", evil, evil, headers))
        plain, whole = kms("inspect").out, kms("inspect", os.fsdecode(evil)).out
        for text in (plain, whole):
            assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(text)
            assert text.count(r"\x1b[2J\x07\r\x9b[bold]\u202e") >= 3  # id, key and value
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
        text = kms("inspect").out
        assert "┃" in text
        assert text.count(r"\x1b[2J\x07\r\x9b[bold]\u202e") == 3
        assert "\x1b[2J" not in text

    @pytest.mark.usefixtures("cache")
    def test_nothing_pending(self, kms: Kms) -> None:
        done = kms("inspect")
        assert done.code == 0
        assert "0 of 0 pending, as of" in done.out + done.err


class TestCsv:
    @pytest.mark.usefixtures("filled")
    def test_it_is_read_back(self, kms: Kms) -> None:
        found = list(csv.DictReader(io.StringIO(kms("inspect", "--format", "csv").out)))
        assert [each["id"] for each in found] == [r"\xffa", "b", "c"]
        assert [each["value"] for each in found] == ["line 1\nline 2, \\xe2", "", ""]
        assert found[0]["due"] == "2030-01-31T12:00:00.000Z"
        assert json.loads(found[2]["headers"])[0] == ["text", "x"]
        assert (found[2]["partition"], found[2]["offset"]) == ("0", "41")


class TestOne:
    @pytest.mark.usefixtures("filled")
    def test_all_of_it(self, kms: Kms) -> None:
        done = kms("inspect", "c")
        assert done.code == 0
        id_line, due_line, until_line, *others = done.out.splitlines()
        assert id_line == "id:           c"
        assert due_line == f"due:          2030-01-31T12:00:00.002Z ({T0_MS + 2})"
        name, left = until_line.split(":")
        sign = {"due in": 1, "overdue by": -1}[name]
        assert abs(T0_MS - now_ms() - sign * parse_duration(left)) < 60_000
        assert others[:7] == [
            "record:       orders/0 offset 41",
            "target topic: out",
            "key:          ",
            "header:       text=x",
            r"header:       bytes=\xff\x00",
            "header:       empty=",
            "value:        0 bytes",
        ]
        assert "value:        null\n" in kms("inspect", "b").out

    def test_the_whole_value(self, kms: Kms, cache: Cache) -> None:
        value = b'{\n\t"text": "' + b"x" * 100_000 + b'"\n}'
        cache.put("orders", 0, 0, b"a", Schedule(T0_MS, "out", b"", value))
        assert f"100015 bytes\n{value.decode()}\n1 of 1 pending" in kms("inspect", "a").out

    @pytest.mark.usefixtures("filled")
    def test_an_id_that_is_no_text(self, kms: Kms) -> None:
        (found,) = lines(kms("inspect", os.fsdecode(b"\xffa"), "--format", "json").out)
        assert found["id"] == {"hex": "ff61"}

    @pytest.mark.usefixtures("filled")
    @pytest.mark.parametrize("layout", ["table", "json", "csv"])
    def test_not_pending(self, kms: Kms, layout: str) -> None:
        done = kms("inspect", "nope", "--format", layout)
        assert (done.code, done.out) == (1, "")
        assert done.err.endswith("nope is not pending.\n")
        assert "orders/0 up to offset 42" in done.err


class TestBesideTheService:
    def test_a_writer_in_the_middle_of_its_transaction(self, kms: Kms, filled: Cache) -> None:
        with closing(sqlite3.connect(filled.path, isolation_level=None)) as busy:
            busy.execute("BEGIN IMMEDIATE")
            busy.execute("DELETE FROM schedules")
            assert kms("inspect", "--count").out == "3\n"
            busy.execute("COMMIT")
        assert kms("inspect", "--count").out == "0\n"

    def test_all_of_it_is_as_of_one_commit(
        self, kms: Kms, filled: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = importlib.import_module("kms.cli.inspect")
        write = module.write

        def meanwhile(*arguments: Any, **options: Any) -> None:
            filled.put("mails", 0, 99, b"new", Schedule(0, "out", b"", b""))
            write(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(module, "write", meanwhile)
            done = kms("inspect", "--format", "json")
        assert [found["id"] for found in lines(done.out)] == [{"hex": "ff61"}, "b", "c"]
        assert "mails/0 up to offset 4," in done.err
        done = kms("inspect", "--format", "json")
        assert lines(done.out)[0]["id"] == "new"
        assert "mails/0 up to offset 100," in done.err

    def test_no_cache(self, kms: Kms, tmp_path: Path) -> None:
        done = kms("inspect", "--kms-cache", str(tmp_path / "nowhere"))
        assert done.code == 4
        assert done.err.startswith(f"There is no cache at {tmp_path}/nowhere")
        assert list(tmp_path.iterdir()) == []


class TestFailed:
    def test_the_table_says_why_and_when_again(self, kms: Kms, filled: Cache) -> None:
        filled.fail("orders", 1, 9, b"bad", b"\xfe rubbish")
        done = kms("inspect", "--failed")
        heads, row, *_ = (line.split() for line in done.out.splitlines())
        assert heads[:2] == ["Id", "Target"]
        assert row[:4] == ["bad", "undecodable", "3", "2030-01-31T12:01:00.000Z"]
        assert row[4:] == ["no", "[Avro]", "orders/1@9"]
        assert "b" not in (line.split()[0] for line in done.out.splitlines()[1:])

    def test_json_has_the_record_and_the_failure(self, kms: Kms, filled: Cache) -> None:
        filled.fail("orders", 1, 9, b"bad", b"rubbish")
        (found,) = lines(kms("inspect", "--failed", "--format", "json").out)
        assert found["id"] == "bad"
        assert (found["due"], found["target_topic"], found["value"]) == (None, None, "rubbish")
        assert (found["attempts"], found["reason"], found["message"]) == (
            *(3, "undecodable", "no [Avro]"),
        )
        assert found["failed_since"] == "2030-01-31T12:00:00.000Z"
        assert found["next_try"] == "2030-01-31T12:01:00.000Z"

    def test_all_shows_it_too_and_says_where_to_look(self, kms: Kms, filled: Cache) -> None:
        filled.fail("orders", 1, 9, b"bad", b"rubbish")
        done = kms("inspect")
        assert "no schedule" in done.out.splitlines()[1]
        assert done.err == "1 of them could not be fired so far: inspect --failed\n"
        whole = kms("inspect", "bad").out
        assert "failed:       3 times since 2030-01-31T12:00:00.000Z: undecodable" in whole
        assert "7 bytes\nrubbish" in whole
        assert kms("inspect", "--failed", "--count").out == "1\n"
        assert kms("inspect", "--failed", "c").code == 1


class TestRetry:
    def test_one_or_all_are_due_at_once(self, kms: Kms, filled: Cache) -> None:
        filled.fail("orders", 1, 9, b"bad", b"rubbish")
        filled.fail("mails", 0, 9, b"worse", b"rubbish")
        assert kms("retry", "worse").out == "1 to be tried at once\n"
        assert "at once" in kms("inspect", "--failed").out
        assert kms("retry", "--all", "--topic", "orders").out == "1 to be tried at once\n"
        assert kms("retry", "--all").out == "2 to be tried at once\n"

    def test_what_has_not_failed_is_said(self, kms: Kms, filled: Cache) -> None:
        assert filled.path
        done = kms("retry", "b")
        assert (done.code, done.err.strip()) == (1, "b has not failed: see inspect --failed.")
        assert kms("retry").code == kms("retry", "b", "--all").code == 2
