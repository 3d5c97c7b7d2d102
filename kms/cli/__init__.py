"""The command line: ``run`` and what people need beside it."""

from __future__ import annotations

from typing import Annotated

import typer

from kms import __version__
from kms.cli.check import check
from kms.cli.demo import demo
from kms.cli.inspect import inspect
from kms.cli.options import run_app
from kms.cli.pause import pause, resume
from kms.cli.retry import redrive, retry
from kms.cli.run import run
from kms.cli.schedule import cancel, schedule
from kms.cli.schema import schema
from kms.cli.topics import topics_app

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"kms {__version__}")
        raise typer.Exit


for command in (
    *(run, check, schedule, cancel, inspect, pause, resume, retry, redrive, schema, demo),
):
    app.command()(command)
app.add_typer(topics_app, name="topics")


@app.callback()
def _app(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which kms."),
    ] = False,
) -> None:
    """Sends a message to a Kafka topic later, once, and on time.

    `python kms.py COMMAND --help` has each command's examples.
    """


def main() -> None:
    """Run the command line and end the process with its exit code."""
    run_app(app)
