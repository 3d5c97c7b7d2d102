"""A message that is sent later: in ten seconds, and at a time of the calendar.

export $(./scripts/kafka start) SCHEDULE_TOPICS=schedules && source .venv/bin/activate
python kms.py topics create schedules greetings && python kms.py run &
python examples/reminder.py
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from kms.client import ScheduleClient

# Without a config the client takes kms's own settings: KAFKA_BROKERS, or localhost:9092.
with ScheduleClient("schedules") as schedules:
    soon = schedules.after(10, to="greetings", key="42", value="hello", headers={"kind": "soon"})
    print(f"In ten seconds, as {soon}")

    new_year = datetime(2100, 1, 1, 9, tzinfo=ZoneInfo("Europe/London"))
    schedules.at(new_year, to="greetings", value="a happy new century", id="new-century")
    # The same id again: this one takes the other's place.
    schedules.at(new_year, to="greetings", value="a merry new century", id="new-century")
    print(schedules.get("new-century"))
