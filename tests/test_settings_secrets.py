"""Secrets among the settings stay secret, also when something is wrong."""

from __future__ import annotations

import logging
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kms.errors import SettingsError
from kms.kafka_properties import is_secret
from kms.settings import Settings
from tests.settings_examples import PROPERTIES, SECRETS, kafka_flags, kafka_variables, load, toml_of

SECRET = "hunter2-and-more"


class TestSecrets:
    @pytest.mark.parametrize("name", SECRETS)
    @given(st.text("ghijklmGHIJKLM789+/", min_size=12, max_size=40), st.integers(0, 2))
    def test_never_shown(self, name: str, secret: str, place: int) -> None:
        properties = {name: secret, "client.id": "me"}
        settings = (
            load({"kafka": kafka_flags(properties)})
            if place == 0
            else load({}, kafka_variables(properties))
            if place == 1
            else load(toml=toml_of({}, properties))
        )
        assert settings.kafka[name] == secret
        rows = {row[0]: row for row in settings.shown()}
        assert rows["kafka.client.id"][1] == "me"
        assert "'client.id': 'me'" in repr(settings)
        assert rows[f"kafka.{name}"][1] == "**********"
        assert rows[f"kafka.{name}"][2] == settings.kafka_source(name)
        for text in (
            repr(settings),
            str(settings),
            f"{settings.kafka}",
            repr(settings.model_dump()),
            settings.model_dump_json(),
            repr(settings.shown()),
        ):
            assert secret not in text

    @pytest.mark.parametrize(
        ("flags", "environment", "toml"),
        [
            ({"kafka": [f"sasl.password={SECRET}"], "kms_delivery": "x"}, {}, None),
            ({"kafka": [f"sasl.password:{SECRET}"]}, {}, None),
            ({"kafka": [SECRET]}, {}, None),
            ({"kafka": [f"group.id={SECRET}"]}, {}, None),
            ({}, {"KAFKA_SASL_PASSWORD": SECRET, "KMS_DELIVERY": "x"}, None),
            ({}, {"KAFKA__SASL_PASSWORD": SECRET}, None),
            ({}, {}, f'[kafka]\nsasl.password = ["{SECRET}"]'),
            ({}, {}, f'[kafka]\nsasl.password = "{SECRET}"\nkms_delivery = 1\ngroup.id = 1'),
            ({}, {}, f'[kafka]\n"sasl.password" = {SECRET}'),
            ({}, {}, f'[kafka]\n"sasl.password" = "{SECRET}'),
            ({}, {}, f'[kafka]\n"sasl.password" = "{SECRET}"\n"sasl.password" = "{SECRET}"'),
            ({}, {}, f'sasl_password = "{SECRET}"'),
            ({}, {}, f'["kafka "]\nsasl.password = "{SECRET}"'),
            ({}, {}, f'kafka = "sasl.password={SECRET}"'),
        ],
    )
    def test_never_in_an_error(
        self, flags: dict[str, object], environment: dict[str, str], toml: str | None
    ) -> None:
        with pytest.raises(SettingsError) as caught:
            load(flags, environment, toml)
        error: BaseException | None = caught.value
        while error is not None:
            assert SECRET not in str(error)
            assert SECRET not in repr(error)
            error = error.__cause__ or error.__context__
        assert SECRET not in "".join(traceback.format_exception(caught.value))

    def test_never_in_the_debug_log_of_pydantic_settings(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
        environment = {"KAFKA_SASL_PASSWORD": SECRET, "KAFKA_BROKERS": "seen:1"}
        flags = {"kafka": [f"ssl.key.pem={SECRET}"]}
        with caplog.at_level(logging.DEBUG):
            load(flags, environment, f'[kafka]\nssl.key.password = "{SECRET}"')
        assert "seen:1" in caplog.text, "the log is not what this test takes it for"
        assert SECRET not in caplog.text

    def test_a_model_that_is_made_directly_hides_them_too(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Settings(kafka={"sasl.password": [SECRET]})
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(Settings(kafka={"sasl.password": SECRET}))

    @pytest.mark.parametrize("name", SECRETS)
    def test_these_are_secret(self, name: str) -> None:
        assert is_secret(name)
        assert is_secret(name.upper())

    @pytest.mark.parametrize("name", PROPERTIES)
    def test_these_are_not(self, name: str) -> None:
        assert not is_secret(name)
