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
_UUID = 36  # characters


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
    spare: Collection[str] = (),
) -> None:
    """Write a table to stdout; a pipe gets one line a row, and nothing is cut off.

    On a terminal ``one_line`` columns never wrap, nor do ``wide`` ones of UUIDs at most where
    there is room: they are there to be copied. ``spare`` ones are left out where there is no room,
    or nothing in them.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        _write_plain(columns, iter(rows))
        return
    is_roomy, rows = console.width >= _ROOMY, list(rows)
    longest = [max((cell_len(row[it]) for row in rows), default=0) for it in range(len(columns))]
    kept = [
        name not in spare or (is_roomy and length > 0)
        for name, length in zip(columns, longest, strict=True)
    ]
    table = Table(expand=True)
    for name, length in itertools.compress(zip(columns, longest, strict=True), kept):
        table.add_column(
            name,
            # A least width would not do: what it takes is cut off at the right.
            no_wrap=name in one_line or (name in wide and is_roomy and length <= _UUID),
            overflow="fold",
            justify="right" if name in right else "left",
        )
    for row in rows:
        cells = map(Text, row)  # Text, not str: nothing of it is markup
        table.add_row(*itertools.compress(cells, kept))
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
