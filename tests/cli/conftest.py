"""A command line in this process, with none of the machine's settings, and a cache to inspect."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from kms.cli import app
from kms.cli.options import run_app
from kms.due import Due
from kms.failures import Failure
from kms.formats import AVRO
from kms.schedule import Header, Row, Schedule
from kms.store import CacheFile, Writer

T0_MS = 1_896_091_200_000  # 2030-01-31T12:00:00Z


class Done(NamedTuple):
    """What a command did: its exit code, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    for variable in os.environ:
        if variable.startswith(("KMS_", "KAFKA_", "SCHEDULE_TOPICS", "SECURITY_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            run_app(app, arguments)
        code = caught.value.code
        return Done(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


class Cache:
    """A cache file with two partitions of ``orders`` and one of ``mails``, as if kms ran."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = CacheFile(path)
        self.writer = Writer(self.file)
        self.numbers = {
            (topic, partition): self.writer.restart(topic, partition, "id", "cluster", 0).number
            for topic, partition in (("orders", 0), ("orders", 1), ("mails", 0))
        }

    def put(
        self,
        topic: str,
        partition: int,
        offset: int,
        name: bytes,
        found: Schedule,
        headers: tuple[Header, ...] = (),
    ) -> None:
        """Fold one schedule, its record with these headers, and move the checkpoint past it."""
        number = self.numbers[topic, partition]
        rows = self.writer.rows(number)
        rows[name] = Row(offset, found.due_ms, AVRO.encode_value(found), headers)
        self.writer.commit([rows], {number: offset + 1}, {})

    def fail(self, topic: str, partition: int, offset: int, name: bytes, value: bytes) -> None:
        """Fold a record that is no schedule, and note a failed attempt."""
        number = self.numbers[topic, partition]
        rows = self.writer.rows(number)
        rows[name] = Row(offset, 0, value)
        self.writer.commit([rows], {number: offset + 1}, {})
        due = Due(number, name, offset, 0, value)
        self.writer.note([Failure(due, 3, T0_MS, T0_MS + 60_000, "undecodable", "no [Avro]")])

    def close(self) -> None:
        self.writer.close()
        self.file.close()


@pytest.fixture
def cache(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kms: Callable[..., Done],  # noqa: ARG001 - it clears the environment first
) -> Iterator[Cache]:
    path = tmp_path / "kms.sqlite"
    monkeypatch.setenv("KMS_CACHE", str(path))
    with closing(Cache(path)) as cache:
        yield cache
