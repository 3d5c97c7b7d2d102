"""Findings on a terminal, in a pipe, or as lines of JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kms.check import Finding, Level

_STYLES = {
    Level.OK: "green",
    Level.SKIPPED: "dim",
    Level.WARNING: "yellow",
    Level.ERROR: "bold red",
}


def show(findings: Iterable[Finding], *, as_json: bool = False) -> list[Finding]:
    """Write each to stdout as soon as it is there; answers them all."""
    shown = []
    console = Console(highlight=False)
    for finding in findings:
        shown.append(finding)
        if as_json:
            typer.echo(json.dumps(finding._asdict() | {"level": finding.level.value}))
        elif console.is_terminal:
            console.print(_row(finding))
        else:
            typer.echo(str(finding))
    return shown


def summary(findings: Iterable[Finding]) -> str:
    """How many there are of each level, the worst first."""
    counts = Counter(finding.level for finding in findings)
    words = {Level.WARNING: "warnings", Level.ERROR: "errors"}
    return ", ".join(
        f"{counts[level]} {level.value if counts[level] == 1 else words.get(level, level.value)}"
        for level in reversed(Level)
        if counts[level]
    )


def _row(finding: Finding) -> Table:
    # Text, not str: nothing of it is markup.
    row = Table.grid(padding=(0, 1))
    row.add_column(width=7, no_wrap=True)
    row.add_column()
    text = Text.assemble((finding.subject, "bold"), ": ", finding.found)
    row.add_row(Text(finding.level.value, _STYLES[finding.level]), text)
    if finding.advice:
        row.add_row("", Text(f"→ {finding.advice}"))
    return row
