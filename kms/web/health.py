"""Whether this instance is alive, and whether it is ready: judged from plain figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kms.figures import ConsumerFigures

# A group takes a newcomer in with nothing at first, and gives it partitions a moment later.
STANDBY_SECONDS = 10.0


class Health(NamedTuple):
    """A verdict, and the sentence that says why."""

    good: bool
    why: str


def live(ages_seconds: Mapping[str, float], limit_seconds: float) -> Health:
    """Alive while each thread's last beat is younger than the limit.

    A thread that waits for a Kafka that is away beats all the same; one that hangs does not.
    """
    hung = {name: age for name, age in ages_seconds.items() if age >= limit_seconds}
    if hung:
        name = max(hung, key=lambda each: hung[each])
        return Health(
            False,
            f"The {name} thread has not turned for {hung[name]:.0f} s; the limit is "
            f"{limit_seconds:.0f} s. Restart this instance: nothing gets lost.",
        )
    return Health(True, "Every thread turns.")


def ready(
    alive: Health, consumer: ConsumerFigures, now: float, *, stopping: bool, knows_pauses: bool
) -> Health:
    """Ready once what it was assigned is folded to its end, so that it may fire.

    So is a member of the group that has been left without partitions for a while: it stands by,
    and no partition waits for it. ``now`` is of the monotonic clock, as ``assigned_at``.
    """
    if stopping:
        return Health(False, "It is stopping.")
    if not alive.good:
        return alive
    if consumer.assigned_at is None:
        return Health(
            False,
            "It is not in its consumer group: the group has not taken it in yet, or Kafka is out "
            "of reach.",
        )
    if not knows_pauses:
        return Health(
            False,
            "It does not know yet what is paused, so nothing fires: the control topic has not been "
            "read. The log says why.",
        )
    return _caught_up(consumer, now)


def _caught_up(consumer: ConsumerFigures, now: float) -> Health:
    assigned, caught_up = consumer.assigned, consumer.caught_up
    if assigned > caught_up:
        held = f"; {consumer.held} wait for the schema registry" if consumer.held else ""
        return Health(
            False,
            f"{caught_up} of {assigned} partitions are caught up; {consumer.left_to_load} offsets "
            f"are still to be read{held}.",
        )
    if assigned:
        return Health(True, f"All {assigned} assigned partitions are caught up.")
    if now - (consumer.assigned_at or now) < STANDBY_SECONDS:
        return Health(False, "No partition is assigned yet.")
    return Health(
        True,
        "No partition is assigned: other members of the group have them all, or the schedule "
        "topics do not exist yet. It stands by.",
    )
