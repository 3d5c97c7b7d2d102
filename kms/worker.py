"""A thread of the service: the same verbs for all, and a failure that is never lost."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from kms.heartbeat import Heartbeat

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Worker(ABC):
    """One thread: ``start`` it, ``stop`` only signals, ``join`` waits for its end.

    Whatever ends ``run`` with an exception is kept; ``raise_for_error`` raises it in the thread
    that watches. Every wait of a worker is a wait on ``stopping``. ``run`` beats ``heartbeat`` in
    every turn, and where it waits for Kafka: within ten seconds or so, unless something hangs.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopping = threading.Event()
        self.heartbeat = Heartbeat()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def run(self) -> None:
        """The thread's work, until ``stopping`` is set."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self.stopping.set()

    def is_over(self) -> bool:
        """Whether the thread is asked to end; beats, so ask in every turn and long wait."""
        self.heartbeat.beat()
        return self.stopping.is_set()

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread's end; False if it still runs."""
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def raise_for_error(self) -> None:
        """Raise what ended the thread, or RuntimeError if it ended without being asked to."""
        if self._failure is not None:
            raise self._failure
        if self._thread.ident and not self._thread.is_alive() and not self.stopping.is_set():
            raise RuntimeError(f"the {self.name} thread ended by itself")

    def guarded(self, call: Callable[[], T]) -> T | None:
        """Call for a library that swallows errors: an error stops this worker; None then."""
        try:
            return call()
        except BaseException as error:  # noqa: BLE001 - raised by raise_for_error
            self._failure = self._failure or error
            return None

    def _run(self) -> None:
        self.heartbeat.beat()
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001 - raised by raise_for_error
            _log.debug("the %s thread ends", self.name, exc_info=True)
            self._failure = self._failure or error
