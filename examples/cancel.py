"""A reminder that is no longer wanted: the order was paid before it was due.

python examples/cancel.py        # the first lines of examples/reminder.py start the rest
"""

from __future__ import annotations

from datetime import timedelta

from kms.client import ScheduleClient

with ScheduleClient("schedules") as schedules:
    # An id of one's own needs no book-keeping: whoever knows the order knows its schedule.
    schedules.after(timedelta(days=3), to="greetings", value="please pay", id="unpaid-1001")
    print("pending:", schedules.get("unpaid-1001"))
    schedules.cancel("unpaid-1001")
    print("after the cancel:", schedules.get("unpaid-1001"))
