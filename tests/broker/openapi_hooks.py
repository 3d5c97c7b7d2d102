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

# Of what recurs, the first time has to be before the last one, and far from both ends of all
# dates: APScheduler's cron begins with 1970.
LATEST_FIRST_MS = datetime(9800, 1, 1, tzinfo=UTC).timestamp() * 1000
EARLIEST_UNTIL_MS = datetime(9900, 1, 1, tzinfo=UTC).timestamp() * 1000


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    body = case.body
    if not isinstance(body, dict) or not ("cron" in body or "every" in body):
        return True
    first, last = epoch_ms(body.get("at")), epoch_ms(body.get("until"))
    return (first is None or 0 <= first < LATEST_FIRST_MS) and (
        last is None or last > EARLIEST_UNTIL_MS
    )


def epoch_ms(value: Any) -> float | None:
    """None of what is no time, for that is to be refused anyway."""
    if isinstance(value, int | float):
        return value
    try:
        return datetime.fromisoformat(value).timestamp() * 1000
    except (TypeError, ValueError, OverflowError):
        return None
