"""Secrets among the settings stay secret, also when something is wrong."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from kms.errors import SettingsError
from kms.kafka_properties import is_secret, variable_of_property
from kms.settings import Settings
from tests.settings_examples import (
    PROPERTIES,
    SECRET_SETTINGS,
    SECRETS,
    VARIABLES,
    kafka_variables,
    load,
    refusal,
    toml_of,
)

SECRET = "hunter2-and-more"


class TestSecrets:
    @pytest.mark.parametrize("name", SECRETS)
    @given(st.text("ghijklmGHIJKLM789+/", min_size=12, max_size=40), st.booleans())
    def test_never_shown(self, name: str, secret: str, in_file: bool) -> None:
        properties = {name: secret, "client.id": "me"}
        settings = (
            load(toml=toml_of({}, properties)) if in_file else load({}, kafka_variables(properties))
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
            ({"kafka": [f"sasl.password={SECRET}"]}, {}, None),
            ({}, {"KEYSTORE_PASSWORD": SECRET, "KMS_DELIVERY": "x"}, None),
            ({}, {}, f'keystore_password = ["{SECRET}"]'),
            ({}, {}, f'keystore_password = "{SECRET}"\nkms_delivery = 1'),
            ({}, {}, f'[keystore_password]\na = "{SECRET}"'),
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
        environment = {
            "KAFKA_SASL_PASSWORD": SECRET,
            "KEYSTORE_PASSWORD": SECRET,
            "KAFKA_BROKERS": "seen:1",
        }
        file = f'truststore_password = "{SECRET}"\n[kafka]\nssl.key.password = "{SECRET}"'
        with caplog.at_level(logging.DEBUG):
            load({}, environment, file)
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


class TestSecretSettings:
    @pytest.mark.parametrize("name", ["keystore_password", "truststore_password"])
    def test_a_variable_beats_the_file(self, name: str) -> None:
        variable = VARIABLES[name]
        settings = load({}, {variable: f" {SECRET} "}, toml_of({name: "other"}))
        assert revealed(settings, name) == f" {SECRET} "
        assert settings.source(name) == f"the environment variable {variable}"
        assert revealed(load({}, {variable: ""}, toml_of({name: 12})), name) == "12"
        assert SECRET not in repr(settings) + str(settings.shown()) + settings.model_dump_json()
        assert {row[0]: row[1] for row in settings.shown()}[name] == "**********"

    @pytest.mark.parametrize("name", SECRET_SETTINGS)
    def test_from_a_file(self, name: str, tmp_path: Path) -> None:
        path, variable = tmp_path / "secret", VARIABLES[name]
        path.write_text(f"{SECRET}\n")
        for settings, origin in (
            (load({f"{name}_file": str(path)}), f"the flag --{name.replace('_', '-')}-file"),
            (
                load({}, {f"{variable}_FILE": str(path)}),
                f"the environment variable {variable}_FILE",
            ),
            (load(toml=toml_of({f"{name}_file": str(path)})), f"the key {name}_file in "),
        ):
            assert revealed(settings, name) == SECRET
            assert settings.source(name).startswith(origin)
            assert settings.ignored_variables == ()
            assert SECRET not in repr(settings) + str(settings.shown())

    @pytest.mark.parametrize(
        "token", ["x" * 15, "x" * 16 + "\n", "x" * 8 + " " + "x" * 8, "é" * 16]
    )
    def test_a_token_that_could_be_guessed_or_not_be_sent(self, token: str) -> None:
        assert revealed(load({}, {"KMS_HTTP_TOKEN": "x" * 16}), "kms_http_token") == "x" * 16
        said = refusal({}, {"KMS_HTTP_TOKEN": token})
        assert "KMS_HTTP_TOKEN must be at least 16 characters of ASCII" in said
        assert token.strip() not in said

    def test_a_flag_beats_a_variable(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text(SECRET)
        settings = load({"keystore_password_file": path}, {"KEYSTORE_PASSWORD": "other"})
        assert revealed(settings, "keystore_password") == SECRET


class TestPropertiesFromFiles:
    @pytest.mark.parametrize("name", SECRETS)
    def test_wherever_the_path_is_given(self, name: str, tmp_path: Path) -> None:
        path, variable = tmp_path / "secret", variable_of_property(name)
        path.write_text(SECRET)
        for settings, origin in (
            (load({"kafka": [f"{name}.file={path}"]}), f"the flag --kafka {name}.file"),
            (
                load({}, {f"{variable}_FILE": str(path)}),
                f"the environment variable {variable}_FILE",
            ),
            (load(toml=toml_of({}, {f"{name}.file": str(path)})), f"the key kafka.{name}.file in "),
        ):
            assert settings.kafka == {name: SECRET}
            assert settings.kafka_source(name).startswith(origin)
            assert SECRET not in repr(settings) + str(settings.shown())

    @pytest.mark.parametrize("name", SECRETS)
    def test_the_secret_itself_is_no_flag(self, name: str) -> None:
        said = refusal({"kafka": [f"{name}={SECRET}"]})
        assert said.startswith(f"The flag --kafka {name} would show a secret to every user")
        assert f"{variable_of_property(name)}_FILE" in said
        assert SECRET not in said

    def test_a_path_that_librdkafka_itself_wants(self) -> None:
        name = "sasl.oauthbearer.assertion.private.key.file"
        assert load({}, {variable_of_property(name): "/no/such/file"}).kafka == {
            name: "/no/such/file"
        }

    @pytest.mark.parametrize(
        ("content", "value"),
        [
            (b"x\n", "x"),
            (b"x\r\n", "x"),
            (b"x\n\n", "x\n"),
            (b" x ", " x "),
            ("\u00e4\n".encode(), "\u00e4"),
            (b"a\nb\n", "a\nb"),
        ],
    )
    def test_one_newline_at_the_end_is_dropped(
        self, content: bytes, value: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "secret"
        path.write_bytes(content)
        assert load({}, {"KAFKA_SASL_PASSWORD_FILE": str(path)}).kafka == {"sasl.password": value}

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "No such file or directory"),
            (b"", "which is empty"),
            (b"\n", "which is empty"),
            (b"\xff\xfe" + SECRET.encode(), "it is not UTF-8"),
            (SECRET.encode() * 100_000, "which is longer than 1000000 characters"),
        ],
    )
    def test_a_file_that_will_not_do(
        self, content: bytes | None, reason: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "s"
        if content is not None:
            path.write_bytes(content)
        for variable in ("KAFKA_SASL_PASSWORD_FILE", "KEYSTORE_PASSWORD_FILE"):
            said = refusal({}, {variable: str(path)})
            assert said.startswith(f"The environment variable {variable} names '")
            assert reason in said
            assert SECRET not in said
            assert "\n" not in said
        assert "Is a directory" in refusal({}, {"KEYSTORE_PASSWORD_FILE": str(tmp_path)})

    def test_an_endless_file(self) -> None:
        assert "longer than" in refusal({}, {"KAFKA_SASL_PASSWORD_FILE": "/dev/zero"})

    def test_both_is_one_too_many(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text(SECRET)
        for name in ("KAFKA_SASL_PASSWORD", "KEYSTORE_PASSWORD"):
            assert refusal({}, {name: "other", f"{name}_FILE": str(path)}) == (
                f"The environment variable {name}_FILE and the environment variable {name} "
                "are both given: leave one out."
            )
        said = refusal(toml=toml_of({}, {"sasl.password": "x", "sasl.password.file": str(path)}))
        assert "kafka.sasl.password.file" in said
        assert "the key kafka.sasl.password in" in said


def revealed(settings: Settings, name: str) -> str:
    secret = getattr(settings, name)
    assert isinstance(secret, SecretStr)
    return secret.get_secret_value()
