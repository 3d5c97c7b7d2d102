"""``schedule`` and ``cancel``: write a schedule's record, or the null that cancels it."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import typer

from kms import times
from kms.cli import values
from kms.cli.kind_options import kind_errors, timed, with_kinds
from kms.cli.options import with_settings
from kms.errors import (
    BadHeaderError,
    CacheError,
    FormatError,
    KmsError,
    RequestError,
    SettingsError,
)
from kms.formats import USUAL, formats_of
from kms.kafka import Admin, Sender, TopicPartition
from kms.occurrences import outcome
from kms.registry import schemas_to_write
from kms.schedule import Header, Record, Schedule
from kms.settings import Settings
from kms.settings_values import FORMAT_OF, REGISTRY
from kms.store import Filter, Reader
from kms.topics import missing_text

_To = Annotated[
    str, typer.Option(parser=values.topic, metavar="TOPIC", help="The topic to send it to.")
]
_At = Annotated[
    int | None,
    typer.Option(
        parser=values.at_ms,
        metavar="TIME",
        help="When: ISO 8601 (without Z or an offset in local time), or epoch milliseconds.",
    ),
]
_In = Annotated[
    int | None,
    typer.Option(
        "--in", parser=values.in_ms, metavar="DURATION", help="When, from now: 5m, 2h30m, 3d."
    ),
]
_Id = Annotated[
    bytes | None,
    typer.Option(
        "--id",
        parser=values.schedule_id,
        metavar="ID",
        help="The schedule id; what is pending under it is replaced. Default: a new UUID.",
    ),
]
_Key = Annotated[bytes | None, typer.Option(parser=os.fsencode, metavar="TEXT", help="Its key.")]
_Value = Annotated[
    bytes | None,
    typer.Option(parser=os.fsencode, metavar="TEXT", help="Its value. Default: a null value."),
]
_ValueFile = Annotated[
    typer.FileBinaryRead | None,
    typer.Option(metavar="FILE", help="A file with its value; - is the standard input."),
]
_Headers = Annotated[
    list[values.HeaderArgument] | None,
    typer.Option(
        parser=values.header, metavar="NAME=VALUE", help="A header of it; can be repeated."
    ),
]
_On = Annotated[
    str | None,
    typer.Option(
        parser=values.topic,
        metavar="TOPIC",
        help="The schedule topic, of which the settings say the format: Avro if nothing. Default: "
        "the only one that the settings name.",
    ),
]


@with_settings([*values.CONNECTION, *FORMAT_OF, *REGISTRY])
@with_kinds
def schedule(
    settings: Settings,
    to: _To,
    at: _At = None,
    in_: _In = None,
    schedule_id: _Id = None,
    key: _Key = None,
    value: _Value = None,
    value_file: _ValueFile = None,
    header: _Headers = None,
    on: _On = None,
    kind: tuple[Header, ...] = (),
) -> None:
    """Schedule a message and print the schedule's id.

    What is pending under the same id on the same topic is replaced.

    Example: `python kms.py schedule --to orders --in 5m --key 42 --value 'time is up'`

    Example: `python kms.py schedule --to orders --at 2030-01-31T12:00:00Z --id order-42
    --header kind=reminder --value-file - < /etc/hostname`

    Example: `python kms.py schedule --to orders --cron '0 9 * * mon-fri' --timezone Europe/London`
    """
    if value is not None and value_file is not None:
        raise typer.BadParameter("give one of them.", param_hint="--value, --value-file")
    new_id = schedule_id or str(uuid.uuid4()).encode()
    time_ms = timed(kind, _said_ms(at, in_))
    body = value_file.read() if value_file is not None else value
    wanted = Schedule(time_ms, to, key or b"", body, _headers(header or []))
    topic = _only_topic(settings, on)
    record, due_ms = _record(settings, topic, new_id, wanted, kind)
    _must_exist(settings, topic)
    with closing(Sender(settings)) as sender:
        sender.send(topic, new_id, record.value, headers=record.headers)
    _say_if_past(kind, due_ms)
    typer.echo(new_id)


@with_settings([*values.CONNECTION, *FORMAT_OF, "kms_cache"])
def cancel(
    settings: Settings,
    schedule_id: Annotated[
        bytes,
        typer.Argument(
            parser=values.schedule_id, metavar="ID", help="The schedule id.", show_default=False
        ),
    ],
    on: _On = None,
) -> None:
    """Cancel a schedule that has not fired yet.

    The cache, where there is one, says on which partition it is; without it, that is taken to be
    the one that kms and Java's clients choose for this id.

    Example: `python kms.py cancel 8f14e45f-ceea-467f-a8d5-e5e6a4f0b7c2`

    Example: `python kms.py cancel 8f14e45f-ceea-467f-a8d5-e5e6a4f0b7c2 --on schedules`
    """
    shown = values.shown(schedule_id)
    known = _known(settings, schedule_id, on)
    with closing(Sender(settings)) as sender:
        for where in known:
            sender.send(where.topic, schedule_id, None, where.partition)
            typer.echo(f"cancelled {shown} on {where}")
        if not known:
            topic = _only_topic(settings, on)
            _must_exist(settings, topic)
            where = sender.send(topic, schedule_id, None)
            typer.echo(f"cancelled {shown} on {where}")
    if not known:
        if settings.kms_cache.exists():
            reason = f"The cache {settings.kms_cache} does not know {shown} as pending"
        else:
            reason = f"There is no cache at {settings.kms_cache}"
        typer.echo(f"{reason}: this is where kms and Java's clients put that id.", err=True)


def _said_ms(at: int | None, in_: int | None) -> int | None:
    if at is not None and in_ is not None:
        raise typer.BadParameter("give exactly one of them.", param_hint="--at, --in")
    return at if in_ is None else times.now_ms() + in_


def _record(
    settings: Settings, topic: str, schedule_id: bytes, wanted: Schedule, kind: Sequence[Header]
) -> tuple[Record, int]:
    """The record to write, and when the service will see it due: it may have whole seconds only."""
    with schemas_to_write(settings) as schemas, kind_errors():
        form = formats_of(settings.formats, schemas).get(topic, USUAL)
        try:
            body = form.encode(wanted)
            headers = (*body.headers, *kind)
            record = Record(0, schedule_id, body.value, headers, times.now_ms())
            return record, form.due_of(record)
        except BadHeaderError:
            raise
        except FormatError as error:
            raise RequestError(f"This can't be written to {topic}: {error}.") from error


def _say_if_past(kind: Sequence[Header], due_ms: int) -> None:
    now_ms = times.now_ms()
    if due_ms <= now_ms:
        late = outcome(kind, due_ms, due_ms, now_ms).late
        then = f"it is not fired ({late})" if late else "it fires at once"
        typer.echo(f"Its time, {times.iso_time(due_ms)}, is past: {then}.", err=True)


def _headers(headers: Sequence[Header]) -> tuple[Header, ...]:
    for name, count in Counter(name for name, _ in headers).items():
        if count > 1:
            raise typer.BadParameter(
                f"{name!r} is given {count} times; a schedule has one value a name.",
                param_hint="--header",
            )
    return tuple(headers)


def _only_topic(settings: Settings, on: str | None) -> str:
    topics = settings.topics if on is None else (on,)
    if len(topics) == 1:
        return topics[0]
    several = f"there are several ({', '.join(topics)})"
    raise SettingsError(
        f"Name the schedule topic with --on: {several if topics else 'SCHEDULE_TOPICS is empty'}."
    )


def _must_exist(settings: Settings, topic: str) -> None:
    # Just to produce to it could create it, with a configuration that loses schedules.
    if Admin(settings).topics_patiently([topic])[topic] is None:
        raise KmsError(missing_text(topic))


def _known(settings: Settings, schedule_id: bytes, on: str | None) -> list[TopicPartition]:
    """The partitions where a schedule is pending, as far as the cache knows."""
    if not settings.kms_cache.exists():
        return []
    try:
        found = _cached(settings, Filter(schedule_id, on))
    except CacheError as error:
        typer.echo(str(error), err=True)
        return []
    infos = Admin(settings).topics({where.topic for where in found}) if found else {}
    # The cache may be of another cluster, or of a topic that was deleted and made again.
    ids = {topic: info.id for topic, info in infos.items() if info is not None}
    known = sorted(where for where, topic_id in found.items() if ids.get(where.topic) == topic_id)
    if len(topics := sorted({where.topic for where in known})) > 1:
        raise KmsError(
            f"{values.shown(schedule_id)} is pending on several schedule topics "
            f"({', '.join(topics)}): say which with --on."
        )
    return known


def _cached(settings: Settings, wanted: Filter) -> dict[TopicPartition, str]:
    """Where the cache has it, with the id of the topic that the cache was made from."""
    with closing(Reader(settings.kms_cache)) as reader, reader.snapshot():
        ids = {(known.topic, known.partition): known.topic_id for known, _ in reader.checkpoints()}
        return {
            TopicPartition(each.topic, each.partition): ids[each.topic, each.partition]
            for each in reader.pending(wanted)
        }
