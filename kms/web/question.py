"""What ``/schedules?...`` asks for: a wrong question raises a sentence."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from kms import times
from kms.errors import KmsError
from kms.store import Place

DEFAULT_LIMIT, MOST = 100, 1_000
NAMES = ("limit", "target", "topic", "prefix", "after", "before", "failed", "cursor")

_NUMBER = re.compile(r"[0-9]{1,6}")
_CURSOR = re.compile(r"(-?[0-9]{1,19})_([0-9]{1,19})_([0-9]{1,9})")
_LARGEST = 2**63 - 1
_SPACE_FOR_PLUS = re.compile(r"(T.*) (\d\d:?\d\d)$", re.IGNORECASE)


class QuestionError(KmsError):
    """A parameter that makes no sense; the text names it."""


class Question(NamedTuple):
    """Which pending schedules, soonest first; None is any. Times are epoch ms.

    ``topic`` is the schedule topic; ``before_ms`` the first time that is not meant,
    ``start`` the place to go on behind.
    """

    limit: int = DEFAULT_LIMIT
    target: str | None = None
    topic: str | None = None
    prefix: bytes = b""
    before_ms: int | None = None
    failed: bool | None = None
    start: Place | None = None


def asked(query: str) -> Question:
    """The question of a URL's query. Raises QuestionError."""
    found = _parameters(query)
    start = None
    if "after" in found:
        start = Place(_time("after", found["after"]), -1, -1)
    if "cursor" in found:
        start = max(start or _FIRST, _place(_text("cursor", found["cursor"])))
    return Question(
        limit=_limit(_text("limit", found["limit"])) if "limit" in found else DEFAULT_LIMIT,
        target=_text("target", found["target"]) if "target" in found else None,
        topic=_text("topic", found["topic"]) if "topic" in found else None,
        prefix=found.get("prefix", b""),
        before_ms=_time("before", found["before"]) if "before" in found else None,
        failed=_truth("failed", found["failed"]) if "failed" in found else None,
        start=start,
    )


def asked_topic(query: str) -> str | None:
    """The schedule topic, the only parameter of a cancel. Raises QuestionError."""
    found = _parameters(query, ("topic",))
    return _text("topic", found["topic"]) if "topic" in found else None


def cursor(place: Place) -> str:
    """A place as the parameter ``cursor``."""
    return f"{place.due_ms}_{place.offset}_{place.number}"


_FIRST = Place(-_LARGEST - 1, -1, -1)


def _parameters(query: str, names: Collection[str] = NAMES) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, query.split("&")):
        encoded, _, value = part.partition("=")
        name = unquote_to_bytes(encoded).decode(errors="replace")
        if name not in names:
            raise QuestionError(f"{_quoted(name)} is no parameter: there are {', '.join(names)}.")
        if name in found:
            raise QuestionError(f"{name} is there twice: give it once.")
        found[name] = unquote_to_bytes(value.replace("+", " "))
    return found


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise QuestionError(f"{name} is no UTF-8.") from None


def _limit(text: str) -> int:
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= MOST:
        raise QuestionError(f"limit is {_quoted(text)}: give a whole number from 1 to {MOST}.")
    return int(text)


def _truth(name: str, value: bytes) -> bool:
    if value not in (b"true", b"false"):
        raise QuestionError(f"{name} is {_quoted(_text(name, value))}: give true or false.")
    return value == b"true"


def _time(name: str, value: bytes) -> int:
    """A time, or a duration from now on."""
    text = _text(name, value)
    try:
        return times.now_ms() + times.parse_duration(text)
    except ValueError:
        pass
    try:
        # A + that was sent as it is means a space.
        return times.parse_time(_SPACE_FOR_PLUS.sub(r"\1+\2", text))
    except ValueError as error:
        raise QuestionError(f"{name}: {error} Or a duration from now on, like 2h30m.") from None


def _place(text: str) -> Place:
    found = _CURSOR.fullmatch(text)
    if found is None or any(not -_LARGEST <= int(it) + 1 <= _LARGEST for it in found.groups()):
        raise QuestionError(
            f"cursor is {_quoted(text)}: give the next of an answer as it is, or leave it out."
        )
    return Place(*map(int, found.groups()))


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "...")
