"""``inspect --count``: how many are pending, of all or by what."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator

from kms.cli.listing import Layout, exact
from kms.cli.values import shown
from kms.store import By, Filter, Reader
from kms.times import iso_time


def write(layout: Layout, reader: Reader, wanted: Filter, by: By | None) -> None:
    """Write to stdout the number alone, or a line for each topic, hour or day that has any."""
    if by is None:
        number = reader.count(wanted)
        print(json.dumps({"count": number}) if layout == "json" else number)
        return
    counts = reader.count_by(wanted, by)
    if layout == "json":
        for what, count in counts:
            value = exact(what) if isinstance(what, bytes) else _name(what)
            print(json.dumps({by: value, "count": count}))
    elif layout == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([by, "count"])
        writer.writerows((_name(what), count) for what, count in counts)
    else:
        sys.stdout.writelines(_lines(counts))


def _lines(counts: list[tuple[bytes | int | None, int]]) -> Iterator[str]:
    digits = len(str(max((count for _, count in counts), default=0)))
    for what, count in counts:
        yield f"{count:>{digits}}  {_name(what) or 'no schedule'}\n"


def _name(what: bytes | int | None) -> str | None:
    if isinstance(what, bytes):
        return shown(what)
    return None if what is None else iso_time(what) or f"{what} ms"
