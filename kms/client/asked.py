"""What a program can ask for: the keywords of ``at``, ``after``, ``every`` and ``cron``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, Required, TypedDict, TypeVar, cast
from zoneinfo import ZoneInfo

from kms.client.values import Text, When
from kms.errors import RequestError


class Asked(TypedDict, total=False):
    """The message, and the id of its schedule; None is as good as nothing.

    ``to`` is the target topic. Without ``value`` it is null; without ``key`` the key is empty, or,
    where the format is ``headers``, there is none. ``id`` is the schedule's, a new UUID by default:
    what is pending under it is replaced. After ``expires``, a time or a timedelta after it is due,
    it is no longer sent. ``window`` (timedelta, or seconds) spreads many over the time after.
    """

    to: Required[str]
    key: Text | None
    value: Text | None
    headers: Mapping[str, Text] | None
    id: str | None
    expires: When | timedelta | None
    window: timedelta | float | None


class Recurring(Asked, total=False):
    """A message that is sent again and again: until a time, or so many times.

    ``first`` is the time before which none is sent, ``timezone`` a ZoneInfo or an IANA name like
    Europe/London, for the cron expression. ``missed`` says how many of the occurrences that nobody
    was there to fire are made up for.
    """

    first: When | None
    until: When | None
    count: int | None
    timezone: str | ZoneInfo | None
    missed: Literal["all", "one", "none"] | None


_Fields = TypeVar("_Fields", Asked, Recurring)


def given(call: str, asked: _Fields, fields: type[_Fields]) -> _Fields:
    """What is asked of a call, without what is None. Raises RequestError.

    A type checker says the same sooner; Python itself does not look at what it unpacks.
    """
    names = fields.__annotations__
    for name in asked:
        if name in names:
            continue
        if name in Recurring.__annotations__:
            raise RequestError(f"{name} is for every and cron: {call} sends it once.")
        raise RequestError(f"{name} is no keyword of {call}: there are {', '.join(names)}.")
    if asked.get("to") is None:
        raise RequestError("to is missing: the topic to send the message to.")
    return cast(_Fields, {name: each for name, each in asked.items() if each is not None})
