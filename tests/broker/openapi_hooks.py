"""Loaded by schemathesis: what it can't know of the formats in our document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

# As Python's ISO 8601 has it: years from 1, no leap second, no lower-case t.
schemathesis.openapi.format(
    "date-time", st.datetimes(timezones=st.just(UTC)).map(lambda it: it.isoformat())
)
schemathesis.openapi.format(
    "cron",
    st.sampled_from(["* * * * *", "0 9 * * mon-fri", "*/5 2 29 2 *", "30 0 12 1,15 * 7"]),
)
schemathesis.openapi.format(
    "iana-time-zone", st.sampled_from(["UTC", "Europe/London", "America/New_York"])
)

# The first time has to be before the last one and before it expires, and of what recurs far from
# both ends of all dates: APScheduler's cron begins with 1970.
LATEST_FIRST_MS = datetime(9800, 1, 1, tzinfo=UTC).timestamp() * 1000
EARLIEST_END_MS = datetime(9900, 1, 1, tzinfo=UTC).timestamp() * 1000


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    body = case.body
    if not isinstance(body, dict):
        return True
    recurs = "cron" in body or "every" in body
    first, expires = epoch_ms(body.get("at")), epoch_ms(body.get("expires"))
    if recurs and first is not None and first < 0:
        return False
    until = epoch_ms(body.get("until")) if recurs else None
    ends = [each for each in (expires, until) if each is not None]
    is_last = (recurs or ends) and first is not None and first >= LATEST_FIRST_MS
    return not is_last and all(each > EARLIEST_END_MS for each in ends)


def epoch_ms(value: Any) -> float | None:
    """None of what is no time, for that is to be refused anyway."""
    if isinstance(value, int | float):
        return value
    try:
        return datetime.fromisoformat(value).timestamp() * 1000
    except (TypeError, ValueError, OverflowError):
        return None
