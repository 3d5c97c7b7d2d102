"""A schema registry for whoever can't wait for it long."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from kms.errors import RegistryAwayError
from kms.formats import InTime, Texts

LONGEST_SECONDS = 10.0


class Slow:
    """It answers when it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def schema(self, schema_id: int) -> Texts | None:
        raise NotImplementedError

    def newest(self, subject: str) -> tuple[int, Texts] | None:
        raise NotImplementedError

    def to_write(self, subject: str, ours: str) -> tuple[int, Texts]:
        self.may_answer.wait(LONGEST_SECONDS)
        return 7, (subject, ours)

    def close(self) -> None:
        self.may_answer.set()


def test_a_source_that_is_slow_is_not_awaited() -> None:
    source = Slow()
    with closing(InTime(source, 0.1)) as found:
        began = time.monotonic()
        with pytest.raises(RegistryAwayError, match=r"did not answer within 0\.1 s"):
            found.to_write("a-value", "schema")
        assert time.monotonic() - began < LONGEST_SECONDS / 2
    with closing(InTime(source, LONGEST_SECONDS)) as found:
        assert found.to_write("a-value", "schema") == (7, ("a-value", "schema"))


def test_once_closed_it_asks_no_more() -> None:
    found = InTime(Slow(), LONGEST_SECONDS)
    found.close()
    with pytest.raises(RegistryAwayError, match="is not asked any more"):
        found.to_write("a-value", "schema")
