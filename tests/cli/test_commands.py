"""What commands say before they talk to Kafka: help, wrong arguments, the schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import avro.schema
import pytest
import typer

from kms.cli import app
from kms.formats import SCHEMA
from kms.kinds import ASKED
from tests.cli.conftest import Done

Kms = Callable[..., Done]


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name)


COMMANDS = list(commands(typer.main.get_group(app)))
SCHEDULE = ["schedule", "--to", "out", "--in", "5m"]


def said(done: Done) -> str:
    """An error's text, without the box that typer draws."""
    return " ".join(done.err.replace("│", " ").split())


class TestHelp:
    def test_these_are_the_commands(self) -> None:
        assert {" ".join(names) for names in COMMANDS} == {
            *(
                "run",
                "check",
                "schedule",
                "cancel",
                "inspect",
                "pause",
                "resume",
                "retry",
                "redrive",
                "schema",
                "demo",
            ),
            *("topics create", "topics check"),
        }

    @pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
    def test_every_command_has_an_example(self, kms: Kms, names: tuple[str, ...]) -> None:
        done = kms(*names, "--help")
        assert done.code == 0
        assert f"Example: python kms.py {' '.join(names)}" in done.out


class TestSchema:
    def test_to_stdout(self, kms: Kms) -> None:
        done = kms("schema")
        assert (done.code, done.err) == (0, "")
        assert json.loads(done.out) == SCHEMA

    def test_to_a_file(self, kms: Kms, tmp_path: Path) -> None:
        path = tmp_path / "schedule.avsc"
        assert kms("schema", "--output", str(path)) == Done(0, "", "")
        schema: Any = avro.schema.parse(path.read_text())
        names = ["time", "topic", "key", "value", "headers"]
        assert [field.name for field in schema.fields] == names

    def test_where_nobody_can_write(self, kms: Kms, tmp_path: Path) -> None:
        done = kms("schema", "--output", str(tmp_path / "no" / "schedule.avsc"))
        assert done.code != 0
        assert "No such file or directory" in said(done)


class TestSchedule:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--in", "5m", "--at", "5"], "--at, --in: give exactly one of them."),
            ([], "--at, --in: give exactly one of them."),
            (["--in", "5"], "'--in': '5' is no duration: give whole numbers"),
            (["--at", "5m"], "'--at': '5m' is no time: give ISO 8601"),
            (["--in", "5m", "--to", "a b"], "'--to': 'a b' is no name of a topic"),
            (["--in", "5m", "--on", "a/b"], "'--on': 'a/b' is no name of a topic"),
            (["--in", "5m", "--id", ""], "'--id': a schedule id has at least one character."),
            (["--in", "5m", "--header", "a"], "'--header': 'a' is no header: give name=value."),
            (["--in", "5m", "--header", "=a"], "'--header': '=a' is no header: give name=value."),
            (
                ["--in", "5m", "--header", "a=1", "--header", "b=", "--header", "a=2"],
                "--header: 'a' is given 2 times",
            ),
            (
                ["--in", "5m", "--value", "", "--value-file", __file__],
                "--value, --value-file: give one of them.",
            ),
            (["--in", "5m", "--value-file", "/nowhere"], "'/nowhere': No such file"),
            (["--window", "5m"], "--at, --in: give exactly one of them."),
            (["--every", "5m", "--in", "5m", "--at", "5"], "--at, --in: give exactly one of them."),
            (["--every", "5"], "--every can't be read: '5' is no duration"),
            (["--every", "500ms"], "--every can't be read: '500ms' is less than a second."),
            (["--cron", "* * *"], "--cron can't be read: it has 3 fields"),
            (["--cron", "* * * * *", "--every", "5m"], "--cron and --every exclude each other."),
            (["--in", "5m", "--count", "3"], "--count needs --cron or --every beside it."),
            (["--every", "5m", "--count", "0"], "--count can't be read: '0' is not 1 or more."),
            (["--every", "5m", "--until", "soon"], "--until can't be read: 'soon' is no time"),
            (
                ["--every", "5m", "--until", "1"],
                "it never comes: --every and --until leave no time",
            ),
            (
                ["--every", "5m", "--missed", "some"],
                "'some' is not one of 'one', 'all', 'none'",
            ),
            (["--cron", "0 9 * * *", "--timezone", "Mars"], "--timezone can't be read: 'Mars' is"),
            (["--in", "5m", "--expires", "soon"], "--expires can't be read: 'soon' is no time and"),
            (["--in", "5m", "--window", "soon"], "--window can't be read: 'soon' is no duration"),
        ],
    )
    def test_wrong_arguments(self, kms: Kms, arguments: list[str], sentence: str) -> None:
        done = kms("schedule", "--to", "out", "--schedule-topics", "schedules", *arguments)
        assert (done.code, done.out) == (2, "")
        assert sentence in said(done)

    def test_a_time_that_the_record_does_not_say_so_exactly(self, kms: Kms) -> None:
        """Headers have whole seconds, and the next one is after the end."""
        at, until = "2030-01-31T12:00:00.001Z", "2030-01-31T12:00:00.500Z"
        done = kms(
            *("schedule", "--to", "out", "--value", "v", "--header-schedule-topics", "s"),
            *("--at", at, "--every", "5m", "--until", until),
        )
        assert (done.code, done.out) == (2, "")
        assert "it never comes: --every and --until leave no time" in said(done)

    @pytest.mark.parametrize("setting", ["schedule", "json-schedule", "header-schedule"])
    def test_a_header_that_asks_for_a_kind_is_told_from_the_messages(
        self, kms: Kms, setting: str
    ) -> None:
        done = kms(
            *SCHEDULE, "--value", "v", f"--{setting}-topics", "s", "--header", "kms-every=1h"
        )
        assert done == Done(
            2,
            "",
            "This can't be written to s: no message can have the header kms-every, which is the "
            "schedule record's own; ask for every itself.\n",
        )

    def test_each_kind_has_an_option(self) -> None:
        command: Any = typer.main.get_group(app)
        names = {it for each in command.commands["schedule"].params for it in each.opts}
        assert {f"--{header.removeprefix('kms-')}" for header in ASKED} <= names

    @pytest.mark.parametrize("command", [SCHEDULE, ["cancel", "a"]])
    def test_without_the_one_schedule_topic(self, kms: Kms, command: list[str]) -> None:
        none = kms(*command)
        assert none == Done(2, "", "Name the schedule topic with --on: SCHEDULE_TOPICS is empty.\n")
        several = kms(*command, "--schedule-topics", "a,b")
        assert several == Done(
            2, "", "Name the schedule topic with --on: there are several (a, b).\n"
        )


class TestTopics:
    @pytest.mark.parametrize("command", ["create", "check"])
    def test_without_a_name(self, kms: Kms, command: str) -> None:
        done = kms("topics", command)
        assert done == Done(2, "", "Name the topics, here or in SCHEDULE_TOPICS.\n")

    def test_a_name_that_kafka_refuses(self, kms: Kms) -> None:
        assert "'a b' is no name of a topic" in said(kms("topics", "create", "good", "a b"))
