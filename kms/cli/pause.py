"""``pause`` and ``resume``: hold back what is due for a target topic, or for all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from kms import times
from kms.cli import values
from kms.cli.options import with_settings
from kms.control import read_pauses, write_pauses
from kms.errors import KmsError
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


@with_settings(_SETTINGS)
def resume(
    settings: Settings,
    target: _Target = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Whatever is paused, each or all together.")
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
    if not all_ and ALL in since_ms:
        raise KmsError(f"All target topics are paused: {resuming(ALL)}")
    chosen = [name for name in since_ms if all_ or name == wanted]
    if not chosen:
        what = "nothing is paused" if all_ else f"{named_target(wanted)} is not paused"
        typer.echo(f"{what}: nothing to do", err=True)
        return
    write_pauses(settings, {name: found[name].resumed(now_ms, skip=skip) for name in chosen})
    for name in chosen:
        since = times.iso_time(since_ms[name])
        what = "is ended and not fired" if skip else "fires now"
        typer.echo(f"resumed {named_target(name)}; what fell due since {since} {what}")


def _wanted(target: str | None, *, all_: bool) -> str:
    if (target is None) is not all_:
        raise typer.BadParameter("give one of them.", param_hint="TARGET, --all")
    return target or ALL
