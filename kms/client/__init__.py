"""For programs that schedule messages: ``from kms.client import ScheduleClient``."""

from kms.client.asked import Asked, Recurring
from kms.client.asynchronous import AsyncScheduleClient
from kms.client.requests import FormatName
from kms.client.synchronous import ScheduleClient
from kms.schedule import Schedule

__all__ = [
    "Asked",
    "AsyncScheduleClient",
    "FormatName",
    "Recurring",
    "Schedule",
    "ScheduleClient",
]
