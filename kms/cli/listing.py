"""Pending schedules as a table, as lines of JSON or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kms.cli.values import shown
from kms.schedule import Schedule
from kms.store import Pending
from kms.times import iso_time

Layout = Literal["table", "json", "csv"]

_COLUMNS = (
    "id",
    "due",
    "due_ms",
    "schedule_topic",
    "partition",
    "offset",
    "target_topic",
    "key",
    "value",
    "headers",
    "attempts",
    "failed_since",
    "next_try",
    "reason",
    "message",
)
_PREVIEW = 40  # characters of a key or value in the table
_ENDLESS = 100_000  # a width that nothing reaches: a pipe has no edge to wrap at


class Found(NamedTuple):
    """A pending schedule: where its record lies, and what that says; None if it can't be read."""

    pending: Pending
    schedule: Schedule | None


def write(layout: Layout, found: Iterable[Found], *, whole: bool, failed: bool = False) -> None:
    """Write to stdout, in the order given; ``whole`` shows every byte also in a table.

    ``failed`` is for schedules that failed: a table of why. JSON and CSV are written as they come,
    so any number will do.
    """
    if layout == "json":
        for each in found:
            sys.stdout.write(json.dumps(_fields(each, _exact), separators=(",", ":")) + "\n")
    elif layout == "csv":
        writer = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for each in found:
            fields = _fields(each, _cell)
            writer.writerow(fields | {"headers": json.dumps(fields["headers"])})
    elif whole:
        for each in found:
            sys.stdout.writelines(_details(each))
    elif failed:
        _write_failures(found)
    else:
        _write_table(found)


def _fields(found: Found, of_bytes: Any) -> dict[str, Any]:
    pending, schedule = found
    read: tuple[Any, ...] = (None, None, of_bytes(pending.value), [])
    if schedule is not None:
        headers = [[name, of_bytes(value)] for name, value in schedule.headers]
        read = schedule.topic, of_bytes(schedule.key), of_bytes(schedule.value), headers
    failed: tuple[Any, ...] = (None,) * 5
    if pending.failed is not None:
        attempts, since_ms, next_ms, reason, text = pending.failed
        failed = attempts, iso_time(since_ms), _next_try(next_ms), reason, text
    values = (
        of_bytes(pending.id),
        None if schedule is None else iso_time(pending.due_ms),
        None if schedule is None else pending.due_ms,
        pending.topic,
        pending.partition,
        pending.offset,
        *read,
        *failed,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _exact(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def _cell(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")


def _next_try(next_ms: int) -> str:
    return "at once" if next_ms == 0 else iso_time(next_ms) or f"{next_ms} ms"


def _due(found: Found) -> str:
    if found.schedule is None:
        return "no schedule"
    # What no calendar has is shown as the number it is.
    return iso_time(found.pending.due_ms) or f"{found.pending.due_ms} ms"


def _details(found: Found) -> Iterator[str]:
    pending, schedule = found
    value = pending.value if schedule is None else schedule.value
    lines = [
        ("id", shown(pending.id)),
        ("due", _due(found) if schedule is None else f"{_due(found)} ({pending.due_ms})"),
        ("record", f"{pending.topic}/{pending.partition} offset {pending.offset}"),
    ]
    if pending.failed is not None:
        attempts, since_ms, next_ms, reason, text = pending.failed
        lines += [
            ("failed", f"{attempts} times since {iso_time(since_ms)}: {reason}"),
            ("message", shown(text.encode())),
            ("next try", _next_try(next_ms)),
        ]
    if schedule is not None:
        lines += [
            ("target topic", shown(schedule.topic.encode())),
            ("key", "none" if schedule.key is None else shown(schedule.key)),
            *(
                ("header", f"{shown(name.encode())}={'' if value is None else shown(value)}")
                for name, value in schedule.headers
            ),
        ]
    for name, text in lines:
        yield f"{name + ':':<14}{text}\n"
    if value is None:
        yield "value:        null\n"
    else:
        yield f"value:        {len(value)} bytes\n"
        yield shown(value, keep="\n\t") + "\n"


def _write_failures(found: Iterable[Found]) -> None:
    console, table = _table()
    table.add_column("Id", overflow="fold", min_width=36 if console.width >= 110 else None)
    table.add_column("Target topic", overflow="fold")
    table.add_column("Reason", no_wrap=True)
    table.add_column("Tries", justify="right")
    table.add_column("Next", no_wrap=True)
    table.add_column("Message", overflow="fold")
    table.add_column("Record", overflow="fold")
    for pending, schedule in found:
        if pending.failed is not None:
            attempts, _, next_ms, reason, text = pending.failed
            table.add_row(
                Text(shown(pending.id)),
                Text("" if schedule is None else shown(schedule.topic.encode())),
                reason,
                str(attempts),
                _next_try(next_ms),
                Text(shown(text.encode())),
                _record(pending),
            )
    console.print(table)


def _table() -> tuple[Console, Table]:
    console = Console(highlight=False)
    if console.is_terminal:
        return console, Table(expand=True)
    console.width = _ENDLESS
    return console, Table(box=None, padding=(0, 2, 0, 0))


def _record(pending: Pending) -> str:
    return f"{pending.topic}/{pending.partition}@{pending.offset}"


def _write_table(found: Iterable[Found]) -> None:
    console, table = _table()
    table.add_column("Due", no_wrap=True)
    # In one line, where there is room: ids are there to be copied.
    table.add_column("Id", overflow="fold", min_width=36 if console.width >= 110 else None)
    table.add_column("Target topic", overflow="fold")
    table.add_column("Key", overflow="fold")
    table.add_column("Value", overflow="fold")
    table.add_column("Record", overflow="fold")
    for each in found:
        pending, schedule = each
        value = pending.value if schedule is None else schedule.value
        # Text, not str: nothing of it is markup.
        table.add_row(
            _due(each),
            Text(shown(pending.id)),
            Text("" if schedule is None else shown(schedule.topic.encode())),
            Text("" if schedule is None else _preview(schedule.key or b"")),
            Text("null", style="dim") if value is None else Text(_preview(value)),
            _record(pending),
        )
    console.print(table)


def _preview(data: bytes) -> str:
    text = shown(data[: 4 * _PREVIEW])  # a character has up to four bytes
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"
