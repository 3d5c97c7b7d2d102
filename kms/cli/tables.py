"""Tables: boxes on a terminal, plain lines to a pipe."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_MEASURED = 1_000  # rows, to make the columns wide enough; any number is written as it comes
_WIDEST = 60
_ROOMY = 110


def is_terminal() -> bool:
    """Whether rich takes stdout for a terminal."""
    return Console().is_terminal


def write(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    one_line: Collection[str] = (),
    wide: Collection[str] = (),
    right: Collection[str] = (),
) -> None:
    """Write a table to stdout; a pipe gets one line a row, and nothing is cut off.

    On a terminal ``one_line`` columns never wrap, and ``wide`` ones have room for a UUID where
    there is enough: they are there to be copied.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        _write_plain(columns, iter(rows))
        return
    table = Table(expand=True)
    for name in columns:
        table.add_column(
            name,
            no_wrap=name in one_line,
            overflow="fold",
            min_width=36 if name in wide and console.width >= _ROOMY else None,
            justify="right" if name in right else "left",
        )
    for row in rows:
        table.add_row(*map(Text, row))  # Text, not str: nothing of it is markup
    console.print(table)


def _write_plain(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    rows = iter(rows)
    first = [columns, *itertools.islice(rows, _MEASURED)]
    widths = [min(max(map(cell_len, column)), _WIDEST) for column in zip(*first, strict=True)]
    for row in itertools.chain(first, rows):
        cells = (
            cell + " " * (width - cell_len(cell)) if len(cell) <= width else cell
            for cell, width in zip(row, widths, strict=True)
        )
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
