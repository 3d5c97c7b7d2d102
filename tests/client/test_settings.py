"""What a client is made of: kms's own settings, or a config of librdkafka's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import confluent_kafka as ck
import pytest

from kms.client import AsyncScheduleClient, ScheduleClient
from kms.client.requests import Requests
from kms.client.settings import requests_of, settings_of
from kms.errors import RequestError, SettingsError
from kms.formats import Headers, Json, Kinds, Registry
from kms.kafka import Admin, Sender
from kms.kafka.config import common_config

CONFIG = {"bootstrap.servers": "localhost:1", "log_level": 0}


def test_what_a_client_can_not_be_made_of() -> None:
    with pytest.raises(RequestError, match="'xml' is no format: there are avro, json, headers"):
        ScheduleClient("schedules", CONFIG, format="xml")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="The schedule topic '' is no name"):
        AsyncScheduleClient("", CONFIG)
    with pytest.raises(SettingsError, match="acks can't be set: kms decides on it"):
        ScheduleClient("schedules", {**CONFIG, "acks": 0})
    with pytest.raises(SettingsError, match="security_protocol"):
        ScheduleClient("schedules", {**CONFIG, "security.protocol": "secret"})


class AvroProducer(ck.Producer):
    """As that of confluent_kafka.avro, which is old and warns of that."""

    __module__ = "confluent_kafka.avro"


@pytest.mark.parametrize(
    "producer", ["no producer", ck.SerializingProducer(CONFIG), AvroProducer(CONFIG)]
)
def test_what_is_no_producer(producer: Any) -> None:
    with pytest.raises(RequestError, match=r"producer is a \w+: give a confluent_kafka.Producer"):
        ScheduleClient("schedules", CONFIG, producer=producer)


class TestAConfig:
    def test_has_properties_as_a_producer_takes_them(self) -> None:
        config = {**CONFIG, "security.protocol": "SASL_SSL", "sasl.password": "x", "socket.x": True}
        settings = settings_of({**config, "sasl.username": None})
        assert settings.kafka_brokers == "localhost:1"
        assert settings.security_protocol == "SASL_SSL"
        assert dict(settings.kafka) == {"log_level": "0", "sasl.password": "x", "socket.x": "true"}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("acks", "all"),
            ("acks", -1),
            ("enable.idempotence", True),
            ("request.required.acks", -1),
        ],
    )
    def test_may_say_what_kms_says(self, name: str, value: object) -> None:
        assert dict(settings_of({name: value}).kafka) == {}

    def test_names_its_client(self) -> None:
        found = common_config(settings_of({**CONFIG, "client.id": "orders"}))
        assert found["client.id"] == "orders"
        assert common_config(settings_of(CONFIG))["client.id"].startswith("kms-")

    def test_may_bring_tokens(self) -> None:
        """Each kind of client asks for one as soon as it is made."""
        asked: list[str] = []

        def token(config: str) -> tuple[str, float]:
            asked.append(config)
            return "token", time.time() + 60

        properties = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "OAUTHBEARER"}
        settings = settings_of({**CONFIG, **properties, "oauth_cb": token})
        Sender(settings, 0.1).close()
        assert len(asked) == 1
        Admin(settings)
        assert len(asked) == 2
        with pytest.raises(SettingsError, match="oauth_cb can't be set"):
            settings_of({"oauth_cb": "token"})


class TestTheFormat:
    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JSON_SCHEDULE_TOPICS", "json-schedules")
        monkeypatch.setenv("HEADER_SCHEDULE_TOPICS", "header-schedules")
        monkeypatch.setenv("REGISTRY_SCHEDULE_TOPICS", "registry-schedules")

    @pytest.mark.parametrize(
        ("topic", "form"), [("json-schedules", Json), ("header-schedules", Headers)]
    )
    def test_is_that_of_the_settings(self, topic: str, form: type) -> None:
        assert isinstance(inner(requests_of(topic, None, settings_of(None))), form)

    def test_is_what_is_wanted_of_a_topic_that_they_do_not_know(self) -> None:
        assert isinstance(inner(requests_of("others", "json", settings_of(None))), Json)
        assert isinstance(inner(requests_of("json-schedules", "headers", settings_of({}))), Headers)

    def test_is_no_other_one_than_that_of_the_settings(self) -> None:
        with pytest.raises(
            SettingsError,
            match="The format of json-schedules is json by the environment variable JSON_SCHEDULE_"
            "TOPICS, and 'avro' is asked for: leave format out",
        ):
            ScheduleClient("json-schedules", format="avro")

    @pytest.mark.usefixtures("unrelated")
    def test_is_all_that_is_read_beside_a_producer_of_the_caller_s(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What else is there is for others, and may be wrong for them."""
        producer = ck.Producer(CONFIG)
        for topic, form, found in (
            ("json-schedules", None, Json),
            ("json-schedules", "headers", Headers),
            ("file-schedules", None, Headers),
        ):
            client = ScheduleClient(topic, format=form, producer=producer)  # type: ignore[arg-type]
            assert isinstance(inner(client._requests), found)
        for format_ in (None, "registry"):
            with pytest.raises(SettingsError, match="KMS_SCHEMA_REGISTRY_URL must say which"):
                ScheduleClient("registry-schedules", format=format_, producer=producer)
        monkeypatch.setenv("KMS_SCHEMA_REGISTRY_URL", "http://localhost:1")
        for format_ in (None, "registry"):
            with ScheduleClient("registry-schedules", format=format_, producer=producer) as client:  # type: ignore[arg-type]
                assert isinstance(inner(client._requests), Registry)
        with pytest.raises(SettingsError, match="KAFKA_ACKS"):
            ScheduleClient("json-schedules")

    @pytest.fixture
    def unrelated(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        file = tmp_path / "kms.toml"
        file.write_text(
            'header_schedule_topics = ["header-schedules", "file-schedules"]\n'
            'kms_http_token_file = "/missing"\nnonsense = 1\n[kafka]\nacks = "all"\n'
        )
        monkeypatch.delenv("HEADER_SCHEDULE_TOPICS")
        monkeypatch.setenv("KMS_CONFIG", str(file))
        monkeypatch.setenv("KAFKA_ACKS", "all")
        monkeypatch.setenv("PROMETHEUS_SCRAPING_ENDPOINT_PORT", "http")
        monkeypatch.setenv("KMS_HTTP_TOKEN_FILE", "/missing")

    def test_of_a_registry_needs_the_registry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(SettingsError, match="KMS_SCHEMA_REGISTRY_URL must say which"):
            ScheduleClient("registry-schedules")
        monkeypatch.setenv("KMS_SCHEMA_REGISTRY_URL", "http://localhost:1")
        found = requests_of("registry-schedules", None, settings_of(None))
        assert found.may_wait
        assert isinstance(inner(found), Registry)
        found.close()


def inner(requests: Requests) -> object:
    form = requests.form()
    assert isinstance(form, Kinds)
    return form.form
