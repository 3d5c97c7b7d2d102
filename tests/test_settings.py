"""Settings: where they come from, who wins, what is refused, how they are listed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kms.errors import SettingsError
from kms.settings import Settings
from kms.settings_loading import load_settings
from kms.settings_table import definitions, settings_table
from kms.settings_values import FORMAT_OF
from tests.settings_examples import (
    BAD,
    DEFAULTS,
    GOOD,
    SECRET_SETTINGS,
    VARIABLES,
    load,
    refusal,
    toml_of,
)


class TestWhereValuesComeFrom:
    def test_these_are_all_settings(self) -> None:
        assert list(Settings.model_fields) == list(DEFAULTS)
        assert {*GOOD, *SECRET_SETTINGS, "kafka"} == set(DEFAULTS)
        assert {name for name, _ in BAD} == set(GOOD)

    def test_defaults(self) -> None:
        settings = load()
        assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
        assert {source for _, _, source in settings.shown()} == {"the default"}

    @pytest.mark.parametrize("name", GOOD)
    @given(data=st.data())
    def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(
        self, name: str, data: st.DataObject
    ) -> None:
        places = data.draw(st.sets(st.sampled_from(["flag", "variable", "file"])))
        given_ = {place: data.draw(GOOD[name], place) for place in places}
        settings = load(
            {name: given_["flag"][0]} if "flag" in given_ else {name: None},
            {VARIABLES[name]: given_["variable"][0]} if "variable" in given_ else {},
            toml_of({name: given_["file"][0]}) if "file" in given_ else None,
        )
        sources = {
            "flag": f"the flag --{name.replace('_', '-')}",
            "variable": f"the environment variable {VARIABLES[name]}",
            "file": f"the key {name} in ",
        }
        winner = next((place for place in sources if place in given_), None)
        expected = given_[winner][1] if winner else DEFAULTS[name]
        assert getattr(settings, name) == expected
        assert settings.source(name).startswith(sources[winner] if winner else "the default")
        others = [other for other in DEFAULTS if other != name]
        assert all(getattr(settings, other) == DEFAULTS[other] for other in others)

    def test_the_file_may_use_its_own_types(self) -> None:
        settings = load(toml='schedule_topics = ["a", "b"]\nkms_session_timeout_ms = 7000')
        assert settings.schedule_topics == ("a", "b")
        assert settings.kms_session_timeout_ms == 7_000

    @pytest.mark.parametrize("name", GOOD)
    def test_an_empty_variable_is_unset(self, name: str) -> None:
        assert getattr(load({}, {VARIABLES[name]: ""}), name) == DEFAULTS[name]
        without = dict.fromkeys([*FORMAT_OF, "kms_instance_id"], "a")
        without["kms_schema_registry_url"] = "http://a"
        key = without.get(name, str(DEFAULTS[name]))
        below = load({}, {VARIABLES[name]: ""}, toml_of({name: key}))
        assert below.source(name).startswith("the key")

    def test_a_variable_in_lower_case_is_not_ours(self) -> None:
        assert load({}, {"kafka_brokers": "x:1", "Kafka_Brokers": "x:2"}) == load()

    def test_variables_are_those_of_the_process_by_default(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CONSUMER_GROUP_ID", "from-the-process")
        assert load_settings().consumer_group_id == "from-the-process"
        assert load_settings({}, {}).consumer_group_id == DEFAULTS["consumer_group_id"]
        assert Settings().consumer_group_id == DEFAULTS["consumer_group_id"]

    def test_the_file_can_be_named_by_a_variable_and_the_flag_wins(self, tmp_path: Path) -> None:
        first, second = tmp_path / "1.toml", tmp_path / "2.toml"
        first.write_text('consumer_group_id = "one"')
        second.write_text('consumer_group_id = "two"')
        environment = {"KMS_CONFIG": str(second)}
        assert load_settings({}, environment).consumer_group_id == "two"
        assert load_settings({"config": str(first)}, environment).consumer_group_id == "one"
        assert load_settings({}, {"KMS_CONFIG": ""}).consumer_group_id == "com.sky.kafka.scheduler"

    def test_shown(self) -> None:
        settings = load(
            {"prometheus_scraping_endpoint_port": "0"},
            {"SCHEDULE_TOPICS": "a, b"},
            "[kafka]\na = 1",
        )
        rows = settings.shown()
        assert [name for name, _, _ in rows] == [*VARIABLES, "kafka.a"]
        texts = {name: text for name, text, _ in rows}
        assert texts["prometheus_scraping_endpoint_port"] == "0"
        assert texts["schedule_topics"] == "a,b"
        assert texts["kms_instance_id"] == "none"
        assert texts["kms_cache"] == "kms.sqlite"
        assert texts["kafka.a"] == "1"

    def test_settings_can_not_be_changed(self) -> None:
        settings = load()
        with pytest.raises(ValidationError):
            settings.kms_delivery = "at-least-once"


class TestWhatIsRefused:
    @pytest.mark.parametrize(("name", "text"), BAD)
    def test_one_sentence_names_the_setting_as_it_was_given(self, name: str, text: str) -> None:
        (allowed,) = (known.type_text for known in definitions() if known.name == name)
        starts = {
            f"The flag --{name.replace('_', '-')} must be {allowed}, but ": refusal({name: text}),
            f"The environment variable {VARIABLES[name]} must be {allowed}, but ": refusal(
                {}, {VARIABLES[name]: text}
            ),
            f"The key {name} in ": refusal({}, {}, toml_of({name: text})),
        }
        for start, sentence in starts.items():
            assert sentence.startswith(start)
            assert f" must be {allowed}, but " in sentence
            assert sentence.endswith(".")
            assert "\n" not in sentence

    @pytest.mark.parametrize("name", GOOD)
    @pytest.mark.parametrize("value", ["true", "[1, 2]", "1979-05-27", "{a = 1}"])
    def test_values_of_another_type_in_the_file(self, name: str, value: str) -> None:
        sentence = refusal(toml=f"{name} = {value}")
        assert sentence.startswith(f"The key {name} in ")
        assert "\n" not in sentence

    def test_every_problem_is_reported_at_once(self, tmp_path: Path) -> None:
        lines = refusal(
            {"kms_delivery": "x", "kafka": ["nonsense", "group.id=x"]},
            {"KAFKA_BROKERS": "x", "KAFKA_PARTITIONER": "x", "KMS_CONFIG": str(tmp_path / "no")},
        ).splitlines()
        assert len(lines) == 6
        for part in (
            "--kms-delivery",
            "--kafka must be name=value",
            "--kafka group.id",
            "KAFKA_BROKERS",
            "KAFKA_PARTITIONER",
            "KMS_CONFIG",
        ):
            assert sum(part in line for line in lines) == 1, part

    def test_a_long_value_is_shortened(self) -> None:
        assert len(refusal({"kms_delivery": "x" * 10_000})) < 300

    def test_required(self) -> None:
        with pytest.raises(SettingsError) as caught:
            load_settings({}, {}, required=["schedule_topics"])
        for name in ("SCHEDULE_TOPICS", "--schedule-topics", "schedule_topics"):
            assert name in str(caught.value)
        settings = load_settings({}, {"SCHEDULE_TOPICS": "a"}, required=["schedule_topics"])
        assert settings.schedule_topics == ("a",)

    def test_what_the_file_may_hold_is_not_called_missing(self) -> None:
        with pytest.raises(SettingsError) as caught:
            load_settings({"config": "/no/such/file"}, {}, required=["schedule_topics"])
        assert str(caught.value) == "The flag --config names '/no/such/file', which is no file."


class TestTheFile:
    @pytest.mark.parametrize(
        ("key", "advice"),
        [
            ("kafka_broker", "; did you mean kafka_brokers?"),
            ("KAFKA_BROKERS", "; did you mean kafka_brokers?"),
            ("kms-delivery", "; did you mean kms_delivery?"),
            ("qqqqqqqq", "."),
            ("config", "."),
        ],
    )
    def test_unknown_key(self, key: str, advice: str) -> None:
        sentence = refusal(toml=f'"{key}" = "x"')
        assert sentence.startswith(f"The key {key} in ")
        assert sentence.endswith(f"is no setting{advice}")

    def test_a_key_with_a_line_break_stays_on_one_line(self) -> None:
        assert "\n" not in refusal(toml='"a\\nb" = 1')
        assert "\n" not in refusal(toml='[kafka]\n"a\\nb" = 1')

    def test_unparsable_names_the_line(self) -> None:
        sentence = refusal(toml='consumer_group_id = "a"\nkms_delivery = = 1')
        assert sentence.startswith("The flag --config names ")
        assert "line 2" in sentence

    def test_unreadable(self, tmp_path: Path) -> None:
        latin = tmp_path / "latin.toml"
        latin.write_bytes(b'consumer_group_id = "\xe9"')
        for path, reason in ((latin, "UTF-8"), (tmp_path, "no file"), (tmp_path / "x", "no file")):
            for origin, arguments in (
                ("The flag --config", ({"config": str(path)}, {})),
                ("The environment variable KMS_CONFIG", ({}, {"KMS_CONFIG": str(path)})),
            ):
                with pytest.raises(SettingsError) as caught:
                    load_settings(*arguments)
                assert str(caught.value).startswith(f"{origin} names '{path}', ")
                assert reason in str(caught.value)


def test_dead_letters_do_not_go_round() -> None:
    said = refusal({}, {"SCHEDULE_TOPICS": "a,b", "KMS_DEAD_LETTER_TOPIC": "b"})
    assert said.startswith("The environment variable KMS_DEAD_LETTER_TOPIC must be a topic's name")
    assert said.endswith(
        "but it is one of the schedule topics, and what is sent there would go round."
    )


class TestDefinitions:
    def test_all_names_derive_from_the_field(self) -> None:
        file, *settings, kafka = definitions()
        assert (file.name, file.env, file.flag) == ("config", "KMS_CONFIG", "--config")
        assert (kafka.env, kafka.flag, kafka.file_key) == ("KAFKA_*", "--kafka", "[kafka]")
        assert {known.name: known.env for known in settings} == VARIABLES
        for known in settings:
            ending = "-file" if known.name in SECRET_SETTINGS else ""
            assert known.flag == "--" + known.name.replace("_", "-") + ending
            assert known.file_key == known.name

    def test_everything_has_its_texts(self) -> None:
        for known in definitions():
            assert known.help.endswith(".")
            assert known.type_text
            assert known.default_text
        defaults = {known.name: known.default_text for known in definitions()}
        assert defaults["kafka_brokers"] == "localhost:9092"
        assert defaults["prometheus_scraping_endpoint_port"] == "9095"
        assert defaults["kms_instance_id"] == defaults["schedule_topics"] == "none"

    def test_limits_and_choices_are_those_of_the_type(self) -> None:
        texts = {known.name: known.type_text for known in definitions()}
        assert texts["kms_transaction_timeout_ms"] == "a whole number from 1000 to 900000"
        assert texts["kms_delivery"] == "exactly-once or at-least-once"

    def test_the_table_contains_each(self) -> None:
        header, rule, *rows = settings_table().splitlines()
        assert len(rows) == len(definitions())
        for known, row in zip(definitions(), rows, strict=True):
            assert row.count("|") == header.count("|") == rule.count("|")
            assert row.startswith(f"| `{known.env}` | `{known.flag}` | ")
            for text in (known.file_key, known.type_text, known.default_text, known.help):
                assert text in row

    def test_settings_know_no_kafka_client(self) -> None:
        code = (
            "import json, sys, kms.settings; heads = ('confluent', 'typer', 'kms'); "
            "print(json.dumps([name for name in sys.modules if name.startswith(heads)]))"
        )
        root = Path(__file__).parent.parent
        answer = subprocess.run(
            [sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True
        )
        assert set(json.loads(answer.stdout)) == {
            "kms",
            "kms.errors",
            "kms.kafka_properties",
            "kms.settings",
            "kms.settings_secrets",
            "kms.settings_sourced",
            "kms.settings_sources",
            "kms.settings_values",
            "kms.times",
        }
