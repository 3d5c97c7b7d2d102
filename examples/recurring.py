"""A message that is sent again and again, until it is cancelled or has come so many times.

python examples/recurring.py     # the first lines of examples/reminder.py start the rest
"""

from __future__ import annotations

from datetime import timedelta

from kms.client import ScheduleClient

with ScheduleClient("schedules") as schedules:
    schedules.every(1, to="greetings", value="tick", count=3, id="clock")

    # On working days at nine in London, by the clock on the wall there. What nobody was there to
    # send is sent once, late; with missed="none" it is left out.
    schedules.cron(
        "0 9 * * mon-fri",
        to="greetings",
        value="good morning",
        timezone="Europe/London",
        id="morning",
    )
    print(schedules.get("morning"))
    schedules.cancel("morning")  # or it would come for ever

    # What nobody wants any more an hour after it was due; many at once spread over ten minutes.
    schedules.at(
        4_102_444_800_000,
        to="greetings",
        value="offer of the day",
        expires=timedelta(hours=1),
        window=timedelta(minutes=10),
    )
