"""``pause`` and ``resume``: hold back what is due for a target topic, or for all of them."""

from __future__ import annotations

from typing import Annotated

import typer

from kms import times
from kms.cli import values
from kms.cli.options import with_settings
from kms.control import read_pauses, write_pauses
from kms.errors import KmsError
from kms.pauses import ALL, NOT_PAUSED, Pause, named_target
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
    arguments = "--all" if all_ else wanted
    typer.echo(f"paused {named_target(wanted)}; to go on: python kms.py resume {arguments}")


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
    paused = {name: each for name, each in read_pauses(settings).items() if _is_paused(each)}
    if not all_ and ALL in paused:
        raise KmsError("All target topics are paused: python kms.py resume --all")
    chosen = paused if all_ else {name: each for name, each in paused.items() if name == wanted}
    if not chosen:
        what = "nothing is paused" if all_ else f"{named_target(wanted)} is not paused"
        typer.echo(f"{what}: nothing to do", err=True)
        return
    write_pauses(settings, {name: each.resumed(now_ms, skip=skip) for name, each in chosen.items()})
    for name, each in chosen.items():
        since = times.iso_time(each.since_ms or 0)
        what = "is ended and not fired" if skip else "fires now"
        typer.echo(f"resumed {named_target(name)}; what fell due since {since} {what}")


def _wanted(target: str | None, *, all_: bool) -> str:
    if (target is None) is not all_:
        raise typer.BadParameter("give one of them.", param_hint="TARGET, --all")
    return target or ALL


def _is_paused(found: Pause) -> bool:
    return found.since_ms is not None
