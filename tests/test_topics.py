"""The recommended configuration of a schedule topic, and what differs from it."""

from __future__ import annotations

import pytest

from kms.topics import (
    RECOMMENDATIONS,
    Severity,
    check_topic_name,
    differences,
    recommended_config,
)

# Apache Kafka's own defaults.
DEFAULTS = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "min.compaction.lag.ms": "0",
    "min.cleanable.dirty.ratio": "0.5",
    "segment.ms": "604800000",
    "segment.bytes": "1073741824",
}


def test_what_is_recommended_agrees_with_itself() -> None:
    assert recommended_config() == {
        "cleanup.policy": "compact",
        "delete.retention.ms": "3600000",
        "min.compaction.lag.ms": "3600000",
        "min.cleanable.dirty.ratio": "0.1",
        "segment.ms": "86400000",
        "segment.bytes": "100000000",
    }
    assert differences(recommended_config() | {"retention.ms": "1"}) == []


def test_kafkas_defaults_differ() -> None:
    found = differences(DEFAULTS)
    assert [(each.recommendation.name, each.found) for each in found] == list(DEFAULTS.items())
    assert [each.recommendation.severity for each in found] == [
        Severity.ERROR,
        *[Severity.WARNING] * 5,
    ]


def test_compaction_may_wait_longer_than_recommended() -> None:
    lag = "min.compaction.lag.ms"
    for found, agrees in [("3600000", True), ("86400000", True), ("3599999", False), ("", False)]:
        assert (differences(recommended_config() | {lag: found}) == []) is agrees


@pytest.mark.parametrize("policy", ["delete", "compact,delete", "delete, compact", ""])
def test_any_policy_but_compact_alone_loses_schedules(policy: str) -> None:
    (found,) = differences(recommended_config() | {"cleanup.policy": policy})
    assert found.recommendation.severity is Severity.ERROR
    assert "dropped in silence after retention.ms" in found.recommendation.why


def test_numbers_are_compared_as_numbers() -> None:
    assert differences(recommended_config() | {"min.cleanable.dirty.ratio": "0.10"}) == []
    (found,) = differences(recommended_config() | {"segment.ms": "a day"})
    assert found.found == "a day"


def test_what_the_broker_does_not_tell_differs() -> None:
    assert [each.found for each in differences({})] == [None] * len(RECOMMENDATIONS)


def test_errors_come_first() -> None:
    severities = [each.recommendation.severity for each in differences({})]
    assert severities == sorted(severities, key=lambda each: each.value)


def test_every_why_is_a_sentence() -> None:
    for each in RECOMMENDATIONS:
        assert each.why[0].isupper()
        assert each.why.endswith(".")


@pytest.mark.parametrize("name", ["a", "orders.v1_x-Y", "...", "x" * 249])
def test_topic_names(name: str) -> None:
    assert check_topic_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "a\n", "ö", "x" * 250, "a\0"])
def test_names_that_kafka_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a topic: 1 to 249 characters"):
        check_topic_name(name)
