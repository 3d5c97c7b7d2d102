"""What happens without each rule, as short as hypothesis can make it.

``python -m tests.model.counterexamples`` prints all of them, in plain steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model import rules
from tests.model.instance import PRODUCER, SCHEDULER
from tests.model.kafka import TARGET
from tests.model.steps import HOUR_MS
from tests.model.test_delivery_model import Delivery, Step

EXAMPLES = 20_000
STEPS = 30

# What users and instance A do on one partition, until A hangs or ends and B takes over.
UPDATE, CANCEL = ("write", 0, b"a", 0), ("cancel", 0, b"a")
READ, READ_BUSILY = ("consume", 0, 9, False), ("consume", 0, 9, True)
FIRE, FIRE_B = ("fire", 0, 0), ("fire", 1, 0)
BEGIN, SEND_OFFSETS = ("fire", 0, 2), ("fire", 0, 4)
GO_ON = ("go_on", PRODUCER, 0, 0)
HANG, RESTART = ("lose", 0), ("restart", 0, "kept")
CLEAN, WAIT = ("clean", 0, 0), ("wait", 2 * HOUR_MS, True)
SLOW_MARKERS, *MARKERS = ("slow", False, True), *(("write_marker", which) for which in range(3))

# Among steps of all kinds it would take minutes: those that matter.
STEPS_FOR: Mapping[str, Sequence[Step]] = {
    rules.OFFSETS: [UPDATE, READ, FIRE, HANG, FIRE_B],
    rules.STABLE_WAIT: [UPDATE, READ, SEND_OFFSETS, HANG, FIRE_B],
    rules.HIGH_WATERMARK: [UPDATE, READ, FIRE, SLOW_MARKERS, *MARKERS, HANG, FIRE_B],
    rules.FIRED_OFFSET: [UPDATE, READ, FIRE],
    rules.RETENTION: [UPDATE, CANCEL, READ, RESTART, WAIT],
    rules.CLAIMS: [UPDATE, CANCEL, READ, FIRE, ("go_on", SCHEDULER, 0, 0)],
    rules.COPY_CHECK: [UPDATE, READ, FIRE, BEGIN],
    rules.PAUSES: [UPDATE, READ, ("hold", TARGET), ("hear", 0), FIRE],
    rules.COMPACTION_LAG: [UPDATE, READ, FIRE, CLEAN],
    rules.CANCEL_LAG: [UPDATE, CANCEL, READ, READ_BUSILY, BEGIN, GO_ON, CLEAN],
    rules.READ_IN_TIME: [UPDATE, CANCEL, READ, WAIT],
}


def counterexample(rule: str, *, shortest: bool) -> list[str] | None:
    """A story that goes wrong without this rule, the same each time; None if none is found."""

    class Without(Delivery):
        left_out = (rule,)
        only = STEPS_FOR[rule]

    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink] if shortest else [Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(Without, settings=chosen)
    except AssertionError:
        return Without.story
    return None


def main() -> None:
    """Print them all."""
    for rule in rules.RULES + rules.ASSUMED:
        print(f"Without {rule}:")
        story = counterexample(rule, shortest=True) or ["nothing goes wrong"]
        print("\n".join(f"{number:4}. {step}" for number, step in enumerate(story, 1)))
        print(flush=True)


if __name__ == "__main__":
    main()
