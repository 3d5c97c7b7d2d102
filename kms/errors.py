"""One root exception, and the exit codes that a supervisor can act on."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process's exit status says; listed in the README."""

    OK = 0
    FAILED = 1  # a bug, or a check that did not pass: the log has the traceback or the reason
    USAGE = 2  # a bad setting or argument; click uses 2 as well
    CACHE_IN_USE = 3  # another process holds the cache file
    CACHE = 4  # the cache can't be read or written: disk full, read-only folder
    KAFKA = 5  # Kafka refused for good: authentication, authorisation, unsupported
    FENCED = 6  # another instance with the same identity took over
    TIMED_OUT = 7  # run --timeout: not all that was due could be fired in time


class KmsError(Exception):
    """Root of every error that kms raises on purpose; its text is a sentence for the user.

    ``exit_code`` is what the process ends with when nobody handles the error.
    """

    exit_code = ExitCode.FAILED


class SettingsError(KmsError):
    """A setting is missing or wrong; the text names it and says what is allowed."""

    exit_code = ExitCode.USAGE


class CacheInUseError(KmsError):
    """Another process has the cache file open for writing."""

    exit_code = ExitCode.CACHE_IN_USE


class CacheError(KmsError):
    """The cache file can't be read or written."""

    exit_code = ExitCode.CACHE


class CacheDamagedError(CacheError):
    """The cache file is not what was written; it can be thrown away and rebuilt."""


class TimedOutError(KmsError):
    """A run that was to end by itself could not do its work in the time it was given."""

    exit_code = ExitCode.TIMED_OUT


class FormatError(KmsError):
    """Bytes that are no schedule; the text says why, ``reason`` in a word for metrics."""

    reason = "undecodable"


class BadHeaderError(FormatError):
    """A header that asks for a kind of schedule, and can't be read; the text names it."""

    reason = "bad-header"


class RequestError(KmsError):
    """What a program asks to be scheduled makes no sense; the text says why and what would."""

    exit_code = ExitCode.USAGE


class RegistryAwayError(KmsError):
    """The schema registry has not said yet what is needed; the same call may succeed later."""


class RegistryRefusedError(RegistryAwayError):
    """The schema registry answers, but not us: somebody has to mend a password or a permission."""


class KafkaError(KmsError):
    """Kafka answered with an error that trying again does not heal."""

    exit_code = ExitCode.KAFKA


class RetriableKafkaError(KafkaError):
    """Kafka is out of reach or busy; the same call may succeed later."""


class AbortTransactionError(KafkaError):
    """The running transaction failed and must be aborted; what it held may be tried again."""


class OvertakenError(AbortTransactionError):
    """Something was written under an id that was to be written again; ``claims`` are those."""

    def __init__(self, text: str, claims: Sequence[object]) -> None:
        super().__init__(text)
        self.claims = claims


class BrokenProducerError(KafkaError):
    """The producer and the broker disagree on its transaction; a new producer can go on."""


class CommitInDoubtError(KafkaError):
    """Whether a transaction was committed is not known: who begins anew reads it from the topic."""


class FencedError(KafkaError):
    """Another instance with the same identity took over; this one must end."""

    exit_code = ExitCode.FENCED


REASONS = (
    *("undecodable", "bad-header", "expired", "null-id", "illegal-topic", "illegal-header"),
    *("too-large", "topic-missing", "not-authorised", "no-leader", "unacknowledged", "refused"),
    "registry-away",
    "not-due",
)


class UndeliverableError(KafkaError):
    """This one schedule can't be fired; the others of its batch are not to blame.

    ``reason`` is one of REASONS, for metrics and dead letters; ``permanent`` says that trying
    again heals nothing.
    """

    def __init__(self, text: str, reason: str = "refused", *, permanent: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        self.permanent = permanent
