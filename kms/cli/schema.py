"""``schema``: the Avro schema for those who write schedules with their own clients."""

from __future__ import annotations

from typing import Annotated

import typer

from kms.formats import schema_json


def schema(
    output: Annotated[
        typer.FileTextWrite,
        typer.Option(encoding="utf-8", metavar="FILE", help="Where to write it; - is stdout."),
    ] = "-",  # type: ignore[assignment]  # typer opens it
) -> None:
    """Print the Avro schema of a schedule.

    Example: `python kms.py schema`

    Example: `python kms.py schema --output schedule.avsc`
    """
    output.write(schema_json())
