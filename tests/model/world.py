"""All of it: Kafka, two instances, their users, the clock; and how it heals."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from unittest.mock import patch

from kms.kinds import COUNT, EVERY, MISSED
from kms.pauses import NOT_PAUSED, Pause
from kms.schedule import Header
from tests.model import rules
from tests.model.cleaner import hidden_cancels, overtaken
from tests.model.clients import Stretches
from tests.model.healing import settle
from tests.model.instance import PLENTY, PRODUCER, SCHEDULER, Instance
from tests.model.kafka import Kafka
from tests.model.ledger import Ledger, Write
from tests.model.steps import HOUR_MS, SECOND_MS, Clock
from tests.model.store import Cache
from tests.model.writer import Writer

# The service's modules that ask what time it is.
TIMED = [
    module
    for name, module in sys.modules.items()
    if name.startswith("kms.") and getattr(module, "time", None) is time
]
LARGE_COMMIT = 2  # records


class World:
    """Kafka, the instances A and B, and what happens to them from outside.

    ``left_out`` are the rules that do not hold; ``story`` says in plain steps what happened.
    """

    def __init__(self, left_out: Collection[str], partitions: int, *, static: bool) -> None:
        self.story: list[str] = []
        self.static = static
        self.retention_ms = 2 * HOUR_MS
        self.slow_network = False
        self.clock = Clock()
        self.ledger = Ledger()
        self.kafka = Kafka(partitions, self.ledger.committed)
        self._left_out = frozenset(left_out)
        self._versions = 0
        self.paused: dict[str, Pause] = {}
        self._patches = ExitStack()
        for module in TIMED:
            self._patches.enter_context(patch.object(module, "time", self.clock))
        # So that some are in the background.
        self._patches.enter_context(patch("kms.commits._MOST_RECORDS", LARGE_COMMIT))
        self._patches.enter_context(patch("kms.commits._LARGE_RECORDS", LARGE_COMMIT))
        # Made when the first is needed, in the middle of a transaction.
        stretches = patch("kms.delivery.StretchReader", lambda _: Stretches(self), create=True)
        self._patches.enter_context(stretches)
        logging.getLogger("kms").setLevel(logging.CRITICAL + 1)
        self.instances = [Instance(self, name, Cache()) for name in "AB"]
        self.zombies: list[Instance] = []  # processes whose identity another one has by now

    def has(self, rule: str) -> bool:
        """Whether a rule holds."""
        return rule not in self._left_out

    def say(self, text: str) -> None:
        """Add a step to the story."""
        self.story.append(text)

    def close(self) -> None:
        """End all threads."""
        for each in self.processes():
            each.kill()
        self._patches.close()
        logging.getLogger("kms").setLevel(logging.NOTSET)

    def processes(self) -> list[Instance]:
        """Those that run or hang."""
        return [it for it in [*self.instances, *self.zombies] if it.alive]

    # What users do.

    def write(self, number: int, schedule_id: bytes, due_in_hours: int, times: int = 1) -> None:
        """A user schedules or updates; ``times`` above 1 recurs every hour."""
        self._versions += 1
        due_ms, key = self.clock.now_ms + due_in_hours * HOUR_MS, (number, schedule_id)
        offset = self.kafka.schedules[number].append(
            schedule_id, b"%d:%d" % (due_ms, self._versions), _recurring(times)
        )
        verb = "updates" if self.ledger.is_known(key) else "schedules"
        when = f"due in {due_in_hours} h" if due_in_hours else "due now"
        text = f"a user {verb} {schedule_id.decode()}: v{self._versions} (p{number}@{offset})"
        self.say(f"{text}, {when}" + (f", {times} times" if times > 1 else ""))
        self.ledger.wrote(key, Write(offset, self._versions, due_ms, times))

    def cancel(self, number: int, schedule_id: bytes) -> None:
        """A user cancels, whatever there is under the id."""
        offset = self.kafka.schedules[number].append(schedule_id, None)
        self.say(f"a user cancels {schedule_id.decode()} (p{number}@{offset})")
        self.ledger.wrote((number, schedule_id), Write(offset))

    def hold(self, target: str | None) -> None:
        """A user pauses the target topic, or all of them, or resumes what is paused."""
        self.paused = {} if target is None else {target: NOT_PAUSED.paused(self.clock.now_ms)}
        self.say("a user resumes all" if target is None else f"a user pauses {target}")

    def hear(self, which: int) -> None:
        """A process learns of that."""
        self._process(which).hear(self.paused)

    # What time and the brokers do.

    def wait(self, milliseconds: int, cleaning: bool = False) -> None:
        """Time passes; the cleaner may come by before and after."""
        if cleaning:
            self.clean_all()
        self.clock.now_ms += milliseconds
        self.say(f"{_duration(milliseconds)} pass")
        if cleaning:
            self.clean_all()

    def clean(self, number: int, behind: int) -> None:
        """The cleaner passes over a partition, but for the last few offsets."""
        log = self.kafka.schedules[number]
        up_to, unread = log.stable_end - behind, log.end
        if self.has(rules.COMPACTION_LAG):
            up_to = min([up_to, *(offset + 1 for offset in overtaken(log))])
        if self.has(rules.CANCEL_LAG):
            folded = min(it.folded(number, log.end) for it in self.instances)
            up_to = min([up_to, *(offset + 1 for offset in hidden_cancels(log, folded))])
        if self.has(rules.READ_IN_TIME):
            unread = min([unread, *(it.position(number, log.end) for it in self.processes())])
        if log.clean(up_to, unread, self.clock.now_ms, self.retention_ms):
            left = ", ".join(str(entry.record.offset) for entry in log.entries)
            self.say(f"p{number} is compacted, left are the offsets {left or 'none'}")

    def clean_all(self) -> None:
        """The cleaner passes over everything."""
        for number in range(len(self.kafka.schedules)):
            self.clean(number, 0)

    def rebalance(self, *wanted: int) -> None:
        """The group shares the partitions out: p to member number ``wanted[p]``."""
        group = self.kafka.group
        if group.can_rebalance():
            group.rebalance(wanted)
            given = [
                f"{seat.name} gets {', '.join(f'p{it}' for it in sorted(seat.assigned)) or '-'}"
                for seat in group.seats.values()
            ]
            self.say(f"the group rebalances, generation {group.generation}: {'; '.join(given)}")

    def expire(self, which: int) -> None:
        """A member's session ends: it is dead, or hangs, or is cut off."""
        seats = self.kafka.group.seats
        if seats:
            seat = seats.pop(sorted(seats)[which % len(seats)])
            self.say(f"{seat.name}'s session in the group ends")

    def time_out(self, which: int) -> None:
        """The coordinator gives up on an open transaction."""
        names = [it for it, txn in self.kafka.running.items() if txn.committed is None]
        if names:
            name = names[which % len(names)]
            self.say(f"{name}'s transaction times out and is aborted")
            self.kafka.time_out(name)

    def write_marker(self, which: int) -> None:
        """The end of a transaction reaches one of the places that it touched."""
        ended = [txn for txn in self.kafka.running.values() if txn.committed is not None]
        if ended:
            txn = ended[which % len(ended)]
            where = self.kafka.write_marker(txn, which)
            self.say(f"the marker of {txn.owner}'s transaction reaches {where}")

    def impossible(self) -> set[str]:
        """The kinds of steps that would do nothing now."""
        open_now = {txn.committed is None for txn in self.kafka.running.values()}
        possible = {
            "time_out": True in open_now,
            "write_marker": False in open_now,
            "deliver": any(writer.queued for writer in self.writers()),
        }
        return {kind for kind, can_be in possible.items() if not can_be}

    def slow(self, network: bool, markers: bool) -> None:
        """Whether records and markers take their time, until a step of their own."""
        self.slow_network, self.kafka.slow_markers = network, markers

    def deliver(self, which: int) -> None:
        """A producer's queued records for one partition reach it."""
        queued = [(writer, it.log) for writer in self.writers() for it in writer.queued]
        if queued:
            writer, log = queued[which % len(queued)]
            writer.deliver(log)

    # What happens to the instances.

    def go_on(self, thread: str, which: int, pauses: int) -> None:
        """A thread of a process goes on, so many pauses far or as far as it gets (0)."""
        wanted = {SCHEDULER: Instance.may_fire, PRODUCER: Instance.is_firing}
        self._process(which, wanted.get(thread)).run(thread, pauses or None)

    def consume(self, which: int, limit: int, busy: bool) -> None:
        """A process polls a few times, ``limit`` records each; if ``busy`` it waits for nothing."""
        each = self._process(which)
        each.limit, each.busy = limit, busy
        each.catch_up()
        each.limit, each.busy = PLENTY, False

    def fire(self, which: int, pauses: int) -> None:
        """A process takes what is due, and its transaction gets so far."""
        each = self._process(which, Instance.may_fire)
        each.run(SCHEDULER)
        each.run(PRODUCER, pauses or None)

    def answer(self, which: int, pauses: int) -> None:
        """The look-ups of a process go on."""
        self._process(which).answer(pauses or None)

    def lose(self, which: int) -> None:
        """A process hangs; its session ends, and the others take over."""
        hanging = self._process(which, Instance.may_fire)
        self.say(f"{hanging.name} hangs")
        if self.kafka.group.seats.pop(hanging.reader.member, None):
            self.say(f"{hanging.name}'s session in the group ends")
        others = [it for it in self.processes() if it is not hanging]
        for each in others:
            each.catch_up()
        self.rebalance(*[which] * len(self.kafka.schedules))
        for each in others:
            each.catch_up()

    def restart(self, which: int, cache: str) -> None:
        """Kill -9 and start again; the cache is "kept", from "before" a commit, or "lost"."""
        old = self.instances[which]
        old.kill()
        self.say(f"{old.name} is killed and started again, its cache {cache}")
        found = {"kept": old.store.cache, "before": old.store.before}.get(cache, Cache())
        self.instances[which] = Instance(self, old.name, found)

    def replace(self, which: int) -> None:
        """It hangs, and a second process with its identity is started on another host."""
        old = self.instances[which]
        self.zombies.append(old)
        self.say(f"{old.name} hangs, and is started once more on another host")
        self.instances[which] = Instance(self, old.name, Cache())

    # The end: everything heals, and what is pending must fire.

    def heal(self) -> None:
        """Nothing hangs any longer; what runs goes on."""
        self.say("from here on nothing hangs")
        self.slow_network = self.kafka.slow_markers = False
        self.hold(None)
        settle(self)

    def take_over(self, cache: str) -> None:
        """All are killed, and one is started again."""
        for each in self.processes():
            each.kill()
        self.zombies.clear()
        del self.instances[1:]
        self.restart(0, cache)
        self.heal()

    def writers(self) -> list[Writer]:
        """The producers of those that run or hang."""
        return [writer for each in self.processes() for writer in each.writers.values()]

    def _process(self, which: int, wanted: Callable[[Instance], bool] | None = None) -> Instance:
        """Number ``which`` of those that are ``wanted``, or of all if none is."""
        self.start_again()
        processes = self.processes()
        some = [it for it in processes if wanted is not None and wanted(it)] or processes
        return some[which % len(some)]

    def start_again(self) -> None:
        """What ended by itself is started again, as systemd would."""
        for which, each in enumerate(self.instances):
            if not each.alive:  # it ended by itself, for it was fenced
                self.restart(which, "kept")


def _recurring(times: int) -> list[Header]:
    if times == 1:
        return []
    return [(EVERY, b"1h"), (COUNT, b"%d" % times), (MISSED, b"all")]


def _duration(milliseconds: int) -> str:
    if milliseconds < HOUR_MS:
        return f"{milliseconds // SECOND_MS} s"
    return f"{milliseconds // HOUR_MS} h"
