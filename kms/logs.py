"""How the log is written: for people, or a JSON object a line; and what is said again and again."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Hashable
from datetime import UTC, datetime

_SAY_AGAIN_SECONDS = 60.0
_TEXT = "%(asctime)s %(levelname)-7s %(threadName)-10s %(message)s"


def set_up_logging(level: str, form: str) -> None:
    """Log to stderr from ``level`` on; ``form`` is text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    # It says at info level what happens to every single job.
    logging.getLogger("apscheduler").setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """Each record as one line: time (ISO 8601, UTC), level, thread, logger, message.

    With an exception there is its traceback as ``exception``. All of it is ASCII.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        found = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "thread": record.threadName,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found)


class Repeats:
    """Which of what happens again and again is to be said: the first of a kind, then one a minute.

    For any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said_at: dict[Hashable, float] = {}
        self._unsaid: dict[Hashable, int] = {}

    def count(self, kind: Hashable) -> int | None:
        """How many of a kind there were since it was last said, if it is to be said; else None."""
        now = time.monotonic()
        with self._lock:
            if now - self._said_at.get(kind, float("-inf")) < _SAY_AGAIN_SECONDS:
                self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
                return None
            self._said_at[kind] = now
            return self._unsaid.pop(kind, 0)

    def kinds(self) -> int:
        """How many kinds there are."""
        return len(self._said_at)

    def knows(self, kind: Hashable) -> bool:
        """Whether one of that kind was said."""
        return kind in self._said_at
