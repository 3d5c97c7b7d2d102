"""One instance: the service's own consumer, scheduler and producer on the model's clients.

Its three threads stop where another thread, another instance or the broker may come in between;
the test says which of them goes on, and how far.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from kms.assignment import Assignment
from kms.claims import Claims, Position
from kms.consumer import ScheduleConsumer
from kms.delivery import ExactlyOnce
from kms.due import Due, DueQueue
from kms.errors import FencedError
from kms.failures import Failures
from kms.gate import Gate, Verdict
from kms.kafka import TopicPartition
from kms.kinds import OCCURRENCE
from kms.pauses import Pause, paused_since_ms
from kms.producer import ScheduleProducer
from kms.scheduler import CacheJobStore, HandOver
from kms.settings import Settings
from tests.model import rules
from tests.model.clients import Admin, Offsets, Pool, Reader
from tests.model.form import FORM
from tests.model.kafka import TARGET, TOPIC
from tests.model.log import Firing, Log
from tests.model.steps import Stepper, pause, rest
from tests.model.store import Cache, Store
from tests.model.writer import Writer

if TYPE_CHECKING:
    from tests.model.world import World

SETTINGS = Settings(schedule_topics=(TOPIC,))
CONSUMER, SCHEDULER, PRODUCER = THREADS = ("consumer", "scheduler", "producer")
PLENTY = 99


class WatchedClaims(Claims):
    """The service's claims, with pauses between the calls, and the oracle's ears."""

    def __init__(self, owner: Instance) -> None:
        super().__init__()
        self._owner = owner

    def open(self, number: int) -> None:
        super().open(number)
        self._owner.says(f"may fire p{number}")

    def close(self, numbers: Iterable[int], timeout_seconds: float = 0.0) -> bool:
        numbers = list(numbers)
        while not super().close(numbers, 0.0):
            if timeout_seconds == 0.0 or self._owner.busy:
                return False
            rest()
        return True

    def folded(self, number: int, offsets: Mapping[bytes, int | None]) -> None:
        super().folded(number, offsets)
        self._owner.told(number)
        pause()

    def stored(self, number: int, earliest: Position, lane: int = 0) -> None:
        super().stored(number, earliest, lane)
        pause()

    def take(
        self, number: int, found: Sequence[Due], searched_to: Position | None, lane: int = 0
    ) -> list[Due]:
        taken = super().take(number, found, searched_to, lane)
        for due in taken:
            self._owner.says(f"claims {shown(due)}")
        return taken

    def begin(self, batch: Sequence[Due]) -> list[Due]:
        pause()
        valid = super().begin(batch)
        if not self._owner.world.has(rules.CLAIMS):
            valid = list(batch)
        self._owner.begins(valid)
        pause()
        return valid


class OpenGate(Gate):
    """Without the rule: as if nothing were paused."""

    def judge(self, due: Due, target: str) -> Verdict:  # noqa: ARG002
        return Verdict.FIRE


class PatientQueue(DueQueue):
    """The service's queue to the producer; waiting for it takes no time, but others come in."""

    def take(self, limit: int, timeout_seconds: float) -> list[Due]:  # noqa: ARG002
        rest()
        return super().take(limit, 0.0)


