"""Whether a loop still turns: the loop beats, somebody else looks how long ago that was."""

from __future__ import annotations

import time


class Heartbeat:
    """When a loop turned last. Written by its own thread, read by any.

    ``beat`` takes a tenth of a microsecond: call it once a turn, and in every wait that may be
    long for a good reason, as that for a Kafka that is away. By the monotonic clock.
    """

    def __init__(self) -> None:
        self._at: float | None = None

    def beat(self) -> None:
        """The loop turns."""
        self._at = time.monotonic()

    def age_seconds(self) -> float:
        """How long ago the last beat was; 0 before the first, for nothing was started yet."""
        return 0.0 if self._at is None else time.monotonic() - self._at
