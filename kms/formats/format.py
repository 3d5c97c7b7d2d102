"""What every format does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kms.schedule import Header, Schedule, Written


class Body(NamedTuple):
    """What a schedule is written as, under whatever id: a record's value and headers."""

    value: bytes
    headers: Sequence[Header] = ()


class Format(Protocol):
    """How the schedules of one topic are written as records."""

    def decode(self, record: Written) -> Schedule:
        """What the record says; raises FormatError where it is not exactly one schedule."""

    def due_of(self, record: Written) -> int:
        """The due time in epoch ms; raises FormatError for whatever ``decode`` refuses."""

    def encode(self, schedule: Schedule) -> Body:
        """A record of which ``decode`` makes that schedule; FormatError if there is none."""
