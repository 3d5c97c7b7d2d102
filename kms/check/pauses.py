"""What is paused, as the control topic has it."""

from __future__ import annotations

from collections.abc import Iterator

from kms import times
from kms.check.finding import Finding, error, ok, skipped, warning
from kms.control import read_pauses
from kms.errors import KafkaError, RetriableKafkaError
from kms.kafka import Examiner
from kms.pauses import named_target, paused_since_ms, resuming
from kms.settings import Settings


def check_pauses(examiner: Examiner, settings: Settings, broker_count: int) -> Iterator[Finding]:
    """Whether pauses are kept; a warning for each that there is: nobody should forget one."""
    topic = settings.kms_control_topic
    yield from _kept(examiner, topic, broker_count)
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


def _kept(examiner: Examiner, topic: str, broker_count: int) -> Iterator[Finding]:
    view = examiner.topics([topic])[topic]
    if view.id is None:
        return  # pause makes it
    subject = f"control topic {topic}"
    policy = (examiner.topic_configs([topic])[topic] or {}).get("cleanup.policy", "compact")
    if policy != "compact":
        yield error(
            *("paused", subject, f"cleanup.policy is {policy}"),
            "A pause is forgotten after the topic's retention, and all that it held back fires: "
            "set it to compact.",
        )
    if broker_count > 1 and min(view.replicas, default=0) == 1:
        yield warning(
            *("paused", subject, f"it has 1 replica on {broker_count} brokers"),
            "While that broker is down no instance that starts knows what is paused, so it fires "
            "nothing: give it three.",
        )
