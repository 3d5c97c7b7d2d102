"""Writer schemas for who looks at a topic once, and would rather wait a moment than not see."""

from __future__ import annotations

import time
from collections.abc import Mapping

from kms.errors import FormatError, RegistryAwayError
from kms.formats.resolution import Resolution
from kms.formats.schemas import PATIENCE_SECONDS, SchemaSource, Texts, resolution_of

_LONGEST_SECONDS = 10.0  # of all questions together


class AwaitedSchemas:
    """As ``Schemas``, but it asks while the caller waits, once for each id; for one thread.

    From a registry that did not answer nothing more is asked: ``away`` is why, and everything
    whose schema is not among ``known`` raises RegistryAwayError at once. All questions together
    take no more than the source's own timeout beyond ten seconds.
    """

    def __init__(self, source: SchemaSource, known: Mapping[int, Texts] | None = None) -> None:
        self.source = source
        self.away: str | None = None
        self._known = dict(known or {})
        self._found: dict[int, Resolution | FormatError | None] = {}
        self._left_seconds = _LONGEST_SECONDS

    @property
    def newest_id(self) -> int | None:
        """The last schema that need not be asked for."""
        return max(self._known, default=None)

    def resolution(self, schema_id: int, written_ms: int) -> Resolution:
        """How to read what was written with this schema, at ``written_ms`` (epoch ms).

        Raises RegistryAwayError where that can't be known now, FormatError if the schema is of no
        use, or the registry does not know it though the record is not that young.
        """
        if schema_id not in self._found:
            self._found[schema_id] = self._look_up(schema_id)
        found = self._found[schema_id]
        if found is None:
            if time.time() - written_ms / 1000 < PATIENCE_SECONDS:
                raise RegistryAwayError(
                    f"schema {schema_id} is not known yet: the schema registry does not know it"
                )
            raise FormatError(f"the schema registry knows no schema {schema_id}")
        if isinstance(found, FormatError):
            raise FormatError(str(found))
        return found

    def close(self) -> None:
        """Every further question is a RegistryAwayError."""
        self.source.close()

    def _look_up(self, schema_id: int) -> Resolution | FormatError | None:
        texts = self._known.get(schema_id)
        if texts is None:
            if self.away is not None:
                raise RegistryAwayError(f"schema {schema_id} is not known: {self.away}")
            try:
                texts = self._ask(schema_id)
            except FormatError as error:
                return error
            except RegistryAwayError as error:
                self.away = str(error)
                raise RegistryAwayError(f"schema {schema_id} is not known: {error}") from error
        return None if texts is None else resolution_of(schema_id, texts)

    def _ask(self, schema_id: int) -> Texts | None:
        if self._left_seconds <= 0:
            raise RegistryAwayError("the schema registry is too slow to be asked for more")
        began = time.monotonic()
        try:
            return self.source.schema(schema_id)
        finally:
            self._left_seconds -= time.monotonic() - began
