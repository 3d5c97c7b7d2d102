"""``check``: whether all is right, before the start or beside the running service."""

from __future__ import annotations

from typing import Annotated

import typer

from kms.check import check as all_findings
from kms.check import has_error
from kms.cli import values
from kms.cli.findings import show, summary
from kms.cli.options import with_settings
from kms.errors import ExitCode, SettingsError
from kms.settings import Settings


@with_settings(required=["schedule_topics"])
def check(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    write_probe: Annotated[
        str | None,
        typer.Option(
            parser=values.topic,
            metavar="TOPIC",
            help="Also write one empty message to this topic: are transactions allowed, and what "
            "time do the brokers have? Nothing is written otherwise.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tell whether all is right: settings, brokers, topics, ACLs, group, cache, clock, port.

    It takes the settings of `run`, changes nothing, and works beside a running service. Each line
    is ok, warning, error, or skipped where nobody can tell. The exit code is 1 if there is an
    error, 2 if a setting is wrong.

    Example: `python kms.py check --schedule-topics schedules`
    """
    if write_probe is not None and write_probe in (
        *settings.topics,
        settings.kms_dead_letter_topic,
    ):
        raise SettingsError(
            f"--write-probe {write_probe} would write what is no schedule to a topic of schedules: "
            "name another topic."
        )
    findings = show(all_findings(settings, write_probe), as_json=as_json)
    if not as_json:
        typer.echo(summary(findings))
    if has_error(findings):
        raise typer.Exit(ExitCode.FAILED)
