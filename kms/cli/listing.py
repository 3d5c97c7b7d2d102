"""Pending schedules as a table, as lines of JSON or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from kms.cli import tables
from kms.cli.found import Found, due_text, next_try_text
from kms.cli.inspect_one import details, history_fields, history_lines
from kms.cli.values import shown
from kms.kind_texts import mark_of, texts_of
from kms.refold import Told
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
_CSV_COLUMNS = (*_COLUMNS, "kind")  # new ones come last, for those who count them
_PREVIEW = 40  # characters of a key or value in the table


def write(layout: Layout, found: Iterable[Found], *, whole: bool, failed: bool = False) -> None:
    """Write to stdout, in the order given; ``whole`` shows every byte also in a table.

    ``failed`` is for schedules that failed: a table of why. JSON and CSV are written as they come,
    so any number will do.
    """
    if layout == "json":
        for each in found:
            fields = _fields(each, exact)
            if kind := texts_of(each.pending.headers):
                fields["kind"] = kind
            if each.paused:
                fields["paused"] = True
            if each.history is not None:
                fields["history"] = history_fields(each.history)
            if each.away is not None:
                fields["not_read"] = each.away
            sys.stdout.write(_json(fields))
    elif layout == "csv":
        writer = csv.DictWriter(sys.stdout, _CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for each in found:
            fields = _fields(each, _cell)
            kind = texts_of(each.pending.headers)
            more = {"headers": json.dumps(fields["headers"])}
            writer.writerow(fields | more | {"kind": json.dumps(kind) if kind else None})
    elif whole:
        for number, each in enumerate(found):
            sys.stdout.write("\n" if number else "")
            sys.stdout.writelines(details(each))
    elif failed:
        _write_failures(found)
    else:
        _write_table(found)


def write_ended(layout: Layout, schedule_id: bytes, history: Sequence[Told]) -> None:
    """Write what is known of an id that is not pending in the partition of this history."""
    if layout == "json":
        where = history[0].where
        names = {"schedule_topic": where.topic, "partition": where.partition}
        fields = {"id": exact(schedule_id), **names, "history": history_fields(history)}
        sys.stdout.write(_json(fields))
    elif layout == "table":
        sys.stdout.writelines(history_lines(history))


def exact(data: bytes | None) -> str | dict[str, str] | None:
    """Bytes for JSON: a text where they are UTF-8, else an object with them as hex."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":")) + "\n"


def _fields(found: Found, of_bytes: Any) -> dict[str, Any]:
    pending, schedule, _, away, _ = found
    read: tuple[Any, ...] = (None, None, of_bytes(pending.value), [])
    if schedule is not None:
        headers = [[name, of_bytes(value)] for name, value in schedule.headers]
        read = schedule.topic, of_bytes(schedule.key), of_bytes(schedule.value), headers
    has_due = schedule is not None or (away is not None and pending.due_ms != 0)
    failed: tuple[Any, ...] = (None,) * 5
    if pending.failed is not None:
        attempts, since_ms, next_ms, reason, text = pending.failed
        failed = attempts, iso_time(since_ms), next_try_text(next_ms), reason, text
    values = (
        of_bytes(pending.id),
        iso_time(pending.due_ms) if has_due else None,
        pending.due_ms if has_due else None,
        pending.topic,
        pending.partition,
        pending.offset,
        *read,
        *failed,
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _cell(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")


def _write_failures(found: Iterable[Found]) -> None:
    columns = ("Id", "Target topic", "Reason", "Tries", "Next", "Message", "Record")
    rows = (
        (
            shown(pending.id),
            "" if schedule is None else shown(schedule.topic.encode()),
            pending.failed.reason,
            str(pending.failed.attempts),
            next_try_text(pending.failed.next_ms),
            shown(pending.failed.text.encode()),
            _record(pending),
        )
        for pending, schedule, *_ in found
        if pending.failed is not None
    )
    tables.write(columns, rows, one_line=("Reason", "Next"), wide=("Id",), right=("Tries",))


def _record(pending: Pending) -> str:
    return f"{pending.topic}/{pending.partition}@{pending.offset}"


def _write_table(found: Iterable[Found]) -> None:
    columns = ("Due", "Id", "Target topic", "Key", "Value", "Record", "Kind")
    cut = _preview if tables.is_terminal() else shown
    rows = (
        (
            due_text(each),
            shown(each.pending.id),
            "" if each.schedule is None else shown(each.schedule.topic.encode()),
            "" if each.schedule is None else cut(each.schedule.key or b""),
            _value_cell(each, cut),
            _record(each.pending),
            cut(mark_of(each.pending.headers).encode()),
        )
        for each in found
    )
    tables.write(columns, rows, one_line=("Due",), wide=("Id",), spare=("Kind",))


def _value_cell(found: Found, cut: Callable[[bytes], str]) -> str:
    if found.away is not None:
        return "(not read: its schema could not be had)"
    value = found.pending.value if found.schedule is None else found.schedule.value
    return "null" if value is None else cut(value)


def _preview(data: bytes) -> str:
    text = shown(data[: 4 * _PREVIEW])  # a character has up to four bytes
    return text if len(text) <= _PREVIEW else text[: _PREVIEW - 1] + "…"
