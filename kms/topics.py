"""How a schedule topic should be configured, and why; plain data, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from kms.settings_values import TOPIC_NAME


class Severity(Enum):
    """What another value than the recommended one does."""

    ERROR = "error"  # schedules get lost
    WARNING = "warning"  # it works, but slower or larger


class Recommendation(NamedTuple):
    """One setting of a schedule topic; ``agrees(found, value)`` says whether two values mean the
    same.
    """

    name: str
    value: str
    why: str
    severity: Severity
    agrees: Callable[[str, str], bool]


class Difference(NamedTuple):
    """A setting that is not as recommended; ``found`` None where the broker did not tell it."""

    found: str | None
    recommendation: Recommendation


def check_topic_name(name: str) -> str:
    """The name, if Kafka allows it for a topic; raises ValueError with a sentence otherwise."""
    if not TOPIC_NAME.fullmatch(name):
        raise ValueError(
            f"{name[:60]!r} is no name of a topic: 1 to 249 characters of a-z, A-Z, 0-9, '.', '_' "
            "and '-'."
        )
    return name


def missing_text(topic: str) -> str:
    """What to say where a schedule topic is to be written to, and is not there."""
    return f"The schedule topic {topic} does not exist: python kms.py topics create {topic}"


def recommended_config() -> dict[str, str]:
    """The recommended configuration by name, to create a topic with."""
    return {each.name: each.value for each in RECOMMENDATIONS}


def differences(config: Mapping[str, str]) -> list[Difference]:
    """Where a topic's configuration is not as recommended, what loses schedules first."""
    found = [
        Difference(config.get(each.name), each)
        for each in RECOMMENDATIONS
        if each.name not in config or not each.agrees(config[each.name], each.value)
    ]
    return sorted(found, key=lambda each: each.recommendation.severity is Severity.WARNING)


def _at_least(found: str, value: str) -> bool:
    return found.isdigit() and int(found) >= int(value)


def _same_set(found: str, value: str) -> bool:
    return {part.strip() for part in found.split(",")} == set(value.split(","))


def _same_number(found: str, value: str) -> bool:
    try:
        return float(found) == float(value)  # the broker may answer 0.10 for 0.1
    except ValueError:
        return False


RECOMMENDATIONS = (
    Recommendation(
        "cleanup.policy",
        "compact",
        "Only compaction keeps each schedule until it has fired: with delete, schedules are "
        "dropped in silence after retention.ms.",
        Severity.ERROR,
        _same_set,
    ),
    Recommendation(
        "delete.retention.ms",
        "3600000",
        "An instance that was down for longer than this reads the whole topic again; the longer "
        "it is, the more tombstones there are to read.",
        Severity.WARNING,
        _same_number,
    ),
    Recommendation(
        "min.compaction.lag.ms",
        "3600000",
        "As long as delete.retention.ms: what came under an id while its older version was being "
        "fired lies before that firing's tombstone, and compaction would erase it before an "
        "instance that takes over has seen it.",
        Severity.WARNING,
        _at_least,
    ),
    Recommendation(
        "min.cleanable.dirty.ratio",
        "0.1",
        "This part of the log may be left uncompacted: the higher, the more that has fired is "
        "kept, and read by a first start.",
        Severity.WARNING,
        _same_number,
    ),
    Recommendation(
        "segment.ms",
        "86400000",
        "Only closed segments are compacted: a quiet topic closes one after this time, and keeps "
        "until then what has fired.",
        Severity.WARNING,
        _same_number,
    ),
    Recommendation(
        "segment.bytes",
        "100000000",
        "Only closed segments are compacted: a busy topic closes one at this size, and keeps "
        "until then what has fired.",
        Severity.WARNING,
        _same_number,
    ),
)
