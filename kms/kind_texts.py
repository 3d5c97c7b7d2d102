"""A kind of schedule in words: what a record's headers ask for, as it is shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from kms import times
from kms.errors import BadHeaderError
from kms.kinds import (
    COUNT,
    CRON,
    EVERY,
    EXPIRES,
    MISSED,
    OCCURRENCE,
    TIMEZONE,
    UNTIL,
    WINDOW,
    recurs,
)
from kms.schedule import Header

_PREFIX = "kms-"
_OWN_NAME = re.compile(rf"(the header )?{_PREFIX}(?=[a-z])")
_SHOWN = (EVERY, CRON, TIMEZONE, UNTIL, COUNT, MISSED, WINDOW, EXPIRES)
_AT_A_GLANCE = ("every", "cron", "window", "expires")


def name_of(header: str) -> str:
    """What it is called where there is no need to say whose it is: ``every`` of ``kms-every``."""
    return header.removeprefix(_PREFIX)


NAMES = tuple(name_of(header) for header in (*_SHOWN, OCCURRENCE))


def texts_of(headers: Sequence[Header]) -> dict[str, str]:
    """What they ask for, by NAMES, as it is written, right or wrong; empty for nothing.

    Of what recurs ``occurrence`` says how often it was fired.
    """
    found = dict(headers)
    texts = {name_of(it): _text(found[it]) for it in _SHOWN if it in found}
    if recurs(headers):
        texts[name_of(OCCURRENCE)] = _text(found.get(OCCURRENCE, b"0"))
    return texts


def mark_of(headers: Sequence[Header]) -> str:
    """The most important of it, for one line: ``every 5m, window 10m``."""
    texts = texts_of(headers)
    return ", ".join(f"{it} {with_date(texts[it])}" for it in _AT_A_GLANCE if it in texts)


def with_date(text: str) -> str:
    """ISO 8601 of what is written as milliseconds since 1970; another text as it is."""
    if text.isdigit():
        with suppress(ValueError):
            return times.iso_time(times.parse_time(text)) or text
    return text


def own_words(error: BadHeaderError, before: str = "") -> str:
    """What it says to somebody who wrote no header: ``before`` is what those names begin with."""
    return _OWN_NAME.sub(before, str(error))


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="backslashreplace")
