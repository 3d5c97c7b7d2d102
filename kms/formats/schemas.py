"""Writer schemas by the id that a registry gave them, asked for in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from kms.errors import FormatError, RegistryAwayError
from kms.formats.resolution import Resolution

_PAUSE_SECONDS = 0.5  # between two questions for one schema
# An id that the registry does not know may be new, and not on the replica that answers. A record
# that is as old as this is not waited for: garbage holds its topic back by no more than this.
PATIENCE_SECONDS = 30.0
_UNKNOWN_PAUSE_SECONDS = 60.0  # of one that is given up
_MOST_ASKED = 10_000  # garbage has an id in it, too

Texts = tuple[str, ...]


class SchemaSource(Protocol):
    """A schema registry; for any thread. Raises RegistryAwayError if it can't be asked now."""

    def schema(self, schema_id: int) -> Texts | None:
        """The Avro schema behind those that it refers to; None if the registry knows none.

        Raises FormatError if it is a schema of another kind.
        """

    def newest(self, subject: str) -> tuple[int, Texts] | None:
        """The id of the newest schema of a subject, and that; None where there is none yet."""

    def to_write(self, subject: str, ours: str) -> tuple[int, Texts]:
        """The id of the newest schema of a subject, and that; of ours where there is none yet."""

    def close(self) -> None:
        """Every further question is a RegistryAwayError."""


@dataclass
class _Asked:
    since: float
    next_at: float = 0.0
    running: bool = False
    unknown: bool = False
    given_up: bool = False
    text: str = "the schema registry has been asked for it"


class Schemas:
    """What is known of a registry's schemas; for any thread, and none ever waits for the registry.

    ``known`` are schemas by id that need not be asked for: an id never changes its schema.
    """

    def __init__(self, source: SchemaSource, known: Mapping[int, Texts] | None = None) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._found: dict[int, Resolution | FormatError] = {}
        self._asked: dict[int, _Asked] = {}
        self._fresh: dict[int, Texts] = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="schemas")
        for schema_id, texts in (known or {}).items():
            self._found[schema_id] = resolution_of(schema_id, texts)

    def resolution(self, schema_id: int, written_ms: int) -> Resolution:
        """How to read what was written with this schema, at ``written_ms`` (epoch ms).

        Raises RegistryAwayError as long as that is not known: the question is on its way. Raises
        FormatError if the schema is of no use, or the registry does not know it for a while.
        """
        found = self._found.get(schema_id)
        if found is None:
            raise self._ask(schema_id, written_ms)
        if isinstance(found, FormatError):
            raise FormatError(str(found))
        return found

    def take_fresh(self) -> Mapping[int, Texts]:
        """The schemas that were found since the last call, to be remembered."""
        if not self._fresh:
            return {}
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            return fresh

    def close(self) -> None:
        """Ask no more; a question that runs ends by its own timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.source.close()

    def _ask(self, schema_id: int, written_ms: int) -> FormatError | RegistryAwayError:
        now = time.monotonic()
        with self._lock:
            if schema_id not in self._asked and len(self._asked) >= _MOST_ASKED:
                self._asked = {i: each for i, each in self._asked.items() if each.running}
            asked = self._asked.setdefault(schema_id, _Asked(now))
            if not asked.running and now >= asked.next_at:
                asked.running = True
                self._pool.submit(self._look_up, schema_id, asked)
            age_seconds = max(now - asked.since, time.time() - written_ms / 1000)
            if asked.unknown and age_seconds >= PATIENCE_SECONDS:
                asked.given_up = True
            if asked.given_up:
                return FormatError(f"the schema registry knows no schema {schema_id}")
            return RegistryAwayError(f"schema {schema_id} is not known yet: {asked.text}")

    def _look_up(self, schema_id: int, asked: _Asked) -> None:
        found: Resolution | FormatError | None = None
        texts: Texts | None = None
        unknown, text = asked.unknown, asked.text
        try:
            texts = self.source.schema(schema_id)
            if texts is None:
                unknown, text = True, "the schema registry does not know it"
            else:
                found = resolution_of(schema_id, texts)
        except FormatError as error:
            found = error
        except RegistryAwayError as error:
            text = str(error)
        finally:
            with self._lock:
                asked.running, asked.unknown, asked.text = False, unknown, text
                pause = _UNKNOWN_PAUSE_SECONDS if asked.given_up else _PAUSE_SECONDS
                asked.next_at = time.monotonic() + pause
                if found is not None:
                    self._found[schema_id] = found
                    self._asked.pop(schema_id, None)
                    if texts is not None:
                        self._fresh[schema_id] = texts


def resolution_of(schema_id: int, texts: Sequence[str]) -> Resolution | FormatError:
    """The schema, or why it is of no use."""
    try:
        return Resolution(schema_id, texts)
    except FormatError as error:
        return error
