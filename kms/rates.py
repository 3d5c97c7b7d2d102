"""How much a second may be sent to a target topic: a token bucket for each that has a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

_BURST_SECONDS = 0.1  # so much at once, and one at least


class Rates:
    """What may still be sent now; safe from any thread.

    ``share`` says which part of the limits is this instance's: that of its partitions, so that all
    of a group together keep to them.
    """

    def __init__(
        self,
        limits: Mapping[str, float],
        share: Callable[[], float] = lambda: 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``limits`` are messages a second by target topic."""
        self.limits = dict(limits)
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        now = clock()
        # From nothing: a process that is started again and again would send a burst each time.
        self._tokens = dict.fromkeys(self.limits, (0.0, now))

    def room(self, target: str) -> int | None:
        """How many may be sent to it now; None if as many as one likes."""
        if target not in self.limits:
            return None
        with self._lock:
            return max(int(self._refilled(target)), 0)

    def take(self, target: str, count: int) -> bool:
        """So many are sent; False, and nothing is taken, if there is no room for them."""
        if target not in self.limits:
            return True
        with self._lock:
            tokens = self._refilled(target)
            if tokens < count:
                return False
            self._tokens[target] = tokens - count, self._tokens[target][1]
            return True

    def spend(self, target: str, count: int) -> None:
        """So many are sent, whether there is still room for them or not: it is made up for."""
        if target in self.limits:
            with self._lock:
                tokens = self._refilled(target)
                self._tokens[target] = tokens - count, self._tokens[target][1]

    def wait_seconds(self, target: str) -> float:
        """How long until there is room worth a look; 0 if there is."""
        if target not in self.limits:
            return 0.0
        with self._lock:
            missing = max(self._most(target) / 2, 1.0) - self._refilled(target)
            rate = self._rate(target)
        return max(missing, 0.0) / rate if rate else 1.0

    def _refilled(self, target: str) -> float:
        tokens, at = self._tokens[target]
        now = self._clock()
        tokens = min(tokens + (now - at) * self._rate(target), self._most(target))
        self._tokens[target] = tokens, now
        return tokens

    def _rate(self, target: str) -> float:
        return self.limits[target] * self._share()

    def _most(self, target: str) -> float:
        return max(self._rate(target) * _BURST_SECONDS, 1.0)
