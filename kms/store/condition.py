"""The cache file from outside: who holds it, and whether it is whole. Changes nothing."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from kms.store.file import cache_errors, connect_for_reading, lock_path, unusable

_STEPS = 10_000  # of SQLite's machine, between two looks at the clock: some milliseconds


def holder(path: Path) -> int | None:
    """The process that has the cache, or None if none has, or it can't be seen from here.

    By the kernel's list of locks: to try the lock would keep a service from starting just then.
    Processes of other containers are not in it.
    """
    try:
        inode = str(lock_path(path).stat().st_ino)
        locks = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    for line in locks.splitlines():
        _, kind, *_, process, where, _, _ = line.split()
        # Not by the device, which overlay and btrfs give another number here.
        if kind == "FLOCK" and where.rpartition(":")[2] == inode:
            return int(process)
    return None


def problem_of(path: Path) -> str | None:
    """Why the next start would set the file aside, or None. Raises CacheError if it can't be read.

    There is nothing wrong with a file that does not exist.
    """
    with cache_errors(path):
        return unusable(path)


def damage(path: Path, seconds: float) -> tuple[str | None, bool]:
    """What SQLite's quick check finds in at most so many seconds, and whether it got to the end.

    Raises CacheError if the file can't be read.
    """
    deadline = time.monotonic() + seconds
    with closing(connect_for_reading(path)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            with cache_errors(path):
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except Exception as error:
            cause = error.__cause__
            if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                return None, False
            raise
    return (None if found == "ok" else str(found)), True
