"""Loaded by schemathesis: what it can't know of the formats in our document."""

from __future__ import annotations

from datetime import UTC

import schemathesis
from hypothesis import strategies as st

# As Python's ISO 8601 has it: years from 1, no leap second, no lower-case t.
schemathesis.openapi.format(
    "date-time", st.datetimes(timezones=st.just(UTC)).map(lambda it: it.isoformat())
)
