"""What is paused, as the control topic has it."""

from __future__ import annotations

from collections.abc import Iterator

from kms import times
from kms.check.finding import Finding, ok, skipped, warning
from kms.control import read_pauses
from kms.errors import KafkaError, RetriableKafkaError
from kms.pauses import named_target, paused_since_ms, resuming
from kms.settings import Settings


def check_pauses(settings: Settings) -> Iterator[Finding]:
    """A warning for each target topic that is paused: nobody should forget one."""
    topic = settings.kms_control_topic
    try:
        found = read_pauses(settings)
    except RetriableKafkaError as problem:
        yield skipped("paused", f"control topic {topic}", str(problem), "Try again.")
        return
    except KafkaError as problem:
        advice = f"To pause target topics, allow READ on {topic}."
        yield skipped("paused", f"control topic {topic}", str(problem), advice)
        return
    paused = paused_since_ms(found)
    if not paused:
        yield ok("paused", f"control topic {topic}", "nothing is paused")
    for target, since_ms in sorted(paused.items()):
        yield warning(
            "paused",
            named_target(target),
            f"it is paused since {times.iso_time(since_ms)}, and what falls due waits",
            f"When it may go on: {resuming(target)}",
        )
