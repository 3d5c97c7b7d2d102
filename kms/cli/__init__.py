"""The command line: ``run`` and what people need beside it."""

from __future__ import annotations

import typer

from kms.cli.options import run_app
from kms.cli.run import run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Sends a message to a Kafka topic later, once, and on time.",
)
app.command()(run)


@app.callback()
def _kms() -> None:
    """Keeps ``run`` a command of its own while it is the only one."""



def main() -> None:
    """Run the command line and end the process with its exit code."""
    run_app(app)
