"""Trying failed schedules again at once; beside the running service."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from kms.store.file import cache_errors, connect_for_reading

_BUSY_SECONDS = 10.0  # the service's own transactions take a fraction of that


def retry_at_once(path: Path, schedule_id: bytes | None, topic: str | None) -> int:
    """Make the next attempt of failed schedules due now; None means all. Returns how many.

    The one thing that is written from outside: it is no part of the fold, and the service looks
    for it. Raises CacheError if there is no cache, or it can't be written.
    """
    connect_for_reading(path).close()  # says it if there is none, or not one of ours
    with (
        cache_errors(path),
        closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection,
    ):
        changed = connection.execute(
            "UPDATE failures SET next_ms = 0 WHERE (?1 IS NULL OR id = ?1) AND (?2 IS NULL"
            " OR number IN (SELECT number FROM partitions WHERE topic = ?2))",
            (schedule_id, topic),
        )
        return changed.rowcount
