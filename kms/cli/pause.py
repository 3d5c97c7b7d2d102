"""``pause`` and ``resume``: hold back what is due for a target topic, or for all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from kms import times
from kms.cli import values
from kms.cli.options import with_settings
from kms.control import read_pauses, write_pauses
from kms.errors import KafkaError, KmsError
from kms.kafka import Admin
from kms.pauses import ALL, NOT_PAUSED, named_target, paused_since_ms, resuming
from kms.settings import Settings

_SETTINGS = (*values.CONNECTION, "consumer_group_id", "kms_control_topic")
_Target = Annotated[
    str | None,
    typer.Argument(
        parser=values.topic, metavar="TARGET", help="The target topic.", show_default=False
    ),
]


@with_settings(_SETTINGS)
def pause(
    settings: Settings,
    target: _Target = None,
    all_: Annotated[bool, typer.Option("--all", help="Every target topic.")] = False,
) -> None:
    """Send nothing to a target topic until it is resumed; what falls due meanwhile waits.

    Every instance of the group keeps to it within a second, and after a restart. It is written to
    the control topic, which is made if it is not there.

    Example: `python kms.py pause payments`

    Example: `python kms.py pause --all`
    """
    wanted, now_ms = _wanted(target, all_=all_), times.now_ms()
    found = read_pauses(settings)
    write_pauses(settings, {wanted: found.get(wanted, NOT_PAUSED).paused(now_ms)})
    typer.echo(f"paused {named_target(wanted)}; to go on: {resuming(wanted)}")
    if wanted != ALL and not _is_there(settings, wanted):
        typer.echo(f"there is no topic {wanted} now, or we may not see it", err=True)


@with_settings(_SETTINGS)
def resume(
    settings: Settings,
    target: _Target = None,
    all_: Annotated[
        bool, typer.Option("--all", help="End the pause of all; one by name stays.")
    ] = False,
    skip: Annotated[
        bool,
        typer.Option("--skip", help="What fell due while it was paused is ended, and not fired."),
    ] = False,
) -> None:
    """Send to a target topic again: what fell due while it was paused fires at once, oldest first.

    With --skip that is not fired: it gets its tombstone, and what recurs goes on with its next
    time.

    Example: `python kms.py resume --all --skip`

    Example: `python kms.py resume payments`
    """
    wanted, now_ms = _wanted(target, all_=all_), times.now_ms()
    found = read_pauses(settings)
    since_ms = paused_since_ms(found)
    if wanted not in since_ms:
        if ALL in since_ms:
            raise KmsError(f"All target topics are paused: {resuming(ALL)}")
        typer.echo(f"no pause of {named_target(wanted)}: nothing to do", err=True)
    else:
        write_pauses(settings, {wanted: found[wanted].resumed(now_ms, skip=skip)})
        what = "is ended and not fired" if skip else "fires now"
        if ALL in since_ms and wanted != ALL and not skip:
            what = f"waits for {resuming(ALL)}"
        since = times.iso_time(since_ms.pop(wanted))
        typer.echo(f"resumed {named_target(wanted)}; what fell due since {since} {what}")
    for name in sorted(since_ms):
        typer.echo(f"still paused: {named_target(name)}; to go on: {resuming(name)}", err=True)


def _wanted(target: str | None, *, all_: bool) -> str:
    if (target is None) is not all_:
        raise typer.BadParameter("give one of them.", param_hint="TARGET, --all")
    return target or ALL


def _is_there(settings: Settings, topic: str) -> bool:
    try:
        return Admin(settings).topics([topic])[topic] is not None
    except KafkaError:  # it is paused all the same
        return False
