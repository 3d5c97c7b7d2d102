"""How a client reaches Kafka: its settings, the schedule topic, what is pending on it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from kms.client.requests import Requests, id_of
from kms.errors import KmsError, SettingsError
from kms.kafka import Admin, TopicInfo, TopicPartition, java_partition, read_partition
from kms.kafka_properties import KafkaProperties, is_owned, setting_instead_of
from kms.schedule import Record, Row, Schedule, fold
from kms.settings import Settings
from kms.settings_loading import load_settings

_SETTINGS = ("kafka_brokers", "security_protocol")  # which have properties of their own


class Link:
    """One schedule topic of a cluster, looked up when it is first needed."""

    def __init__(self, requests: Requests, config: Mapping[str, object] | None) -> None:
        self.settings = load_settings() if config is None else _settings(config)
        self._requests = requests
        self._info: TopicInfo | None = None
        self._looking = threading.Lock()

    @property
    def is_checked(self) -> bool:
        """Whether ``check`` would answer without asking."""
        return self._info is not None

    def check(self) -> TopicInfo:
        """What the schedule topic is; raises KmsError where there is none.

        Just to produce to it could create it, with a configuration that loses schedules.
        """
        with self._looking:  # many threads may begin at once, and one look-up will do
            if self._info is None:
                topic = self._requests.topic
                self._info = Admin(self.settings).topics_patiently([topic])[topic]
                if self._info is None:
                    raise KmsError(
                        f"The schedule topic {topic} does not exist: "
                        f"python kms.py topics create {topic}"
                    )
            return self._info

    def pending(self, schedule_id: str | bytes, timeout_seconds: float) -> Schedule | None:
        """The newest record under this id, as the service would see it; None if it is over."""
        info, wanted, form = self.check(), id_of(schedule_id), self._requests.form
        where = TopicPartition(info.name, java_partition(wanted, info.partitions))
        rows: dict[bytes, Row] = {}
        for each in read_partition(self.settings, where, timeout_seconds):
            if each.key == wanted:
                record = Record(each.offset, wanted, each.value, each.headers, each.timestamp_ms)
                fold(rows, record, info.id, form.due_of)
        row = rows.get(wanted)
        if row is None:
            return None
        return form.decode(Record(row.offset, wanted, row.value, row.headers, row.written_ms))


def _settings(config: Mapping[str, object]) -> Settings:
    """From librdkafka's properties, as a confluent-kafka producer takes them."""
    values: dict[str, Any] = {}
    properties: dict[str, str] = {}
    for name, value in config.items():
        setting = setting_instead_of(name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if setting in _SETTINGS:
            values[setting] = text
        elif is_owned(name):
            raise SettingsError(f"{name} can't be set: kms decides on it.")
        else:
            properties[name] = text
    try:
        return Settings(**values, kafka=KafkaProperties(properties))
    except ValidationError as error:
        # Without the values: one might be a secret.
        wrong = "; ".join(f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in error.errors())
        raise SettingsError(f"The config makes no sense: {wrong}.") from None
