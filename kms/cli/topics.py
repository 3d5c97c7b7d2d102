"""``topics create`` and ``topics check``: schedule topics, configured as recommended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from kms.cli import values
from kms.cli.options import with_settings
from kms.errors import ExitCode, SettingsError
from kms.kafka import Admin
from kms.settings import Settings
from kms.settings_values import FORMAT_OF
from kms.topics import Difference, Severity, differences, recommended_config

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


class Finding(NamedTuple):
    """A topic's setting that is not as recommended."""

    topic: str
    difference: Difference

    @property
    def is_error(self) -> bool:
        return self.difference.recommendation.severity is Severity.ERROR


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
    admin = Admin(settings)
    infos = admin.topics_patiently(_names(settings, names))
    findings = [
        Finding(name, difference)
        for name, info in infos.items()
        if info is not None
        for difference in differences(admin.config(name))
    ]
    if findings:
        _show(findings)
    differing = {finding.topic for finding in findings}
    for name, info in infos.items():
        if info is None:
            typer.echo(f"{name}: error: it does not exist. python kms.py topics create {name}")
        elif name not in differing:
            typer.echo(f"{name}: as recommended")
    if None in infos.values() or any(finding.is_error for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def _names(settings: Settings, names: Sequence[str] | None) -> list[str]:
    # Each once, in their order.
    found = list(dict.fromkeys(names or settings.topics))
    if not found:
        raise SettingsError("Name the topics, here or in SCHEDULE_TOPICS.")
    return found


def _show(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        for topic, (found, wanted) in findings:
            typer.echo(
                f"{topic}: {wanted.severity.value}: {wanted.name} is {_told(found)}, "
                f"recommended is {wanted.value}. {wanted.why}"
            )
        return
    table = Table("Topic", "", "Setting", "Value", "Recommended", "Why it matters")
    for topic, (found, wanted) in findings:
        color = "red" if wanted.severity is Severity.ERROR else "yellow"
        severity = f"[{color}]{wanted.severity.value}[/]"
        table.add_row(topic, severity, wanted.name, _told(found), wanted.value, wanted.why)
    console.print(table)


def _told(found: str | None) -> str:
    return "unknown" if found is None else found or "empty"
