"""How a world comes to rest: Kafka finishes what was begun, and every thread gets its turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.instance import PRODUCER, SCHEDULER

if TYPE_CHECKING:
    from tests.model.world import World

ROUNDS = 60  # of all threads, to bring everything to an end


def settle(world: World) -> None:
    """Go on until nobody has anything to say; AssertionError if that never comes."""
    quiet = 0  # rounds without a word; taking a partition over needs a few
    for _ in range(ROUNDS):
        length = len(world.story)
        _end_transactions(world)
        world.start_again()
        _share_out(world)
        for each in world.processes():
            if each.gate.pauses.since_ms():  # all is resumed by now
                each.hear(world.paused)
            each.catch_up()
            each.run(SCHEDULER)
            each.run(PRODUCER)
        quiet = quiet + 1 if length == len(world.story) else 0
        if quiet == 2:
            return
    raise AssertionError("it never comes to an end: " + "; ".join(world.story[-20:]))


def _end_transactions(world: World) -> None:
    kafka, names = world.kafka, {writer.name for writer in world.writers()}
    for name, txn in list(kafka.running.items()):
        if txn.committed is None and name not in names:
            kafka.time_out(name)
        while txn.committed is not None and txn.unmarked:
            kafka.write_marker(txn, 0)


def _share_out(world: World) -> None:
    kafka = world.kafka
    seats, members = kafka.group.seats, {it.reader.member for it in world.processes()}
    for number, member in enumerate(sorted(seats)):
        if member not in members:
            world.expire(number)
            break
    held = {number for seat in seats.values() for number in seat.held}
    if len(held) < len(kafka.schedules):
        world.rebalance(*range(len(kafka.schedules)))
