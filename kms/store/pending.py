"""A pending schedule, for whoever shows it."""

from __future__ import annotations

from typing import NamedTuple

from kms.formats import USUAL, Format
from kms.schedule import Header


class Failed(NamedTuple):
    """The failed attempts to fire a schedule, and the last one's reason."""

    attempts: int
    since_ms: int
    next_ms: int
    reason: str
    text: str


class Pending(NamedTuple):
    """A pending schedule and the record that made it, which its topic's ``form`` decodes.

    ``failed`` if that was tried in vain.
    """

    topic: str
    partition: int
    offset: int
    id: bytes
    due_ms: int
    value: bytes
    headers: tuple[Header, ...] = ()
    written_ms: int = 0
    failed: Failed | None = None
    form: Format = USUAL
