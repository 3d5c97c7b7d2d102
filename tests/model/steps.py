"""Threads that take turns: one runs at a time, from pause to pause, as the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable

SECOND_MS = 1_000
HOUR_MS = 3_600_000


class Killed(BaseException):
    """Raised at a pause of a thread that is to end there, as by kill -9."""


class Stepper:
    """A thread that runs only inside ``step``, and stops where its code calls ``pause``.

    ``over`` says whether it ended; what its code raises is raised by ``step``.
    """

    running: Stepper | None = None  # whose turn it is

    def __init__(self, body: Callable[[], None]) -> None:
        self.over = False
        self._body = body
        self._pauses: int | None = 0  # to run through before the next stop
        self._carrier: _Carrier | None = None
        self._error: BaseException | None = None
        self._killed = False

    def step(self, pauses: int | None) -> None:
        """Run on until that many pauses were reached, or with None to the next ``rest``.

        A rest is reached in any case.
        """
        if self.over:
            return
        if self._carrier is None:
            self._carrier = _Carrier.idle.pop() if _Carrier.idle else _Carrier()
        self._pauses = pauses
        Stepper.running = self
        self._carrier.carry(self)
        Stepper.running = None
        if self._error is not None:
            raise self._error

    def kill(self) -> None:
        """End the thread where it stopped."""
        if self._carrier is not None and not self.over:
            self._killed = True
            self._carrier.carry(self)
        self.over = True

    def pause(self, *, rest: bool) -> None:
        """For the functions below: stop here, if it is time to."""
        if self._pauses is not None:
            self._pauses -= 1
        if self._carrier is not None and (rest or self._pauses == 0):
            self._carrier.wait()
        if self._killed:
            raise Killed

    def run(self) -> None:
        """For the carrier: the thread's body, to its end."""
        try:
            self._body()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by step
            self._error = error
        self.over = True


def pause() -> None:
    """Others may come in between here."""
    if Stepper.running is not None:
        Stepper.running.pause(rest=False)


def rest() -> None:
    """Nothing is left to do here but to wait for something, or to begin anew."""
    if Stepper.running is not None:
        Stepper.running.pause(rest=True)


class _Carrier:
    """A thread of the system, for one Stepper after the other: to start one takes long."""

    idle: list[_Carrier] = []  # noqa: RUF012 - shared on purpose

    def __init__(self) -> None:
        self._turn, self._back = threading.Lock(), threading.Lock()
        self._turn.acquire()
        self._back.acquire()
        self._carried: Stepper | None = None
        threading.Thread(target=self._work, name="model", daemon=True).start()

    def carry(self, stepper: Stepper) -> None:
        """Let it run, and wait until it stops or ends."""
        self._carried = stepper
        self._turn.release()
        self._back.acquire()

    def wait(self) -> None:
        """Called by what is carried: stop, until it is carried on."""
        self._back.release()
        self._turn.acquire()

    def _work(self) -> None:
        while True:
            self._turn.acquire()
            assert self._carried is not None
            self._carried.run()
            _Carrier.idle.append(self)
            self._back.release()


class Clock:
    """The one clock of a world; stands in for the module ``time`` in the service's code."""

    def __init__(self) -> None:
        self.now_ms = 0

    def time_ns(self) -> int:
        """The wall clock."""
        return self.now_ms * 1_000_000

    def time(self) -> float:
        """The wall clock, in seconds."""
        return self.now_ms / SECOND_MS

    def monotonic(self) -> float:
        """The clock that never jumps."""
        return self.now_ms / SECOND_MS
