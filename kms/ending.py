"""When a run ends by itself: cron style, once all that was due is fired."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from kms import times
from kms.claims import BEFORE_ALL, Claims
from kms.errors import CacheInUseError, TimedOutError
from kms.figures import ConsumerFigures, ProducerFigures
from kms.gate import Gate
from kms.settings import Settings
from kms.store import CacheFile, Filter, Reader

_TURN_SECONDS = 0.1

_log = logging.getLogger(__name__)


class Work(NamedTuple):
    """What an ending looks at: the service's figures, its open partitions, cache and gate."""

    settings: Settings
    consumer: ConsumerFigures
    producer: ProducerFigures
    claims: Claims
    reader: Reader
    gate: Gate


class Summary(NamedTuple):
    """What a run did, and what it left, of the partitions it had."""

    fired: int
    dead_letters: int
    pending: int
    failed: int
    next_due_ms: int | None

    def text(self, seconds: float) -> str:
        """One line for people."""
        letters = f", to the dead-letter topic {self.dead_letters}" if self.dead_letters else ""
        return (
            f"fired {self.fired}{letters}, pending {self.pending}, failed {self.failed}, "
            f"next due {self._next_due() or 'none'}, took {seconds:.2f} s"
        )

    def json(self, seconds: float) -> str:
        """The same as one line of JSON."""
        found = self._asdict() | {"took_seconds": round(seconds, 3)}
        del found["next_due_ms"]
        return json.dumps(found | {"next_due": self._next_due()})

    def _next_due(self) -> str | None:
        if self.next_due_ms is None:
            return None
        return times.iso_time(self.next_due_ms) or str(self.next_due_ms)


class Ending:
    """Never by itself: how ``run`` is without further words."""

    def open_cache(self, path: Path, stopping: threading.Event) -> CacheFile | None:  # noqa: ARG002
        """The cache file; None if ``stopping`` was set while waiting for it."""
        return CacheFile(path)

    @contextmanager
    def limit(self, stopping: threading.Event) -> Iterator[None]:  # noqa: ARG002
        """While this lasts, ``stopping`` is set once it has taken too long."""
        yield

    def begin(self, work: Work) -> None:
        """The service works from now on; again, if it had to begin anew."""

    def has_come(self) -> bool:
        """Whether to end now."""
        return False

    def raise_for_timeout(self) -> None:
        """TimedOutError if it took too long, with how far it got."""


class OnceFired(Ending):
    """Once caught up, with all fired that was due then, or at ``until_ms`` if that is later.

    What its target refuses holds nothing up after one attempt. ``summary`` is None until then.
    With ``timeout_ms`` it gives up after that time, or as long after ``until_ms``; ``wait`` waits
    for a cache that another process uses, for which there is CacheInUseError else.
    """

    def __init__(
        self, until_ms: int | None = None, timeout_ms: int | None = None, *, wait: bool = False
    ) -> None:
        self.summary: Summary | None = None
        self._began_ms = times.now_ms()
        self._began_at = time.monotonic()
        self._until_ms = until_ms or 0
        self._timeout_ms = timeout_ms
        self._wait = wait
        self._horizon_ms: int | None = None  # what is due until then is to be fired
        self._works: list[Work] = []
        self._state = "another process used the cache all the time"
        self._timed_out = False

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return time.monotonic() - self._began_at

    def open_cache(self, path: Path, stopping: threading.Event) -> CacheFile | None:
        said = False
        while not stopping.is_set():
            try:
                file = CacheFile(path)
            except CacheInUseError:
                if not self._wait:
                    raise
                if not said:
                    _log.info("Waiting for its turn: another process uses the cache %s.", path)
                said = True
                stopping.wait(_TURN_SECONDS)
            else:
                self._state = "Kafka did not answer"
                return file
        return None

    @contextmanager
    def limit(self, stopping: threading.Event) -> Iterator[None]:
        if self._timeout_ms is None:
            yield
            return

        def give_up() -> None:
            self._timed_out = self.summary is None
            stopping.set()

        wait_ms = max(self._until_ms - self._began_ms, 0) + self._timeout_ms
        timer = threading.Timer(wait_ms / 1000, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def begin(self, work: Work) -> None:
        self._works.append(work)
        self._state = (
            f"the group {work.settings.consumer_group_id} gave it no partitions; do the topics "
            f"{', '.join(work.settings.topics)} exist?"
        )

    def has_come(self) -> bool:
        work, figures = self._works[-1], self._works[-1].consumer
        if not figures.joined:
            return False
        numbers = work.claims.open_numbers()
        if not (figures.assigned == figures.caught_up == len(numbers)):
            self._state = _left_to_load(figures)
            return False
        if not work.gate.pauses.known:
            self._state = "it was not known what is paused"
            return False
        now_ms = times.now_ms()
        if self._horizon_ms is None:
            self._horizon_ms = max(now_ms, self._until_ms)
        if now_ms < self._until_ms or not self._all_fired(work, numbers):
            return False
        self.summary = self._summary(work.reader, numbers)
        return True

    def raise_for_timeout(self) -> None:
        if self._timed_out:
            timeout = times.duration_text(self._timeout_ms or 0)
            fired = sum(sum(work.producer.fired.values()) for work in self._works)
            raise TimedOutError(
                f"Gave up after --timeout {timeout}: {self._state}. Fired {fired}; what is left "
                "stays pending in Kafka. The log says what went wrong, the next run goes on."
            )

    def _all_fired(self, work: Work, numbers: list[int]) -> bool:
        """As the store has it, so with every tombstone read back; what is paused is not due."""
        reader, horizon_ms = work.reader, self._horizon_ms or 0
        seen_ms = {known.number: known.seen_ms for known, _ in reader.checkpoints()}
        for number in numbers:
            lanes = work.gate.open_lanes()
            next_ms = [reader.next_due_ms(number, BEFORE_ALL, lane) for lane in lanes]
            next_ms += [reader.next_again_ms(number)] if 0 in lanes else []
            if any(ms is not None and ms <= horizon_ms for ms in next_ms):
                self._state = "not all that is due was fired"
                return False
            if reader.overtaken(number, 1):
                self._state = "an overtaken update was not written again"
                return False
            # Else no short run would ever tell the cache that it is fresh, and once it is as old
            # as the topic's delete.retention.ms it is dropped.
            if seen_ms[number] < self._began_ms:
                self._state = "Kafka did not confirm that the end was reached"
                return False
        return True

    def _summary(self, reader: Reader, numbers: list[int]) -> Summary:
        due_ms = [reader.next_due_ms(number, BEFORE_ALL) for number in numbers]
        ours = {(it.topic, it.partition) for it, _ in reader.checkpoints() if it.number in numbers}
        failed = reader.pending(Filter(failed=True))
        return Summary(
            fired=sum(sum(work.producer.fired.values()) for work in self._works),
            dead_letters=sum(sum(work.producer.buried.values()) for work in self._works),
            pending=sum(count for where, count in reader.counts().items() if where in ours),
            failed=sum((it.topic, it.partition) in ours for it in failed),
            next_due_ms=min((ms for ms in due_ms if ms is not None), default=None),
        )


def _left_to_load(figures: ConsumerFigures) -> str:
    if not figures.held_at:
        return f"{figures.left_to_load} offsets were still to be read"
    return f"the schema registry did not give the schema for {', '.join(figures.held_at)}"
