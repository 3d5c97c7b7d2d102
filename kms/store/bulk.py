"""Writes many rows in one step each.

In each step of a statement Python lets the interpreter lock go, and getting it back from threads
that fire, or fold, takes longer than writing a row (measured: five times as long). So the rows go
over all at once: their bytes as one blob, and as JSON where each piece lies and what else there is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from kms.schedule import Header, Row
from kms.store.file import OVERTAKEN, PENDING

_PUT = """
INSERT INTO schedules (number, id, offset, due_ms, value, headers, state, record_ms)
SELECT ?1, substr(?2, value ->> 0, value ->> 1), value ->> 2, value ->> 3,
       substr(?2, (value ->> 0) + (value ->> 1), value ->> 4), value ->> 5, value ->> 6, value ->> 7
FROM json_each(?3) WHERE true
ON CONFLICT (number, id) DO UPDATE SET offset = excluded.offset, due_ms = excluded.due_ms,
       value = excluded.value, headers = excluded.headers, state = excluded.state,
       record_ms = excluded.record_ms
"""
_VERSIONS = "(SELECT substr(?2, value ->> 0, value ->> 1), value ->> 2 FROM json_each(?3))"
# What is to be written again must be, or compaction erases it: that is not held back.
_MOVE = f"""
UPDATE schedules SET state = ?4
WHERE number = ?1 AND (id, offset) IN {_VERSIONS} AND NOT state & {OVERTAKEN}
"""
_FORGET_MOVED = f"""
DELETE FROM failures WHERE number = ?1 AND (id, offset) IN {_VERSIONS} AND EXISTS (
    SELECT 1 FROM schedules AS moved
    WHERE moved.number = ?1 AND moved.id = failures.id AND moved.state = ?4
)
"""
_THESE = "number = ?1 AND id IN (SELECT substr(?2, value ->> 0, value ->> 1) FROM json_each(?3))"
# Of a blob without any byte SQLite's substr makes NULL.
_PADDING = b"."


def put(connection: sqlite3.Connection, number: int, rows: Sequence[tuple[bytes, Row]]) -> None:
    """Insert the rows of a partition, or replace those that have their ids."""
    pieces: list[bytes] = []
    found = []
    start = 1
    for schedule_id, (offset, due_ms, value, headers, republish, written_ms) in rows:
        pieces += schedule_id, value
        id_bytes, value_bytes = len(schedule_id), len(value)
        packed = json.dumps(pack_headers(headers)) if headers else "null"
        state = OVERTAKEN if republish else PENDING
        # Written out, which takes half the time of json.dumps.
        found.append(
            f"[{start},{id_bytes},{offset},{due_ms},{value_bytes},{packed},{state},{written_ms}]"
        )
        start += id_bytes + value_bytes
    if found:
        connection.execute(_PUT, (number, b"".join(pieces) + _PADDING, f"[{','.join(found)}]"))


def delete(connection: sqlite3.Connection, number: int, ids: Sequence[bytes]) -> None:
    """Delete the rows of a partition that have these ids."""
    if ids:
        connection.execute(f"DELETE FROM schedules WHERE {_THESE}", _these(number, ids))


def move(
    connection: sqlite3.Connection, number: int, rows: Sequence[tuple[bytes, int]], state: int
) -> None:
    """Set the state of the rows of a partition that have these ids and, still, these offsets.

    Not of those that must be re-published; the failed attempts of the others are forgotten.
    """
    ids, offsets = [row[0] for row in rows], [row[1] for row in rows]
    for statement in (_MOVE, _FORGET_MOVED):
        connection.execute(statement, (*_these(number, ids, offsets), state))


def forget_failures(connection: sqlite3.Connection, number: int, ids: Sequence[bytes]) -> None:
    """Delete the failed attempts under these ids: what failed was replaced or removed."""
    if ids:
        connection.execute(f"DELETE FROM failures WHERE {_THESE}", _these(number, ids))


def pack_headers(headers: tuple[Header, ...]) -> str | None:
    """Headers as JSON with hexadecimal values; None where there are none, as nearly always."""
    if not headers:
        return None
    return json.dumps([[name, value if value is None else value.hex()] for name, value in headers])


def unpack_headers(packed: str | None) -> tuple[Header, ...]:
    """What ``pack_headers`` was given."""
    if packed is None:
        return ()
    return tuple(
        (name, value if value is None else bytes.fromhex(value))
        for name, value in json.loads(packed)
    )


def _these(number: int, ids: Sequence[bytes], *more: Sequence[int]) -> tuple[int, bytes, str]:
    cuts = []
    start = 1
    for schedule_id, *others in zip(ids, *more, strict=True):
        cuts.append((start, len(schedule_id), *others))
        start += len(schedule_id)
    return number, b"".join(ids) + _PADDING, json.dumps(cuts)
