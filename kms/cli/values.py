"""Arguments as typed -> values: a wrong one is refused by its option's name, with a sentence.

Texts become the bytes that were typed, also where those are no UTF-8.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import typer

from kms import times
from kms.texts import shown as shown
from kms.topics import check_topic_name

# What every command that talks to Kafka offers as flags.
CONNECTION = ("kafka_brokers", "security_protocol")


def at_ms(text: str) -> int:
    """A time, in epoch milliseconds."""
    try:
        return times.parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def in_ms(text: str) -> int:
    """A duration, in milliseconds."""
    try:
        return times.parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def before_ms(text: str) -> int:
    """A time, or a duration from now on, in epoch milliseconds."""
    try:
        return times.now_ms() + times.parse_duration(text)
    except ValueError:
        return at_ms(text)


def topic(text: str) -> str:
    """The name of a topic."""
    try:
        return check_topic_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def schedule_id(text: str) -> bytes:
    """The id of a schedule."""
    if not text:
        raise typer.BadParameter("a schedule id has at least one character.")
    return os.fsencode(text)


class HeaderArgument(NamedTuple):
    """A header of a message; typer takes a bare tuple for several values."""

    name: str
    value: bytes


def header(text: str) -> HeaderArgument:
    """A header as name=value."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text[:60]!r} is no header: give name=value.")
    return HeaderArgument(name, os.fsencode(value))
