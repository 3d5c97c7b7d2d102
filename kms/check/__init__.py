"""All that can be known before a start, or beside a running service; nothing is changed by it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

from kms.check.access import check_access
from kms.check.brokers import Brokers, check_brokers, check_versions
from kms.check.cache import Cache, check_age, check_cache
from kms.check.clock import check_kept, check_newest, check_probe
from kms.check.finding import Finding, Level, has_error, skipped
from kms.check.group import check_group, check_lag
from kms.check.limits import check_limits
from kms.check.machine import check_files
from kms.check.pauses import check_pauses
from kms.check.port import check_port
from kms.check.registry import check_registry
from kms.check.settings import check_settings
from kms.check.topics import check_targets, check_topics, configuration, missing
from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka import Examiner, GroupView, Offsets, TopicPartition, checked_properties
from kms.registry import schemas_to_look
from kms.settings import Settings

__all__ = ["Finding", "Level", "check", "configuration", "has_error", "missing"]

_TIMEOUT_SECONDS = 2.0
_PAUSE_SECONDS = 0.1


def check(settings: Settings, probe_topic: str | None = None) -> Iterator[Finding]:
    """Everything, one finding after the other; it ends within some ten seconds.

    ``probe_topic`` is a topic to write one message to, the only thing that is ever written.
    Raises SettingsError for what the start would refuse as well.
    """
    checked_properties(settings)
    yield from check_settings(settings)
    yield check_versions()
    yield check_files()
    with schemas_to_look(settings) as schemas:
        if schemas is not None:
            yield from check_registry(settings, schemas)
        cache = check_cache(settings, schemas)
    yield from cache.findings
    yield check_port(settings, cache.holder)
    yield check_kept()
    brokers = check_brokers(settings)
    yield from brokers.findings
    if not brokers.alive:
        return  # the brokers' own lines say why, and that the rest could not be looked at
    try:
        yield from _check_kafka(settings, brokers, cache, probe_topic)
    except KafkaError as problem:
        yield skipped("kafka", "the rest", f"Kafka stopped answering: {problem}", "Try again.")


def _check_kafka(
    settings: Settings, brokers: Brokers, cache: Cache, probe_topic: str | None
) -> Iterator[Finding]:
    examiner = Examiner(settings, _TIMEOUT_SECONDS)
    yield from check_limits(examiner, settings, brokers.alive, len(brokers.advertised))
    yield from check_topics(examiner, settings, len(brokers.advertised))
    group = _group(examiner, settings.consumer_group_id)
    yield from check_access(examiner, settings, group, brokers.apis)
    yield from check_group(settings, group, cache.holder)
    yield from check_pauses(examiner, settings, len(brokers.advertised))
    partitions = [
        TopicPartition(view.name, number)
        for view in examiner.topics(settings.topics).values()
        for number in range(len(view.replicas))
    ]
    with closing(Offsets(settings)) as offsets:
        if partitions:
            yield from check_lag(settings, offsets, partitions)
        yield from check_age(settings, cache, brokers.cluster_id, examiner, offsets)
    yield from check_targets(examiner, cache.targets, f"of the {cache.looked_at} due soonest")
    if partitions:
        yield check_newest(examiner, partitions)
    if probe_topic is not None:
        yield from check_probe(settings, probe_topic, _TIMEOUT_SECONDS)


def _group(examiner: Examiner, name: str) -> GroupView:
    """A broker that was just started still loads its groups: look again for a while."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            return examiner.group(name)
        except RetriableKafkaError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)
