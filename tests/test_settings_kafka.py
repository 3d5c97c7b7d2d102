"""Kafka's properties: every form in which they are given, and those that kms keeps for itself."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kms.kafka_properties import (
    is_owned,
    is_service_link,
    property_of_variable,
    variable_of_property,
)
from tests.settings_examples import (
    PROPERTIES,
    SECRETS,
    SERVICE_LINKS,
    VARIABLES,
    kafka_flags,
    kafka_variables,
    load,
    refusal,
    toml_of,
)


class TestKafkaProperties:
    @given(
        st.dictionaries(st.sampled_from(PROPERTIES), st.text("ab =1", min_size=1)),
        st.dictionaries(st.sampled_from(PROPERTIES + SECRETS), st.text("ab =1", min_size=1)),
        st.dictionaries(st.sampled_from(PROPERTIES + SECRETS), st.text("ab =1")),
    )
    def test_each_property_has_its_own_precedence(
        self, flags: dict[str, str], variables: dict[str, str], file: dict[str, str]
    ) -> None:
        settings = load(
            {"kafka": kafka_flags(flags)}, kafka_variables(variables), toml_of({}, file)
        )
        assert settings.kafka == settings.kafka_properties() == file | variables | flags
        for name in settings.kafka:
            if name in flags:
                expected = f"the flag --kafka {name}"
            elif name in variables:
                expected = f"the environment variable {variable_of_property(name)}"
            else:
                expected = f"the key kafka.{name} in "
            assert settings.kafka_source(name).startswith(expected)

    @given(st.from_regex(r"[a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,5}", fullmatch=True))
    def test_names_survive_the_environment(self, name: str) -> None:
        variable = variable_of_property(name)
        assert property_of_variable(variable) == name
        assume(not is_owned(name) and not is_service_link(variable) and name != "brokers")
        settings = load({}, {variable: " x "})
        assert settings.kafka == {name: " x "}
        assert settings.kafka_source(name) == f"the environment variable {variable}"

    def test_by_example(self) -> None:
        environment = {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_LINGER_MS": "", "KAFKA": "x"}
        assert load({}, environment).kafka == {"sasl.mechanism": "PLAIN"}
        assert load({}, {"KAFKA": "x"}).kafka == {}

    @pytest.mark.parametrize("flag", ["linger.ms", "=1", "linger ms=1", "", ".a=1", "a..b=1"])
    def test_no_property_in_a_flag(self, flag: str) -> None:
        assert refusal({"kafka": ["linger.ms=1", flag]}) == (
            "The flag --kafka must be name=value, but number 2 of them is not."
        )

    def test_tables_and_types_of_the_file(self) -> None:
        settings = load(
            toml="""
            [kafka]
            "sasl.mechanism" = "PLAIN"
            sasl.username = "me"
            linger.ms = 5
            socket.keepalive.enable = true
            [kafka.ssl.ca]
            location = "/ca.pem"
            """
        )
        assert settings.kafka == {
            "sasl.mechanism": "PLAIN",
            "sasl.username": "me",
            "linger.ms": "5",
            "socket.keepalive.enable": "true",
            "ssl.ca.location": "/ca.pem",
        }

    @pytest.mark.parametrize(
        ("toml", "part"),
        [
            ('kafka = "x"', "The key kafka in"),
            ("[kafka]\nlinger.ms = [1]", "The key kafka.linger.ms in"),
            ('[kafka]\n"linger.ms" = 1\nlinger.ms = 2', "The key kafka.linger.ms in"),
            ('[kafka]\n" linger.ms" = 1', "' linger.ms'"),
        ],
    )
    def test_no_property_in_the_file(self, toml: str, part: str) -> None:
        sentence = refusal(toml=toml)
        assert part in sentence
        assert "\n" not in sentence

    @pytest.mark.parametrize(
        "variable", ["KAFKA_", "KAFKA__A", "KAFKA_A_", "KAFKA_sasl", "KAFKA_A B"]
    )
    def test_no_property_in_the_environment(self, variable: str) -> None:
        assert refusal({}, {variable: "x"}).startswith(f"The environment variable {variable} must")

    def test_the_last_flag_of_a_name_counts(self) -> None:
        settings = load({"kafka": ["linger.ms=1", " linger.ms =2=3"]})
        assert settings.kafka == {"linger.ms": "2=3"}

    @pytest.mark.parametrize(
        ("name", "setting"),
        [
            ("bootstrap.servers", "kafka_brokers"),
            ("metadata.broker.list", "kafka_brokers"),
            ("security.protocol", "security_protocol"),
            ("group.id", "consumer_group_id"),
            ("group.instance.id", "kms_instance_id"),
            ("transactional.id", "kms_instance_id"),
            ("transaction.timeout.ms", "kms_transaction_timeout_ms"),
            ("session.timeout.ms", "kms_session_timeout_ms"),
        ],
    )
    def test_a_property_that_is_a_setting(self, name: str, setting: str) -> None:
        flag, variable = setting.replace("_", "-"), VARIABLES[setting]
        assert refusal({"kafka": [f"{name}=1"]}) == (
            f"The flag --kafka {name} can't be set: use the flag --{flag} instead."
        )
        assert refusal({}, {variable_of_property(name): "1"}) == (
            f"The environment variable {variable_of_property(name)} can't be set: "
            f"use the environment variable {variable} instead."
        )
        sentence = refusal({}, {}, f'[kafka]\n{name} = "1"')
        assert sentence.startswith(f"The key kafka.{name} in ")
        assert f"use the key {setting} in " in sentence

    @pytest.mark.parametrize(
        "name",
        [
            "acks",
            "auto.offset.reset",
            "enable.auto.commit",
            "enable.idempotence",
            "enable.partition.eof",
            "error_cb",
            "group.protocol",
            "isolation.level",
            "oauth_cb",
            "on_delivery",
            "partition.assignment.strategy",
            "partitioner",
        ],
    )
    def test_a_property_that_is_ours(self, name: str) -> None:
        assert refusal({"kafka": [f"{name}=1"]}) == (
            f"The flag --kafka {name} can't be set: kms decides on it."
        )

    @pytest.mark.parametrize("name", PROPERTIES + SECRETS)
    def test_other_properties_are_not_ours(self, name: str) -> None:
        assert not is_owned(name)
        assert not is_service_link(variable_of_property(name))

    def test_what_kubernetes_adds_is_passed_over(self) -> None:
        settings = load({}, dict.fromkeys(SERVICE_LINKS, "tcp://10.0.0.1:9092"))
        assert settings.kafka == {}
        assert set(settings.ignored_variables) == set(SERVICE_LINKS)
        assert settings.shown() == load().shown()

    def test_our_own_misspelt_variables_are_listed(self) -> None:
        environment = {"KMS_DELIVRY": "x", "KMS_DELIVERY": "at-least-once", "KMS_CONFIG": "no"}
        assert load({}, environment, "").ignored_variables == ("KMS_DELIVRY",)
