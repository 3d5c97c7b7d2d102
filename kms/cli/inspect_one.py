"""``inspect ID``: one schedule with all it has, as text, JSON or hexadecimal as fits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kms import times
from kms.cli.found import Found, due_text, next_try_text
from kms.cli.values import shown
from kms.kind_texts import texts_of, with_date
from kms.refold import Told
from kms.schedule import Change, Header

_HEX_BYTES = 16  # a line
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]+')
_DID = {
    Change.SCHEDULED: "scheduled",
    Change.UNREADABLE: "written, but it is no schedule",
    Change.CANCELLED: "cancelled",
    Change.FIRED: "fired",
    Change.OVERTAKEN: "fired in an older version; the newer one is to be written again",
    Change.NOTHING: "a null value, though nothing was pending",
}
_LARGEST_JSON = 1_000_000  # characters


def details(found: Found) -> Iterator[str]:
    """The lines, with their ends."""
    pending, schedule, history, away, paused = found
    value = pending.value if schedule is None else schedule.value
    lines = [
        ("id", shown(pending.id)),
        ("due", due_text(found)),
        ("record", f"{pending.topic}/{pending.partition} offset {pending.offset}"),
    ]
    if schedule is not None or (away is not None and pending.due_ms):
        lines[1:2] = [("due", f"{due_text(found)} ({pending.due_ms})"), _until(pending.due_ms)]
    lines += _kind(pending.headers)
    if away is not None:
        lines.append(("not read", shown(away.encode())))
    if paused:
        lines.append(("paused", "its target topic is, so it waits"))
    if pending.failed is not None:
        attempts, since_ms, next_ms, reason, text = pending.failed
        lines += [
            ("failed", f"{attempts} times since {times.iso_time(since_ms)}: {reason}"),
            ("message", shown(text.encode())),
            ("next try", next_try_text(next_ms)),
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
    yield from (f"{name + ':':<14}{text}\n" for name, text in lines)
    if value is None:
        yield "value:        null\n"
    else:
        kind, text = readable(value)
        yield f"value:        {len(value)} bytes{kind}\n"
        yield f"{text}\n"
    yield from history_lines(history or ())


def history_lines(history: Sequence[Told]) -> Iterator[str]:
    """What the records did that are still on the topic, one a line."""
    if history:
        yield "history, as far as compaction left it:\n"
    for told in history:
        when = times.iso_time(told.timestamp_ms) or f"{told.timestamp_ms} ms"
        due = "" if told.due_ms is None else f" for {times.iso_time(told.due_ms) or told.due_ms}"
        yield f"  {when}  {told.where} offset {told.offset}: {_did(told)}{due}\n"


def _did(told: Told) -> str:
    return "written; its schema could not be had" if told.away else _DID[told.change]


def history_fields(history: Sequence[Told]) -> list[dict[str, Any]]:
    """The same for JSON."""
    return [
        {
            "offset": told.offset,
            "written": times.iso_time(told.timestamp_ms),
            "change": "unknown" if told.away else told.change.value,
            "due_ms": told.due_ms,
        }
        for told in history
    ]


def readable(value: bytes) -> tuple[str, str]:
    """What the bytes are, and all of them as lines: JSON indented, text as it is, else hex.

    JSON that is written in several lines already stays as it is.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return ", no text", "\n".join(_hex_lines(value))
    pretty = _pretty(text) if text[:1] in ("{", "[") and "\n" not in text else None
    if pretty is not None:
        return " of JSON", shown(pretty.encode(), keep="\n")
    return "", shown(value, keep="\n\t")


def _kind(headers: Sequence[Header]) -> Iterator[tuple[str, str]]:
    texts = texts_of(headers)
    fired = texts.pop("occurrence", None)
    for name, text in texts.items():
        date = with_date(text) if name in ("until", "expires") else text
        yield name, shown((text if date == text else f"{date} ({text})").encode())
    if fired is not None:
        yield "fired", f"{shown(fired.encode())} so far"


def _until(due_ms: int) -> tuple[str, str]:
    left_ms = due_ms - times.now_ms()
    seconds, sign = abs(left_ms) // 1000, left_ms >= 0
    text = times.duration_text(seconds * 1000 if seconds else abs(left_ms))
    return ("due in" if sign else "overdue by"), text


def _pretty(text: str) -> str | None:
    """The same JSON over several lines; None if it is none, or would not be the same text."""
    if len(text) > _LARGEST_JSON:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    # Numbers like 1.10, names given twice and escapes would come out otherwise than they went in.
    packed = "".join(_TOKENS.findall(text))
    for ascii_only in (False, True):
        if packed == json.dumps(found, separators=(",", ":"), ensure_ascii=ascii_only):
            return json.dumps(found, indent=2, ensure_ascii=ascii_only)
    return None


def _hex_lines(value: bytes) -> Iterator[str]:
    for start in range(0, len(value), _HEX_BYTES):
        row = value[start : start + _HEX_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{3 * _HEX_BYTES}} {text}"
