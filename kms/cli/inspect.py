"""``inspect``: what is pending, read from the cache beside the running service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Annotated

import typer

from kms import times
from kms.cli import inspect_counts, values
from kms.cli.found import Found, read
from kms.cli.listing import Layout, write
from kms.cli.options import with_settings
from kms.errors import KmsError
from kms.settings import Settings
from kms.store import By, Filter, Reader

_TIME = "ISO 8601, epoch milliseconds, or from now on 5m, 2h30m, 3d."

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
_Target = Annotated[
    str | None,
    typer.Option(metavar="TOPIC", help="Only those for this target topic."),
]
_Prefix = Annotated[
    bytes | None,
    typer.Option(
        parser=values.schedule_id, metavar="TEXT", help="Only those whose id begins with it."
    ),
]
_After = Annotated[
    int | None,
    typer.Option(
        parser=values.before_ms, metavar="TIME", help=f"Only those due then or later: {_TIME}"
    ),
]
_Before = Annotated[
    int | None,
    typer.Option(parser=values.before_ms, metavar="TIME", help=f"Only those due before: {_TIME}"),
]
_Limit = Annotated[int, typer.Option(min=0, help="How many to show, soonest first; 0 is all.")]
_Layout = Annotated[
    Layout,
    typer.Option(
        "--format", help="json has one object a line, and bytes that are no UTF-8 as hex."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
_FailedOnly = Annotated[
    bool,
    typer.Option("--failed", help="Only those that could not be fired: why, and the next try."),
]
_Count = Annotated[bool, typer.Option("--count", help="Print only how many there are.")]
_By = Annotated[
    By | None,
    typer.Option(
        "--by",
        help="With --count: how many for each target topic, or due in each hour or day of UTC.",
    ),
]


@with_settings(["kms_cache"])
def inspect(
    settings: Settings,
    schedule_id: _Id = None,
    topic: _Topic = None,
    target: _Target = None,
    prefix: _Prefix = None,
    after: _After = None,
    before: _Before = None,
    limit: _Limit = 50,
    layout: _Layout = "table",
    json: _Json = False,
    count: _Count = False,
    by: _By = None,
    failed: _FailedOnly = False,
) -> None:
    """Show the pending schedules, soonest first, and up to where in Kafka that is true.

    Reads the cache, not Kafka, and does not disturb the service that writes it. To a pipe it
    writes plain lines, whole.

    Example: `python kms.py inspect --before 1h --target orders --json`

    Example: `python kms.py inspect --count --by hour --after 2030-01-31T12:00:00Z`

    Example: `python kms.py inspect 8f14e45f-ceea-467f-a8d5-e5e6a4f0b7c2`
    """
    if by is not None and not count:
        raise typer.BadParameter("goes with --count.", param_hint="--by")
    wanted = Filter(schedule_id, topic, before, failed, after, target, prefix)
    layout = "json" if json else layout
    with closing(Reader(settings.kms_cache)) as reader, reader.snapshot():
        if count:
            inspect_counts.write(layout, reader, wanted, by)
        else:
            _list(reader, wanted, limit, layout)
        number = reader.count(wanted)
    if schedule_id is not None and not number:
        raise KmsError(f"{values.shown(schedule_id)} is not pending.")


def _list(reader: Reader, wanted: Filter, limit: int, layout: Layout) -> None:
    number = reader.count(wanted)
    whole = wanted.id is not None
    if number or not whole:
        write(layout, _found(reader, wanted, limit or None), whole=whole, failed=wanted.failed)
    _say_as_of(reader, wanted, min(number, limit or number), number, layout)
    _say_failures(reader, wanted)


def _found(reader: Reader, wanted: Filter, limit: int | None) -> Iterator[Found]:
    return map(read, reader.pending(wanted, limit))


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
