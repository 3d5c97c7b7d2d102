"""``topics create`` and ``topics check``: schedule topics, configured as recommended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from kms.check import configuration, has_error, missing
from kms.cli import values
from kms.cli.findings import show
from kms.cli.options import with_settings
from kms.errors import ExitCode, SettingsError
from kms.kafka import Admin, Examiner
from kms.settings import Settings
from kms.settings_values import FORMAT_OF
from kms.topics import recommended_config

topics_app = typer.Typer(
    no_args_is_help=True, help="Create schedule topics, and check their configuration."
)

_SETTINGS = (*values.CONNECTION, *FORMAT_OF)
_Names = Annotated[
    list[str] | None,
    typer.Argument(
        parser=values.topic,
        metavar="NAME",
        help="The topics. Default: those in SCHEDULE_TOPICS.",
        show_default=False,
    ),
]


@topics_app.command()
@with_settings(_SETTINGS)
def create(
    settings: Settings,
    names: _Names = None,
    partitions: Annotated[
        int, typer.Option(min=1, help="How many partitions each gets, for as many instances.")
    ] = 1,
    replication: Annotated[
        int, typer.Option(help="The replication factor; -1 is the broker's default.")
    ] = -1,
) -> None:
    """Create schedule topics with the recommended configuration.

    Example: `python kms.py topics create schedules --partitions 12 --replication 3`
    """
    admin = Admin(settings)
    for name in _names(settings, names):
        if admin.create_topic(name, partitions, replication, recommended_config()):
            typer.echo(f"{name}: created")
        else:
            typer.echo(f"{name}: exists already; compare it by python kms.py topics check {name}")


@topics_app.command()
@with_settings(_SETTINGS)
def check(settings: Settings, names: _Names = None) -> None:
    """Say what of schedule topics' configuration is not as recommended, and why it matters.

    The exit code is 1 if a topic is missing or its configuration loses schedules.

    Example: `python kms.py topics check schedules`
    """
    examiner = Examiner(settings)
    infos = Admin(settings).topics_patiently(_names(settings, names))
    configs = examiner.topic_configs([name for name, info in infos.items() if info is not None])
    findings = show(
        finding
        for name, info in infos.items()
        for finding in ([missing(name)] if info is None else configuration(name, configs[name]))
    )
    if has_error(findings):
        raise typer.Exit(ExitCode.FAILED)


def _names(settings: Settings, names: Sequence[str] | None) -> list[str]:
    # Each once, in their order.
    found = list(dict.fromkeys(names or settings.topics))
    if not found:
        raise SettingsError("Name the topics, here or in SCHEDULE_TOPICS.")
    return found
