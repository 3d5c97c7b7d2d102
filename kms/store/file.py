"""The cache file itself: opened, locked, checked, set aside when it can't be used."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kms.errors import CacheDamagedError, CacheError, CacheInUseError

SQLITE_VERSION = sqlite3.sqlite_version
# Of the tables below, and of what the fold makes of a record: its due time is kept. A file of
# another version is set aside and rebuilt.
VERSION = 5
APPLICATION_ID = 0x6B6D7331  # "kms1": tells our file from somebody else's database

# What is to be done with a schedule, in the column ``state``: FAILED is added to the other two
# while it waits for its next try, which its row in failures says.
PENDING, OVERTAKEN, FAILED = 0, 1, 2
# Added as often as the number of its lane says, for a schedule that waits in one.
LANE = 4

# The due index holds the offset too: the order in which schedules of one partition fire. The
# state comes before, so that those that wait for another try are never in the way of others.
_TABLES = f"""
BEGIN;
CREATE TABLE partitions (
    number INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    topic_id TEXT NOT NULL,
    cluster_id TEXT NOT NULL,
    next_offset INTEGER NOT NULL,
    seen_ms INTEGER NOT NULL,
    written_ms INTEGER NOT NULL,
    UNIQUE (topic, partition)
);
CREATE TABLE schedules (
    number INTEGER NOT NULL,
    id BLOB NOT NULL,
    offset INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    value BLOB NOT NULL,
    headers TEXT,
    state INTEGER NOT NULL,
    record_ms INTEGER NOT NULL,
    UNIQUE (number, id)
);
CREATE INDEX schedules_due ON schedules (number, state, due_ms, offset);
CREATE TABLE failures (
    number INTEGER NOT NULL,
    id BLOB NOT NULL,
    offset INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    next_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (number, id)
);
CREATE INDEX failures_next ON failures (number, next_ms);
CREATE TABLE lanes (
    lane INTEGER PRIMARY KEY,
    topic TEXT NOT NULL UNIQUE
);
CREATE TABLE pauses (
    topic TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL
);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""

# In a file of the same version that has none yet, too. An id belongs to the registry at this URL.
_SCHEMAS = """
CREATE TABLE IF NOT EXISTS schemas (
    registry TEXT NOT NULL,
    id INTEGER NOT NULL,
    texts TEXT NOT NULL,
    UNIQUE (registry, id)
);
"""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}  # no such table

# Found out while running, page by page; the low byte of a code is the error, the rest its kind.
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_log = logging.getLogger(__name__)


class CacheFile:
    """The cache file of one running instance, held by a lock until ``close``.

    Raises CacheInUseError, before it touches anything, if another process holds it, and
    CacheError if the folder can't be written. A file that is damaged, or of another version, is
    moved out of the way with a warning and an empty one made in its place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.replaced = 0  # how many files were set aside
        self._lock = _lock(path)
        try:
            with cache_errors(path):
                reason = unusable(path)
                if reason is not None:
                    _set_aside(path, reason)
                    self.replaced += 1
                _create(path)
        except BaseException:
            self.close()
            raise

    def connect(self) -> sqlite3.Connection:
        """A new connection for writing; the caller closes it."""
        with cache_errors(self.path):
            return _connect(self.path)

    def replace(self, reason: str) -> None:
        """Set a file aside that turned out to be damaged, and make an empty one in its place.

        Nobody may have it open.
        """
        with cache_errors(self.path):
            _set_aside(self.path, reason)
            self.replaced += 1
            _create(self.path)

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._lock)


def connect_for_reading(path: Path) -> sqlite3.Connection:
    """A read-only connection that can be used beside the running service.

    Raises CacheError if there is no cache, or one that can't be read.
    """
    if not path.exists():
        raise CacheError(f"There is no cache at {path}: has kms run with this KMS_CACHE yet?")
    with cache_errors(path):
        reason = unusable(path)
        if reason is not None:
            raise CacheError(f"The cache {path} can't be read: {reason}.")
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA cache_size = -8192")  # KiB
        return connection


def lock_path(path: Path) -> Path:
    """The file whose lock says that somebody has the cache."""
    return path.with_name(path.name + ".lock")


def unusable(path: Path) -> str | None:
    """Why this file can't serve, or None if it can or does not exist.

    Raises what SQLite and the file system raise where that is not the file's fault.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application_id != APPLICATION_ID:
            return "it is not a cache of kms"
        if version != VERSION:
            return f"it is of version {version}, this kms reads version {VERSION}"
        for table in ("partitions", "schedules", "failures"):
            connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
    except sqlite3.DatabaseError as error:
        # Locked, not permitted, disk errors: that is not the file's fault. Text that is no UTF-8
        # has no code.
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _DAMAGED:
            raise
        return f"it is damaged ({error})"
    finally:
        connection.close()
    return None


@contextmanager
def cache_errors(path: Path) -> Iterator[None]:
    """Translate the errors of SQLite and the file system into CacheError.

    CacheDamagedError where the file itself is wrong, which SQLite finds out page by page.
    """
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT:
            raise CacheDamagedError(f"it is damaged ({error})") from error
        raise CacheError(
            f"The cache {path} failed: {error}. Nothing is lost: the schedules are in Kafka. "
            "Make room, or the folder writable, or remove the file, and start again."
        ) from error
    except OSError as error:
        raise CacheError(f"The cache {path} can't be used: {error.strerror or error}.") from error


def _lock(path: Path) -> int:
    with cache_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # The kernel drops this lock when the process ends, however it ends.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CacheInUseError(
            f"Another process is using the cache {path}: give this one its own KMS_CACHE, "
            "or stop the other."
        ) from None
    return descriptor


def _set_aside(path: Path, reason: str) -> None:
    aside = path.with_name(f"{path.name}.unusable-{int(time.time())}")
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    _log.warning(
        "The cache %s can't be used: %s. It was moved to %s; a new one is built from the topics.",
        path,
        reason,
        aside,
    )


def _create(path: Path) -> None:
    fresh = not path.exists() or path.stat().st_size == 0
    if fresh:
        for suffix in ("-wal", "-shm"):  # of a file that was deleted: SQLite would replay it
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # it holds payloads
        os.fchmod(descriptor, 0o600)  # also if somebody made it, empty
        os.close(descriptor)
    connection = _connect(path)
    try:
        if fresh:
            connection.executescript(_TABLES)
        connection.execute(_SCHEMAS)
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")  # readers beside the one writer
    connection.execute("PRAGMA synchronous = NORMAL")  # whole after a power cut, if a bit older
    connection.execute("PRAGMA cache_size = -16384")  # KiB
    # What a large load wrote ahead is not kept for good: bytes, as many as it grows to by itself.
    connection.execute("PRAGMA journal_size_limit = 4194304")
    return connection
