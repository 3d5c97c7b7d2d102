"""What a check found: one line for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple


class Level(Enum):
    """How bad it is; SKIPPED is what could not be looked at, and says why."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """One thing looked at: its ``subject``, what was ``found``, and what to do about it.

    ``found`` begins no sentence and ends without a full stop; ``advice`` is whole sentences, and
    there is one for every warning and error. ``check`` is a word for programs that stays the same.
    """

    level: Level
    check: str
    subject: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        text = f"{self.subject}: {self.level.value}: {self.found}"
        return f"{text}. {self.advice}" if self.advice else text


def ok(check: str, subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, check, subject, found)


def skipped(check: str, subject: str, why: str, advice: str = "") -> Finding:
    """Nobody can tell, or nobody asked."""
    return Finding(Level.SKIPPED, check, subject, why, advice)


def warning(check: str, subject: str, found: str, advice: str) -> Finding:
    """kms runs, but worse than it could."""
    return Finding(Level.WARNING, check, subject, found, advice)


def error(check: str, subject: str, found: str, advice: str) -> Finding:
    """kms does not start, or loses or doubles schedules."""
    return Finding(Level.ERROR, check, subject, found, advice)


def has_error(findings: Iterable[Finding]) -> bool:
    """Whether any of them is an error."""
    return any(finding.level is Level.ERROR for finding in findings)


def counted(number: int, noun: str) -> str:
    """A number of things as part of a sentence."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(things: Iterable[object], most: int = 10) -> str:
    """The first of many as part of a sentence."""
    texts = [str(each) for each in things]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
