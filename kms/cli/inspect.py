"""``inspect``: what is pending, read from the cache beside the running service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Annotated

import typer

from kms import times
from kms.cli import inspect_counts, inspect_kafka, values
from kms.cli.found import Found, read, with_pauses
from kms.cli.listing import Layout, write, write_ended
from kms.cli.options import with_settings
from kms.errors import KmsError
from kms.formats import AwaitedSchemas, Format, formats_of
from kms.pauses import named_target, resuming
from kms.refold import Told
from kms.registry import schemas_to_look
from kms.settings import Settings
from kms.settings_values import FORMAT_OF, REGISTRY
from kms.store import By, Filter, Pending, Reader

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
_FromKafka = Annotated[
    bool,
    typer.Option(
        "--from-kafka",
        help="Read the schedule topics themselves, not the cache; with ID its history, too.",
    ),
]
_Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Live until Ctrl-C: rates, lateness, what is due next; to a pipe a line a second.",
    ),
]
_WATCHED = 50  # with --limit 0
_PORT = ("prometheus_scraping_endpoint_port", "kms_http_address")
# Of an id that was asked for, the history is known from Kafka alone.
_Source = tuple[Reader, list[Told] | None]


@with_settings([*values.CONNECTION, *FORMAT_OF, *REGISTRY, "kms_cache", *_PORT])
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
    from_kafka: _FromKafka = False,
    watch: _Watch = False,
) -> None:
    """Show the pending schedules, soonest first, and up to where in Kafka that is true.

    Reads the cache and does not disturb the service that writes it, or with --from-kafka the
    topics. A pipe gets plain lines, nothing cut off.

    Example: `python kms.py inspect --before 1h --target orders --json`

    Example: `python kms.py inspect --count --by hour --after 2030-01-31T12:00:00Z`

    Example: `python kms.py inspect --from-kafka --prefix order- --limit 10`

    Example: `python kms.py inspect --watch --topic schedules`

    Example: `python kms.py inspect 8f14e45f-ceea-467f-a8d5-e5e6a4f0b7c2`
    """
    wanted = Filter(schedule_id, topic, before, failed, after, target, prefix)
    layout = "json" if json else layout
    _check(wanted, by, count=count, from_kafka=from_kafka, watch=watch)
    if watch:
        _watch(settings, wanted, limit or _WATCHED, layout)
    else:
        _show(settings, wanted, limit, layout, by, count=count, from_kafka=from_kafka)


def _watch(settings: Settings, wanted: Filter, limit: int, layout: Layout) -> None:
    from kms.cli import inspect_watch  # with the metrics' library, which the others need not

    inspect_watch.watch(settings, wanted, limit, layout)


def _show(
    settings: Settings,
    wanted: Filter,
    limit: int,
    layout: Layout,
    by: By | None,
    *,
    count: bool,
    from_kafka: bool,
) -> None:
    with schemas_to_look(settings) as schemas:
        forms = formats_of(settings.formats, schemas)
        with _source(settings, wanted, forms, from_kafka=from_kafka) as (reader, history):
            if count:
                inspect_counts.write(layout, reader, wanted, by)
            else:
                _list(reader, wanted, limit, layout, history)
            number = reader.count(wanted)
        _say_away(schemas)
    if wanted.id is not None and not number:
        raise KmsError(f"{values.shown(wanted.id)} is not pending.")


def _check(wanted: Filter, by: By | None, *, count: bool, from_kafka: bool, watch: bool) -> None:
    if watch and (count or from_kafka or wanted.id is not None):
        raise typer.BadParameter("goes without ID, --count and --from-kafka.", param_hint="--watch")
    if by is not None and not count:
        raise typer.BadParameter("goes with --count.", param_hint="--by")
    if from_kafka and wanted.failed:
        raise typer.BadParameter(
            "failed attempts are in the cache alone.", param_hint="--from-kafka, --failed"
        )


@contextmanager
def _source(
    settings: Settings, wanted: Filter, forms: Mapping[str, Format], *, from_kafka: bool
) -> Iterator[_Source]:
    if from_kafka:
        with inspect_kafka.folded(settings, wanted, forms) as (reader, history):
            yield reader, history
    else:
        with closing(Reader(settings.kms_cache, forms)) as reader, reader.snapshot():
            yield reader, None


def _list(
    reader: Reader, wanted: Filter, limit: int, layout: Layout, history: list[Told] | None
) -> None:
    number = reader.count(wanted)
    whole = wanted.id is not None
    if number or not whole:
        pauses = reader.pauses()
        pending = reader.pending(wanted, limit or None)
        found: Iterator[Found] = (with_pauses(read(each), pauses) for each in pending)
        if whole and history is not None:
            found = (each._replace(history=_of(history, each.pending)) for each in found)
        write(layout, found, whole=whole, failed=wanted.failed)
    if wanted.id is not None and history:
        _write_ended(reader, wanted, layout, history)
    done = "written" if history is None else "read"
    _say_as_of(reader, wanted, min(number, limit or number), number, layout, done)
    _say_failures(reader, wanted)
    _say_pauses(reader)


def _of(history: list[Told], pending: Pending) -> list[Told]:
    return [told for told in history if told.where == (pending.topic, pending.partition)]


def _write_ended(reader: Reader, wanted: Filter, layout: Layout, history: list[Told]) -> None:
    assert wanted.id is not None
    still = {(each.topic, each.partition) for each in reader.pending(wanted)}
    for where in sorted({told.where for told in history} - still):
        write_ended(layout, wanted.id, [told for told in history if told.where == where])


def _say_failures(reader: Reader, wanted: Filter) -> None:
    count = reader.count(wanted._replace(failed=True))
    if count and not wanted.failed:
        typer.echo(f"{count} of them could not be fired so far: inspect --failed", err=True)


def _say_pauses(reader: Reader) -> None:
    for target, since_ms in sorted(reader.pauses().items()):
        since = times.iso_time(since_ms)
        typer.echo(f"Paused: {named_target(target)}, since {since}: {resuming(target)}", err=True)


def _say_away(schemas: AwaitedSchemas | None) -> None:
    if schemas is not None and schemas.away is not None:
        typer.echo(
            f"Not all schemas could be had: {schemas.away}. What lacks its schema has no target "
            "topic, key and value here, and no --target finds it: python kms.py check looks why.",
            err=True,
        )


def _say_as_of(
    reader: Reader, wanted: Filter, shown: int, number: int, layout: Layout, done: str
) -> None:
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
            f"{done} at {times.iso_time(written_ms)}",
            err=aside,
        )
    if not known:
        typer.echo("  nothing: the cache holds no such partition", err=aside)
