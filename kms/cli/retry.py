"""``retry`` and ``redrive``: another attempt for what failed, before and after it was given up."""

from __future__ import annotations

from typing import Annotated

import typer

from kms.cli import values
from kms.cli.options import with_settings
from kms.errors import KmsError, SettingsError
from kms.kafka import read_all
from kms.redrive import dead_letters, put_back
from kms.settings import Settings
from kms.store import retry_at_once

_Topic = Annotated[
    str | None,
    typer.Option(parser=values.topic, metavar="TOPIC", help="Only those of this schedule topic."),
]


@with_settings(["kms_cache"])
def retry(
    settings: Settings,
    schedule_id: Annotated[
        bytes | None,
        typer.Argument(
            parser=values.schedule_id, metavar="ID", help="The schedule id.", show_default=False
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
    topic: _Topic = None,
) -> None:
    """Try schedules that could not be fired again at once, instead of after their pause.

    Tells the service on the same cache, or its next start.

    Example: `python kms.py retry --all`

    Example: `python kms.py retry 8f14e45f-ceea-467f-a8d5-e5e6a4f0b7c2`
    """
    if (schedule_id is None) is not every:
        raise typer.BadParameter("give exactly one of them.", param_hint="ID, --all")
    number = retry_at_once(settings.kms_cache, schedule_id, topic)
    if schedule_id is not None and not number:
        raise KmsError(f"{values.shown(schedule_id)} has not failed: see inspect --failed.")
    typer.echo(f"{number} to be tried at once")


@with_settings([*values.CONNECTION, "consumer_group_id", "kms_dead_letter_topic"])
def redrive(
    settings: Settings,
    schedule_id: Annotated[
        bytes | None,
        typer.Option(
            "--id", parser=values.schedule_id, metavar="ID", help="Only those of this schedule id."
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="REASON", help="Only those given up for this reason.")
    ] = None,
    topic: _Topic = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be put back.")
    ] = False,
) -> None:
    """Put dead letters back on the schedule topics they came from, as they were.

    Each is put back once, however often this is called: a mark on the dead-letter topic says so.
    What was scheduled under the same id meanwhile is replaced. Records without a key stay.

    Example: `python kms.py redrive --reason topic-missing --dry-run`

    Example: `python kms.py redrive --topic schedules`
    """
    if settings.kms_dead_letter_topic is None:
        raise SettingsError("KMS_DEAD_LETTER_TOPIC is missing: it names the topic to read.")
    wanted = [
        letter
        for letter in dead_letters(read_all(settings, [settings.kms_dead_letter_topic]))
        if schedule_id in (None, letter.id)
        and reason in (None, letter.reason)
        and topic in (None, letter.where.topic)
    ]
    if wanted and not dry_run:
        put_back(settings, wanted)
    for letter in wanted:
        typer.echo(f"{values.shown(letter.id)} on {letter.where}: {letter.reason}")
    typer.echo(f"{len(wanted)} {'would be' if dry_run else 'were'} put back", err=True)
