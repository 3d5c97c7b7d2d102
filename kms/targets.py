"""Which target topics are known to take messages, and which not at the moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from kms.errors import UndeliverableError

_REMEMBER_SECONDS = 0.5
# Of a topic that failed a whole transaction: so often at most are others undone for its sake.
_REMEMBER_REFUSAL_SECONDS = 10.0
_MOST = 10_000  # remembered problems: anybody may write any name


class Targets:
    """Remembers what was found out about topics; for the producer thread.

    A missing one is asked for again after a moment: many schedules may be meant for it.
    """

    def __init__(
        self,
        exists: Callable[[str], bool],
        waits: Callable[[], None] = lambda: None,
        history: str | None = None,
    ) -> None:
        """``waits`` is called before each time that ``exists`` is asked, which takes a while."""
        self._exists = exists
        self._history = history
        self._waits = waits
        self._good: set[str] = set()
        self._bad: dict[str, tuple[float, UndeliverableError]] = {}

    def problems(self, topics: Iterable[str]) -> dict[str, UndeliverableError]:
        """Those that can't be produced to now; raises RetriableKafkaError if nobody answers."""
        found = {}
        for topic in set(topics) - self._good:
            known = self._bad.get(topic)
            if known is None or time.monotonic() > known[0]:
                known = self._ask(topic)
            if known is not None:
                found[topic] = known[1]
        return found

    def problems_of_firing(self, topics: Collection[str]) -> dict[str, UndeliverableError]:
        """The same; while the history can't be written, nothing can be fired to any of them."""
        if self._history is None or not topics:
            return self.problems(topics)
        found = self.problems({*topics, self._history})
        history = found.get(self._history)
        if history is None:
            return found
        problem = UndeliverableError(
            f"nothing is fired without the history: {history}", history.reason
        )
        return {topic: found.get(topic, problem) for topic in topics}

    def refused(self, topic: str, problem: UndeliverableError) -> None:
        """Nothing may be written to it at the moment, although it is there."""
        self._good.discard(topic)
        self._remember(topic, problem, _REMEMBER_REFUSAL_SECONDS)

    def forget(self, topic: str) -> None:
        """Ask again before the next message."""
        self._good.discard(topic)

    def _ask(self, topic: str) -> tuple[float, UndeliverableError] | None:
        self._bad.pop(topic, None)
        self._waits()
        try:
            if self._exists(topic):
                self._good.add(topic)
                return None
            problem = UndeliverableError(f"target topic {topic!r} does not exist", "topic-missing")
        except UndeliverableError as error:  # no permission to see it, or no name at all
            problem = error
        return self._remember(topic, problem)

    def _remember(
        self, topic: str, problem: UndeliverableError, seconds: float = _REMEMBER_SECONDS
    ) -> tuple[float, UndeliverableError]:
        if len(self._bad) > _MOST:
            self._bad.clear()
        self._bad[topic] = time.monotonic() + seconds, problem
        return self._bad[topic]
