"""A schema registry for whoever can't wait for it long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from kms.errors import RegistryAwayError
from kms.formats.schemas import SchemaSource, Texts

_AT_ONCE = 32


class InTime:
    """A source that says what to write with within so many seconds, or raises RegistryAwayError.

    A question that took longer goes on in a thread of its own, until the source's own timeouts.
    """

    def __init__(self, source: SchemaSource, seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="registry")

    def schema(self, schema_id: int) -> Texts | None:
        """Asked in the background, where nobody waits."""
        return self._source.schema(schema_id)

    def newest(self, subject: str) -> tuple[int, Texts] | None:
        """Nobody waits for this either."""
        return self._source.newest(subject)

    def to_write(self, subject: str, ours: str) -> tuple[int, Texts]:
        """The id of the newest schema of a subject, and that; of ours where there is none yet."""
        try:
            asked = self._pool.submit(self._source.to_write, subject, ours)
        except RuntimeError:
            raise RegistryAwayError("the schema registry is not asked any more") from None
        try:
            return asked.result(self._seconds)
        except TimeoutError:
            asked.cancel()
            raise RegistryAwayError(
                f"the schema registry did not answer within {self._seconds:g} s"
            ) from None

    def close(self) -> None:
        """Every further question is a RegistryAwayError."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._source.close()
