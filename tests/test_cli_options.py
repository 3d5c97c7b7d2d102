"""The settings as flags of commands, and what an error does to the process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from kms.cli.options import run_app, with_settings
from kms.errors import ExitCode, KmsError
from kms.settings import Settings
from kms.settings_table import definitions
from tests.settings_examples import GOOD, VARIABLES


class ExampleError(KmsError):
    exit_code = ExitCode.FENCED


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    for variable in (*VARIABLES.values(), "KMS_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    app = typer.Typer()

    @app.command()
    @with_settings(required=["schedule_topics"])
    def run(settings: Settings, once: bool = False) -> None:
        """Runs it."""
        typer.echo(json.dumps([settings.shown(), dict(settings.kafka), once]))

    @app.command()
    @with_settings(["kafka_brokers"])
    def send(
        settings: Settings,
        context: typer.Context,
        topic: str,
        times: Annotated[int, typer.Option(help="How often.")] = 1,
    ) -> None:
        typer.echo(f"{settings.kafka_brokers} {settings.kms_log_level} {topic} {times}")
        if context.info_name != "send":
            raise AssertionError(context.info_name)

    @app.command()
    @with_settings()
    def fail(settings: Settings, bug: bool = False) -> None:
        raise ZeroDivisionError if bug else ExampleError(f"{settings.kms_delivery}\nwrong.")

    return app


class TestCommandLine:
    def run(
        self, capsys: pytest.CaptureFixture[str], app: typer.Typer, *arguments: str
    ) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as caught:
            run_app(app, arguments)
        return caught.value.code or 0, *capsys.readouterr()

    def test_every_setting_is_a_flag(
        self, app: typer.Typer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, _ = self.run(capsys, app, "run", "--help")
        assert code == 0
        words = " ".join(out.replace("│", " ").split())  # however the lines are broken
        for known in definitions():
            assert f"{known.flag} " in out
            assert f"variable {known.env}" in words
            assert known.help in words

    @given(data=st.data())
    def test_flags_reach_the_settings(self, data: st.DataObject) -> None:
        seen: list[Settings] = []
        app = typer.Typer()

        @app.command()
        @with_settings()
        def run(settings: Settings) -> None:
            seen.append(settings)

        texts = {name: data.draw(GOOD[name], name) for name in GOOD}
        with pytest.raises(SystemExit) as caught:
            run_app(
                app,
                [f"--{name.replace('_', '-')}={text}" for name, (text, _) in texts.items()]
                + ["--kafka", "sasl.username=me", "--kafka=linger.ms=5"],
            )
        assert not caught.value.code
        (settings,) = seen
        assert {name: getattr(settings, name) for name in texts} == {
            name: value for name, (_, value) in texts.items()
        }
        assert settings.kafka == {"sasl.username": "me", "linger.ms": "5"}

    def test_variables_and_files_still_count(
        self,
        app: typer.Typer,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        monkeypatch.setenv("KAFKA_BROKERS", "v:1")
        file = tmp_path / "kms.toml"
        file.write_text('kms_log_level = "DEBUG"\nkafka_brokers = "f:1"')
        result = self.run(capsys, app, "send", "t", "--times", "3", "--config", str(file))
        assert result == (0, "v:1 DEBUG t 3\n", "")

    def test_a_command_shows_what_it_needs(
        self, app: typer.Typer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        _, out, _ = self.run(capsys, app, "send", "--help")
        for flag in ("--kafka-brokers", "--config", "--kafka ", "--times", "topic", "How often."):
            assert flag in out
        assert "--kms-delivery" not in out
        code, _, error = self.run(capsys, app, "send", "t", "--kms-delivery", "exactly-once")
        assert code == ExitCode.USAGE
        assert "--kms-delivery" in error

    def test_names_must_exist(self) -> None:
        with pytest.raises(ValueError, match="kafka_broker"):
            with_settings(["kafka_broker"])
        with pytest.raises(ValueError, match="topics"):
            with_settings(required=["topics"])

    def test_problems_are_plain_sentences(
        self, app: typer.Typer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, error = self.run(capsys, app, "run", "--kms-delivery", "x")
        assert (code, out) == (ExitCode.USAGE, "")
        missing, delivery = error.splitlines()
        assert missing.startswith("SCHEDULE_TOPICS is missing")
        assert delivery.startswith("The flag --kms-delivery must be ")

    def test_an_error_of_ours_is_its_text_and_its_exit_code(
        self, app: typer.Typer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.run(capsys, app, "fail") == (ExitCode.FENCED, "", "exactly-once\nwrong.\n")

    def test_a_bug_is_not_hidden(self, app: typer.Typer) -> None:
        with pytest.raises(ZeroDivisionError):
            run_app(app, ["fail", "--bug"])
