"""What happens again and again is said once a minute, with how often it happened meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable

_SAY_AGAIN_SECONDS = 60.0
_MOST_KINDS = 1_000  # then those of more than a minute ago are forgotten


def more(unsaid: int) -> str:
    """What to add to a line that stands for others as well; nothing for 0."""
    return f" ({unsaid} more like this since it was last said.)" if unsaid else ""


class Repeats:
    """Which of what happens again and again is to be said: the first of a kind, then one a minute.

    For any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said_at: dict[Hashable, float] = {}
        self._unsaid: dict[Hashable, int] = {}

    def unsaid(self, kind: Hashable) -> int | None:
        """How many of a kind there were since it was last said, if it is to be said; else None."""
        now = time.monotonic()
        with self._lock:
            if now - self._said_at.get(kind, float("-inf")) < _SAY_AGAIN_SECONDS:
                self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
                return None
            if len(self._said_at) >= _MOST_KINDS:
                self._forget(now)
            self._said_at[kind] = now
            return self._unsaid.pop(kind, 0)

    def knows(self, kind: Hashable) -> bool:
        """Whether one of that kind was said."""
        return kind in self._said_at

    def kinds(self) -> int:
        """How many kinds there are."""
        return len(self._said_at)

    def _forget(self, now: float) -> None:
        old = [kind for kind, at in self._said_at.items() if now - at >= _SAY_AGAIN_SECONDS]
        for kind in old:
            del self._said_at[kind]
            self._unsaid.pop(kind, None)
