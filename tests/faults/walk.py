"""A random walk over the faults: a steady stream of schedules, and something breaks all the time.

The plan of the faults comes from the seed alone; what counts in the end is what a read_committed
reader of the target topic saw.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from local_kafka import LocalKafka
from local_registry import LocalRegistry

from kms.control import write_pauses
from kms.pauses import NOT_PAUSED
from kms.settings import Settings
from tests.broker.cluster import Cluster, now_ms
from tests.broker.instance import ROOT, VARIABLES, Instance
from tests.broker.permissions import OPEN, forbidden
from tests.faults.lanes import Registry, lanes
from tests.faults.proxy import Proxy
from tests.faults.reckoning import Reckoning
from tests.faults.stream import Stream

SETTINGS = {
    "KMS_SESSION_TIMEOUT_MS": "4000",
    "KMS_TRANSACTION_TIMEOUT_MS": "4000",
    "KMS_RETRY_PAUSE": "200ms",
    "KMS_RETRY_LONGEST_PAUSE": "1s",
}
LONGEST_FAULT_SECONDS = 12.0  # with what follows it; see Stream for why it matters
LONGEST_OUTAGE_SECONDS = 5.0  # of the registry, whose start takes as long
SETTLE_SECONDS = 180.0
FENCED, KAFKA, ENDED = 6, 5, 0
IN_DOUBT = "Who begins anew finds out"  # of a commit that nobody can know of

KINDS = {
    "kill": 6,
    "kill and delete the cache": 2,
    "kill and damage the cache": 1,
    "terminate": 3,
    "pause": 5,
    "cut": 4,
    "cut off": 2,
    "restart the broker": 1,
    "kill the broker": 1,
    "forbid the target": 1,
    "registry away": 3,
    "registry away and kill": 2,
    "pause the target": 3,
    "pause the target and kill": 2,
}


_LIMIT = 5  # times what comes in


class Fault(NamedTuple):
    """One step of the plan: what happens, to which instance, for how long, and the rest after."""

    kind: str
    instance: int
    seconds: float
    rest_seconds: float


def plan(seed: int, instances: int) -> Iterator[Fault]:
    """The endless plan of a seed: the same each time."""
    source = random.Random(seed)
    while True:
        (kind,) = source.choices(list(KINDS), list(KINDS.values()))
        yield Fault(
            kind,
            source.randrange(instances),
            source.choice([0.1, 0.5, 1.0, 2.0, 6.0]) * source.uniform(0.5, 1.5),
            source.uniform(0.5, 3.0),
        )


class Walk:
    """Runs the plan against a broker and instances of its own, in ``folder``."""

    def __init__(self, folder: Path, seed: int, instances: int, rate: int) -> None:
        self.done: Counter[str] = Counter()
        self.crashes: list[str] = []
        self._folder = folder
        self._rate = rate
        self._plan = plan(seed, instances)
        self._proxy = Proxy()
        self._kafka = LocalKafka(
            folder / "kafka",
            OPEN,
            listeners={"PROXIED": "PLAINTEXT"},
            advertised={"PROXIED": self._proxy.address},
        )
        self._kafka.start()
        self._proxy.forward_to(self._kafka.address("PROXIED"))
        self._cluster = cluster = Cluster(self._kafka.bootstrap)
        self._registry = LocalRegistry(folder / "registry")
        self._registry.start()
        self._schemas = Registry(self._registry.url)
        self._lanes = lanes(cluster, self._schemas)
        self.stream = Stream(cluster, self._lanes, seed, rate, 2 * LONGEST_FAULT_SECONDS)
        self._instances = [self._instance(cluster, number) for number in range(instances)]

    def run(self, seconds: float, tell: Callable[[str], None]) -> Reckoning:
        """Break things for this long, heal everything, wait, and count."""
        for each in self._instances:
            each.start()
        self.stream.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            fault = next(self._plan)
            tell(f"{sum(self.done.values()) + 1}: {fault.kind} ({fault.seconds:.1f} s)")
            self._break(fault)
            self.done[fault.kind] += 1
            time.sleep(fault.rest_seconds)
            self._revive()
        self.stream.stop()
        tell("healing")
        self._settle()
        found = self._reckoning()
        for loss in found.losses():
            tell(loss)
        return found

    def close(self) -> None:
        """Nothing is left running."""
        self.stream.stop()
        for each in self._instances:
            each.clean_up()
        self._proxy.close()
        self._schemas.close()
        self._registry.kill()
        self._kafka.kill()

    def _instance(self, cluster: Cluster, number: int) -> Instance:
        environment = {"KAFKA_BROKERS": self._proxy.address, **SETTINGS}
        environment["KMS_DEAD_LETTER_TOPIC"] = self.stream.dead
        environment["HISTORY_TOPIC"] = self.stream.history
        environment["KMS_SCHEMA_REGISTRY_URL"] = self._registry.url
        # So that what has gathered during a fault goes through a lane, too.
        environment["KMS_RATE_LIMITS"] = f"{self.stream.target}={_LIMIT * self._rate}"
        for form, name in VARIABLES.items():
            environment[name] = ",".join(self._topics(form))
        if number % 2:
            environment["KMS_INSTANCE_ID"] = f"walk-{number}"  # every other one is a static member
        return Instance(
            cluster,
            self._folder,
            self._topics("avro"),
            group="walk",
            cache=self._folder / f"cache-{number}.sqlite",
            program=ROOT / "kms.py",
            **environment,
        )

    def _reckoning(self) -> Reckoning:
        return Reckoning(self._cluster, self.stream)

    def _topics(self, form: str) -> list[str]:
        return [lane.topic for lane in self._lanes if lane.form == form]

    def _break(self, fault: Fault) -> None:
        kms = self._instances[fault.instance]
        if fault.kind.startswith("kill") and fault.kind != "kill the broker":
            kms.kill()
            self._spoil(kms, fault.kind)
            time.sleep(fault.seconds)
        elif fault.kind == "terminate":
            kms.signal(signal.SIGTERM)
            kms.ended(60)
            time.sleep(fault.seconds)
        elif fault.kind == "pause":
            kms.signal(signal.SIGSTOP)
            time.sleep(fault.seconds)
            kms.signal(signal.SIGCONT)
        elif fault.kind == "cut":
            self._proxy.cut()
        elif fault.kind == "cut off":
            self._proxy.refuse()
            time.sleep(fault.seconds)
            self._proxy.allow()
        elif fault.kind == "forbid the target":
            with forbidden(self._cluster, self.stream.target):
                time.sleep(fault.seconds)
        elif fault.kind.startswith("registry away"):
            self._take_registry_away(kms if "kill" in fault.kind else None, fault.seconds)
        elif fault.kind.startswith("pause the target"):
            self._pause_target(kms if "kill" in fault.kind else None, fault.seconds)
        else:
            (self._kafka.stop if fault.kind == "restart the broker" else self._kafka.kill)()
            time.sleep(min(fault.seconds, 2.0))
            self._kafka.start()

    def _take_registry_away(self, kms: Instance | None, seconds: float) -> None:
        """While records come with a schema that nobody has asked for yet."""
        schema = self._schemas.fresh()
        self._registry.kill()
        self._schemas.use(schema)
        if kms is not None:
            kms.kill()
            kms.start()
        time.sleep(min(seconds, LONGEST_OUTAGE_SECONDS))
        self._registry.start()

    def _pause_target(self, kms: Instance | None, seconds: float) -> None:
        """What is due goes into the lane of its target, and out of it again."""
        settings = Settings(kafka_brokers=self._kafka.bootstrap, consumer_group_id="walk")
        write_pauses(settings, {self.stream.target: NOT_PAUSED.paused(now_ms())})
        time.sleep(seconds / 2)
        if kms is not None:
            kms.kill()
            kms.start()
        time.sleep(seconds / 2)
        write_pauses(settings, {self.stream.target: NOT_PAUSED})

    def _spoil(self, kms: Instance, kind: str) -> None:
        if "cache" not in kind or not kms.cache.exists():
            return
        if "delete" in kind:
            for path in kms.cache.parent.glob(f"{kms.cache.name}*"):
                path.unlink()
        else:
            with kms.cache.open("r+b") as file:
                file.seek(random.randrange(max(kms.cache.stat().st_size, 1)))
                file.write(os.urandom(8192))

    def _revive(self) -> None:
        """What a supervisor does: start what ended; codes that nobody asked for are noted."""
        for each in self._instances:
            code = each.process.poll()
            if code is None:
                continue
            in_doubt = code == KAFKA and IN_DOUBT in each.log
            if not in_doubt and code not in (ENDED, FENCED, -signal.SIGKILL, -signal.SIGTERM):
                self.crashes.append(f"exit code {code}:\n{each.log[-2000:]}")
            each.start()

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._reckoning().missing() and time.monotonic() < deadline:
            self._revive()
            time.sleep(1.0)
        for each in self._instances:
            if each.process.poll() is None:
                each.wait_for_log("kms runs")
                each.signal(signal.SIGTERM)
                each.ended(60)
