"""``inspect --from-kafka``: the topics themselves, folded into a cache for this one look."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from kms.errors import SettingsError
from kms.formats import Format
from kms.refold import Refold, Told
from kms.settings import Settings
from kms.store import Filter, Reader


@contextmanager
def folded(
    settings: Settings, wanted: Filter, forms: Mapping[str, Format]
) -> Iterator[tuple[Reader, list[Told]]]:
    """A reader of what the topics hold, and what is known of the schedule ``wanted`` names.

    The cache is a temporary file, deleted afterwards, also if a signal ends it. Raises KafkaError.
    """
    topics = settings.topics if wanted.topic is None else [wanted.topic]
    if not topics:
        raise SettingsError("Name the schedule topic with --topic: SCHEDULE_TOPICS is empty.")
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="kms-inspect-") as folder:
        path = Path(folder) / "kms.sqlite"
        refold = Refold(settings, topics, path, forms, wanted.id)
        with _bar() as bar:
            task = bar.add_task(f"Reading {', '.join(topics)}", total=None)
            refold.run(lambda done, total: bar.update(task, completed=done, total=total))
        with closing(Reader(path, forms)) as reader, reader.snapshot():
            yield reader, refold.history


def _bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """These would end Python on the spot, and leave the file behind."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
