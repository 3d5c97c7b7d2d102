"""The control thread: what is paused, read from the control topic as it is written there."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import closing

from kms.errors import FormatError, KafkaError, UndeliverableError
from kms.kafka import Admin, Offsets, Sender, Tail, TailRecord, TopicPartition, read_all
from kms.pauses import Pause, Pauses, key_of, named_target, pause_of, target_of, value_of
from kms.repeats import Repeats, more
from kms.settings import Settings
from kms.worker import Worker

_LOOK_SECONDS = 1.0  # while there is no such topic yet
_FORBIDDEN_SECONDS = 60.0
_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 10.0  # then it is said that nothing fires
_CONFIG = {"cleanup.policy": "compact"}

_log = logging.getLogger(__name__)


class Control(Worker):
    """Follows the control topic into ``pauses``; nothing fires before it is read once.

    Without that topic, or the permission to read it, nothing is paused.
    """

    def __init__(self, settings: Settings, pauses: Pauses) -> None:
        super().__init__("control")
        self._settings = settings
        self._pauses = pauses
        self._topic = settings.kms_control_topic
        self._admin = Admin(settings)
        self._tail: Tail | None = None
        self._ends: dict[TopicPartition, int] = {}  # until they are reached
        self._found: dict[str, Pause] = {}
        self._said = ""
        self._repeats = Repeats()
        self._patient_until = time.monotonic() + _PATIENCE_SECONDS

    def run(self) -> None:
        wait_seconds = 0.0
        try:
            while not self.is_over():
                if self.stopping.wait(min(wait_seconds, _LOOK_SECONDS)):
                    break
                wait_seconds -= _LOOK_SECONDS
                if wait_seconds <= 0:
                    wait_seconds = self._turn()
        finally:
            self._close()

    def _turn(self) -> float:
        """Take what there is; answers how many seconds to wait before the next turn."""
        try:
            if self._tail is None and not self._open():
                return _LOOK_SECONDS
            self._follow()
        except KafkaError as error:
            self._close()
            if isinstance(error, UndeliverableError) and error.reason == "not-authorised":
                self._forbidden(error)
                return _FORBIDDEN_SECONDS
            # Also what is not retriable elsewhere: a topic that was only just made is not known to
            # every broker yet, and nothing may fire before it is known what is paused.
            self._unknown(str(error))
            return _LOOK_SECONDS
        if not self._pauses.known:
            self._unknown("what it holds is still to come")
        return 0.0

    def _close(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def _open(self) -> bool:
        # Not believed at once, where that would resume what is paused.
        look = self._admin.topics_patiently if self._pauses.since_ms() else self._admin.topics
        if look([self._topic])[self._topic] is None:
            if self._pauses.since_ms():
                _log.warning("The control topic %s is gone, and with it all pauses.", self._topic)
            if not self._pauses.known or self._pauses.since_ms():
                self._pauses.replace({})
            return False
        self._tail = Tail(self._settings, [self._topic])
        with closing(Offsets(self._settings)) as offsets:
            self._ends = dict(offsets.high_watermarks(self._tail.partitions))
        self._found = {}
        return True

    def _follow(self) -> None:
        assert self._tail is not None
        records = self._tail.poll(_POLL_SECONDS)
        self._found |= _pauses_of(self._settings, records)
        if self._ends:
            reached = self._tail.ends
            if any(reached.get(where, -1) < end for where, end in self._ends.items()):
                return
            self._ends = {}
        elif not records:
            return
        before = self._pauses.since_ms()
        self._pauses.replace(self._found)
        _say(before, self._pauses.since_ms())

    def _unknown(self, why: str) -> None:
        _log.debug("the control topic: %s", why)
        if self._pauses.known or time.monotonic() < self._patient_until:
            return
        unsaid = self._repeats.unsaid("unknown")
        if unsaid is not None:
            _log.warning(
                "Nothing fires yet: the control topic %s, which says what is paused, can't be "
                "read: %s. It is tried again.%s",
                *(self._topic, why, more(unsaid)),
            )

    def _forbidden(self, error: KafkaError) -> None:
        if str(error) != self._said:
            # No warning: who pauses nothing needs no permission for it.
            _log.info(
                "%s. So nothing can be paused here: for that, allow READ on the control topic %s.",
                error,
                self._topic,
            )
        self._said = str(error)
        if not self._pauses.known:
            self._pauses.replace({})


def read_pauses(settings: Settings) -> dict[str, Pause]:
    """What was asked for, by target topic, of this group; nothing without a control topic.

    Raises KafkaError.
    """
    topic = settings.kms_control_topic
    if Admin(settings).topics([topic])[topic] is None:
        return {}
    return _pauses_of(settings, read_all(settings, [topic]))


def write_pauses(settings: Settings, pauses: dict[str, Pause]) -> None:
    """Write them to the control topic, which is made if it is not there. Raises KafkaError."""
    topic, admin = settings.kms_control_topic, Admin(settings)
    if admin.topics([topic])[topic] is None:
        admin.create_topic(topic, 1, -1, _CONFIG)
        admin.topics_patiently([topic])
    with closing(Sender(settings)) as sender:
        for target, pause in pauses.items():
            sender.send(topic, key_of(settings.consumer_group_id, target), value_of(pause))


def _pauses_of(settings: Settings, records: Iterable[TailRecord]) -> dict[str, Pause]:
    found: dict[str, Pause] = {}
    for record in records:
        try:
            target = target_of(record.key, settings.consumer_group_id)
            if target is not None:
                found[target] = pause_of(record.value)
        except FormatError as error:
            _log.error(
                "The control record at %s offset %d is passed over: %s.",
                record.where,
                record.offset,
                error,
            )
    return found


def _say(before: dict[str, int], now: dict[str, int]) -> None:
    for target in sorted(now.keys() - before.keys()):
        _log.warning("Paused: %s. What falls due waits.", named_target(target))
    for target in sorted(before.keys() - now.keys()):
        _log.info("Resumed: %s.", named_target(target))
