"""``inspect``: what is pending, read from the cache beside the running service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Annotated

import typer

from kms import times
from kms.cli import values
from kms.cli.listing import Found, Layout, write
from kms.cli.options import with_settings
from kms.errors import FormatError, KmsError
from kms.formats import AVRO
from kms.schedule import Schedule
from kms.settings import Settings
from kms.store import Filter, Reader

_Id = Annotated[
    bytes | None,
    typer.Argument(
        parser=values.schedule_id,
        metavar="ID",
        help="Show this schedule with all it has.",
        show_default=False,
    ),
]
_Topic = Annotated[
    str | None,
    typer.Option(parser=values.topic, metavar="TOPIC", help="Only those of this schedule topic."),
]
_Before = Annotated[
    int | None,
    typer.Option(
        parser=values.before_ms,
        metavar="TIME",
        help="Only those due before: ISO 8601, epoch milliseconds, or from now on 5m, 2h30m, 3d.",
    ),
]
_Limit = Annotated[int, typer.Option(min=0, help="How many to show, soonest first; 0 is all.")]
_Layout = Annotated[
    Layout,
    typer.Option(
        "--format", help="json has one object a line, and bytes that are no UTF-8 as hex."
    ),
]
_FailedOnly = Annotated[
    bool,
    typer.Option("--failed", help="Only those that could not be fired: why, and the next try."),
]
_Count = Annotated[bool, typer.Option("--count", help="Print only how many there are.")]


@with_settings(["kms_cache"])
def inspect(
    settings: Settings,
    schedule_id: _Id = None,
    topic: _Topic = None,
    before: _Before = None,
    limit: _Limit = 50,
    layout: _Layout = "table",
    count: _Count = False,
    failed: _FailedOnly = False,
) -> None:
    """Show the pending schedules, soonest first, and up to where in Kafka that is true.

    Reads the cache, not Kafka, and does not disturb the service that writes it.

    Example: `python kms.py inspect --before 1h --format json`
    """
    wanted = Filter(schedule_id, topic, before, failed)
    with closing(Reader(settings.kms_cache)) as reader, reader.snapshot():
        number = reader.count(wanted)
        if count:
            typer.echo(number)
        elif number or schedule_id is None:
            found = _found(reader, wanted, limit or None)
            write(layout, found, whole=schedule_id is not None, failed=failed)
        if not count:
            _say_as_of(reader, wanted, min(number, limit or number), number, layout)
            _say_failures(reader, wanted)
    if schedule_id is not None and not number:
        raise KmsError(f"{values.shown(schedule_id)} is not pending.")


def _found(reader: Reader, wanted: Filter, limit: int | None) -> Iterator[Found]:
    return (Found(each, _read(each.value)) for each in reader.pending(wanted, limit))


def _read(value: bytes) -> Schedule | None:
    try:
        return AVRO.decode_value(value)
    except FormatError:
        return None  # it is on its way to the dead-letter topic, or waits for somebody to mend it


def _say_failures(reader: Reader, wanted: Filter) -> None:
    count = reader.count(wanted._replace(failed=True))
    if count and not wanted.failed:
        typer.echo(f"{count} of them could not be fired so far: inspect --failed", err=True)


def _say_as_of(reader: Reader, wanted: Filter, shown: int, number: int, layout: Layout) -> None:
    """Under a table; beside what another program reads."""
    aside = layout != "table" or not number
    typer.echo(f"{shown} of {number} pending, as of", err=aside)
    known = [
        (checkpoint, written_ms)
        for checkpoint, written_ms in reader.checkpoints()
        if wanted.topic in (None, checkpoint.topic)
    ]
    for checkpoint, written_ms in known:
        typer.echo(
            f"  {checkpoint.topic}/{checkpoint.partition} up to offset {checkpoint.next_offset}, "
            f"written at {times.iso_time(written_ms)}",
            err=aside,
        )
    if not known:
        typer.echo("  nothing: the cache holds no such partition", err=aside)
