"""How a client reaches Kafka: the schedule topic, what is pending on it."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import Future

from kms.client.requests import Requests
from kms.client.values import id_of
from kms.errors import KmsError
from kms.kafka import Admin, TopicInfo, TopicPartition, java_partition, read_partition
from kms.schedule import Record, Row, Schedule, fold
from kms.settings import Settings
from kms.topics import missing_text

Found = TopicInfo | BaseException


class Link:
    """One schedule topic of a cluster, looked up when it is first needed."""

    def __init__(self, requests: Requests, settings: Settings) -> None:
        self._settings = settings
        self._requests = requests
        self._lock = threading.Lock()
        self._looking: Future[Found] | None = None

    @property
    def is_checked(self) -> bool:
        """Whether ``check`` would answer without asking."""
        return self._looking is not None and _has_answered(self._looking)

    def check(self) -> TopicInfo:
        """What the schedule topic is; raises KmsError where there is none.

        Just to produce to it could create it, with a configuration that loses schedules.
        """
        return or_raised(self.looked_up().result())

    def looked_up(self) -> Future[Found]:
        """The same to come, for ``or_raised``: one look-up for all who ask meanwhile.

        So is its failure: after that a new one begins with the next call.
        """
        with self._lock:
            looking = self._looking
            if looking is None or (looking.done() and not _has_answered(looking)):
                looking = Future()
                looking.set_running_or_notify_cancel()  # who gives up does so for itself only
                # A daemon: a process that ends does not wait for it.
                threading.Thread(
                    target=self._look_up, args=(looking,), name="look-up", daemon=True
                ).start()
                self._looking = looking  # not before there is a thread, which may be one too many
            return looking

    def pending(self, schedule_id: str | bytes, timeout_seconds: float) -> Schedule | None:
        """The newest record under this id, as the service would see it; None if it is over."""
        info, wanted, form = self.check(), id_of(schedule_id), self._requests.form()
        where = TopicPartition(info.name, java_partition(wanted, info.partitions))
        rows: dict[bytes, Row] = {}
        for each in read_partition(self._settings, where, timeout_seconds):
            if each.key == wanted:
                record = Record(each.offset, wanted, each.value, each.headers, each.timestamp_ms)
                fold(rows, record, info.id, form.due_of)
        row = rows.get(wanted)
        if row is None:
            return None
        return form.decode(Record(row.offset, wanted, row.value, row.headers, row.written_ms))

    def _look_up(self, looking: Future[Found]) -> None:
        topic = self._requests.topic
        try:
            info = Admin(self._settings).topics_patiently([topic])[topic]
            if info is None:
                raise KmsError(missing_text(topic))
        except BaseException as error:  # noqa: BLE001 - raised by or_raised
            looking.set_result(error)
        else:
            looking.set_result(info)


def or_raised(found: Found) -> TopicInfo:
    """What a look-up found; an error is a new one for each who asks.

    One for all would gather the traceback of everybody who raises it.
    """
    if isinstance(found, BaseException):
        raise copy.copy(found) from found
    return found


def _has_answered(looking: Future[Found]) -> bool:
    return looking.done() and not isinstance(looking.result(), BaseException)
