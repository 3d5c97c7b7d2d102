"""The limits: bare loops of the same libraries, with nothing of kms, as a process of their own.

``python bare.py ingest|fire|start`` takes its order as one line of JSON on stdin, and answers with
lines of JSON. Its clients get the very properties that those of kms have.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import confluent_kafka as ck
from fastavro import parse_schema, schemaless_reader

_INGEST_ROWS = 50_000  # a SQLite transaction: measured to be the fastest
_LIMIT = 5_000
_FIRE_ROWS = 5_000  # a Kafka transaction, as in kms

_TABLES = """
CREATE TABLE rows (id BLOB NOT NULL UNIQUE, offset INTEGER, due_ms INTEGER, value BLOB);
CREATE INDEX rows_due ON rows (due_ms, offset);
"""
_PUT = (
    "INSERT INTO rows VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " offset = excluded.offset, due_ms = excluded.due_ms, value = excluded.value"
)
_TAKE = (
    "SELECT id, offset, due_ms, value FROM rows"
    " WHERE (due_ms, offset) > (?, ?) AND due_ms <= ? ORDER BY due_ms, offset LIMIT ?"
)

Order = dict[str, Any]
Headers = list[tuple[str, str | bytes | None]]


def ingest(order: Order) -> None:
    """Consume and decode ``count`` schedules of a partition into SQLite."""
    database = _open(order)
    consumer = ck.Consumer(order["reader"])
    schema = parse_schema(order["schema"])
    consumer.assign([ck.TopicPartition(order["topic"], 0, 0)])
    rows: dict[bytes | None, tuple[Any, ...]] = {}
    left = order["count"]
    messages = _first(consumer)
    started = time.monotonic()  # connected, as kms is when it is measured
    while left:
        for message in messages:
            value = message.value()
            if message.error() is None and value is not None:
                found: Any = schemaless_reader(BytesIO(value), schema, None)
                rows[message.key()] = (message.key(), message.offset(), found["time"], value)
                left -= 1
        if len(rows) >= _INGEST_ROWS or not left:
            _write(database, rows)
            rows = {}
        messages = consumer.consume(min(_LIMIT, left), 1.0) if left else []
    seconds = time.monotonic() - started
    _answer(seconds=seconds)
    consumer.close()
    database.close()


def fire(order: Order) -> None:
    """Fire what ``ingest`` has stored, each when it is due, ``shift_ms`` later than it says."""
    database = _open(order)
    producer = ck.Producer(order["writer"])
    producer.init_transactions(30)
    schema = parse_schema(order["schema"])
    _answer(ready=True)
    shift_ms = json.loads(sys.stdin.readline())["shift_ms"]
    started_ms = time.time_ns() // 1_000_000
    due_ms, offset, left = -1, -1, order["count"]
    while left:
        until_ms = time.time_ns() // 1_000_000 - shift_ms
        rows = database.execute(_TAKE, (due_ms, offset, until_ms, _FIRE_ROWS)).fetchall()
        if not rows:
            _sleep_until_next(database, due_ms, offset, shift_ms)
            continue
        producer.begin_transaction()
        for row in rows:
            _produce(producer, order, schema, row)
        producer.commit_transaction(30)
        _, offset, due_ms, _ = rows[-1]
        left -= len(rows)
    _answer(started_ms=started_ms)


def start(order: Order) -> None:
    """Join a group, take one record and fire it: what a start of kms can't do without."""
    consumer = ck.Consumer(order["reader"])  # it connects while the others are imported
    import apscheduler.schedulers.blocking  # noqa: F401 - the time it takes is measured
    import prometheus_client  # noqa: F401
    import pydantic_settings  # noqa: F401
    import typer  # noqa: F401

    imported_ms = time.time_ns() / 1e6
    joined: list[float] = []

    def assigned(client: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        joined.append(time.time_ns() / 1e6)
        client.incremental_assign(
            [ck.TopicPartition(each.topic, each.partition, order["offset"]) for each in partitions]
        )

    consumer.subscribe([order["topic"]], on_assign=assigned)  # it joins while the producer starts
    producer = ck.Producer(order["writer"])
    producer.init_transactions(30)
    schema = parse_schema(order["schema"])
    (message,) = _first(consumer)
    producer.begin_transaction()
    row = (message.key(), message.offset(), 0, message.value())
    _produce(producer, order, schema, row)
    producer.commit_transaction(30)
    _answer(imported_ms=imported_ms, joined_ms=joined[0])
    consumer.close()


def _first(consumer: ck.Consumer) -> list[ck.Message]:
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            return [message]


def _produce(producer: ck.Producer, order: Order, schema: Any, row: tuple[Any, ...]) -> None:
    schedule_id, offset, _, value = row
    found: Any = schemaless_reader(BytesIO(value), schema, None)
    tombstone_headers: Headers = [
        ("schedule:expired", b"true"),
        ("kms-fired-offset", b"%d" % offset),
        ("kms-fired-topic", b"0123456789012345678901"),
    ]
    message_headers: Headers = list(found["headers"].items())
    for topic, key, sent, headers in (
        (order["target"], found["key"], found["value"], message_headers),
        (order["tombstones"], schedule_id, None, tombstone_headers),
    ):
        while True:
            try:
                producer.produce(topic, sent, key, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)


def _sleep_until_next(
    database: sqlite3.Connection, due_ms: int, offset: int, shift_ms: int
) -> None:
    found = database.execute(_TAKE, (due_ms, offset, 2**62, 1)).fetchone()
    if found is not None:
        time.sleep(max(found[2] + shift_ms - time.time_ns() / 1e6, 0.0) / 1000)


def _open(order: Order) -> sqlite3.Connection:
    database = sqlite3.connect(order["path"], isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA cache_size = -65536")
    if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
        database.executescript(_TABLES)
    return database


def _write(database: sqlite3.Connection, rows: dict[bytes | None, tuple[Any, ...]]) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.executemany(_PUT, rows.values())
    database.execute("COMMIT")


def _answer(**values: object) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    values["cpu_seconds"] = used.ru_utime + used.ru_stime
    # Not ru_maxrss: that begins with what our parent had.
    status = Path("/proc/self/status").read_text()
    values["peak_mb"] = int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    {"ingest": ingest, "fire": fire, "start": start}[sys.argv[1]](json.loads(sys.stdin.readline()))