class Instance:
    """A process, from its start to its end; its transactional ids begin with ``name``."""

    def __init__(self, world: World, name: str, cache: Cache) -> None:
        self.world = world
        self.name = name
        self.limit = PLENTY  # records a poll
        self.busy = False
        self.alive = True
        self.store = Store(self, cache)
        self.reader = Reader(self)
        self.writers: dict[str, Writer] = {}
        self._seen: dict[int, int] = {}  # by partition: folded, or stable when it was taken over
        self._folded: dict[int, int] = {}
        self._firings: dict[int, Firing] = {}  # by id() of the claim
        self._heard = 0  # how often it was told that something else is paused
        self._paused: dict[int, int] = {}  # as of when it knew that it was, by id() of the claim
        self._wire()
        self.steppers = {
            CONSUMER: Stepper(self._consume),
            SCHEDULER: Stepper(self._schedule),
            PRODUCER: Stepper(self._produce),
        }
        self._lookups: list[Stepper] = []
        if world.paused:
            self.hear(world.paused)  # before anything else
        for thread in THREADS:
            self.run(thread)

    def run(self, thread: str, pauses: int | None = None) -> None:
        """Let a thread go on, so many pauses far, or until it waits for something or begins anew.

        An error that ends the service ends the process.
        """
        if self.alive:
            try:
                self.steppers[thread].step(pauses)
            except FencedError as error:
                self.says(f"ends: {error}")
                self.kill()

    def catch_up(self) -> None:
        """Let the consumer take a few turns, and its look-ups with it."""
        for _ in range(3):
            self.run(CONSUMER)
            self.answer(None)

    def look_up(self, task: Callable[[], None]) -> None:
        """Begin a look-up, a thread that ends with its answer."""
        self._lookups.append(Stepper(task))

    def answer(self, pauses: int | None) -> None:
        """Let the look-ups go on."""
        for stepper in self._lookups:
            stepper.step(pauses)
        self._lookups = [it for it in self._lookups if not it.over]

    def kill(self) -> None:
        """Kill -9. What it sent is sent, what it queued is gone."""
        self.alive = False
        for stepper in [*self.steppers.values(), *self._lookups]:
            stepper.kill()

    def hear(self, found: Mapping[str, Pause]) -> None:
        """Its control thread has read what is paused."""
        self._heard += self.gate.pauses.since_ms() != paused_since_ms(found)
        self.gate.pauses.replace(found)
        self.says("knows that " + (f"{', '.join(found)} is paused" if found else "none is paused"))

    def may_fire(self) -> bool:
        """Whether it fires a partition, as far as it knows."""
        return bool(self.claims.open_numbers())

    def is_firing(self) -> bool:
        """Whether it is in the middle of a transaction."""
        return any(writer.running for writer in self.writers.values())

    def position(self, number: int, otherwise: int) -> int:
        """How far this process has read a partition, if it reads it at all."""
        return self.reader.positions.get(TopicPartition(TOPIC, number), otherwise)

    def folded(self, number: int, otherwise: int) -> int:
        """How far its cache has a partition, also as it was before the last commit."""
        known = [cache.checkpoints.get(number) for cache in (self.store.cache, self.store.before)]
        return min(otherwise if it is None else it.next_offset for it in known)

    def says(self, text: str) -> None:
        self.world.say(f"{self.name} {text}")

    # What the oracle knows: up to which offset this process has, or must have, seen a partition.

    def taking_over(self, number: int) -> None:
        stable_end = self.world.kafka.schedules[number].stable_end
        self._seen[number] = max(self._seen.get(number, 0), stable_end)

    def stored(self, next_offsets: Mapping[int, int], changed: Collection[int]) -> None:
        for number, offset in next_offsets.items():
            if offset > self._folded.get(number, 0):
                self.says(f"has folded p{number} up to {offset}")
            self._folded[number] = offset
            if number not in changed:
                self.told(number)

    def told(self, number: int) -> None:
        self._seen[number] = max(self._seen.get(number, 0), self._folded[number])

    def begins(self, batch: Sequence[Due]) -> None:
        now_ms = self.world.clock.now_ms
        for due in batch:
            version, seen = int(due.value.partition(b":")[2]), self._seen[due.number]
            read = self.store.cache.read[due.number]
            fired_before = int(dict(due.headers).get(OCCURRENCE) or b"0")
            self._firings[id(due)] = Firing(version, seen, read, now_ms, self.name, fired_before)
            self._paused[id(due)] = self._heard if self.gate.pauses.is_paused(TARGET) else -1
        if batch:
            self.says("begins a transaction: " + ", ".join(map(shown, batch)))

    def firing(self, due: Due) -> Firing:
        return self._firings[id(due)]

    def delivered(self, due: Due, log: Log, offset: int) -> None:
        sort = "copy" if due.republish else "tombstone, or next record,"
        what = "target message" if log is self.world.kafka.target else sort
        if log is self.world.kafka.target and self._paused[id(due)] == self._heard:
            self.world.ledger.wrong.append(f"{shown(due)} is fired, {self.name} knew of a pause")
        self.says(f"writes the {what} of {shown(due)} to {log.name} at {offset}")

    # The service, and its three loops.

    def _wire(self) -> None:
        store = cast(Any, self.store)
        kind = Gate if self.world.has(rules.PAUSES) else OpenGate
        self.gate = gate = kind(lanes=self.store.cache.topics)
        admin, offsets = cast(Any, Admin(self)), cast(Any, Offsets(self))
        self.queue, assignment = PatientQueue(), Assignment()
        self._decode = assignment.decode
        self.claims = claims = WatchedClaims(self)
        failures = Failures()
        with (
            patch("kms.delivery.TransactionalWriter", self._make_writer),
            patch("kms.consumer.TopicReader", lambda _settings, _listener: self.reader),
            patch("kms.lookups.ThreadPoolExecutor", lambda **_: Pool(self)),
        ):
            delivery = ExactlyOnce(SETTINGS, assignment)
            self.consumer = ScheduleConsumer(
                *(SETTINGS, admin, offsets, store, claims, assignment, failures, {TOPIC: FORM}),
                gate=gate,
            )
        self.consumer._lookups._stopping = cast(threading.Event, NoWait())
        self.producer = ScheduleProducer(
            SETTINGS, delivery, self.queue, claims, assignment, failures, gate
        )
        self.producer.stopping = cast(threading.Event, NoWait())
        self._jobs = CacheJobStore(store, claims, self.queue, self.producer, gate)

    def _make_writer(self, _settings: Settings, purpose: str) -> Writer:
        self.writers[purpose] = Writer(self, purpose)
        return self.writers[purpose]

    def _consume(self) -> None:
        while True:
            rest()
            self.consumer._turn()

    def _schedule(self) -> None:
        hand_over = HandOver(self.queue, self._decode)
        while True:
            rest()
            for job in self._jobs._claim_due(self.world.clock.now_ms):
                hand_over.submit_job(job, [])

    def _produce(self) -> None:
        self.producer.run()


class NoWait:
    """Stands in for the event that ends a thread: waiting for it takes no time."""

    def is_set(self) -> bool:
        return False

    def wait(self, _seconds: float) -> bool:
        rest()
        return False


def shown(due: Due) -> str:
    what = "re-publishing of " if due.republish else ""
    return f"{what}v{due.value.partition(b':')[2].decode()} (p{due.number}@{due.offset})"
