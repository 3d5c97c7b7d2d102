"""How the log is written: for people, or a JSON object a line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from kms.repeats import Repeats, more

_TEXT = "%(asctime)s %(levelname)-7s %(threadName)-10s %(message)s"


def set_up_logging(level: str, form: str) -> None:
    """Log to stderr from ``level`` on; ``form`` is text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(_TEXT))
    handler.addFilter(NoRepeats())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    # It says at info level what happens to every single job.
    logging.getLogger("apscheduler").setLevel(logging.WARNING)


class NoRepeats(logging.Filter):
    """Lets the same warning or error through once a minute, with how often it came meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._repeats = Repeats()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        text = record.getMessage()
        unsaid = self._repeats.unsaid((record.name, record.levelno, text))
        if not unsaid:
            return unsaid is not None
        record.msg, record.args = text + more(unsaid), None
        return True


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
