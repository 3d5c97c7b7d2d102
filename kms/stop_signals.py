"""Signals that ask for an end: the first one sets an event, a later one is asked again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

# timeout(1) sends a signal twice, to the process and to its group, which is no wish to end at once.
AGAIN_SECONDS = 0.1
# By which a terminal, or whoever started it, ends a command that somebody looks at.
OF_A_TERMINAL = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


class Asked:
    """What has come so far: the number of the first signal, 0 before."""

    number = 0


@contextmanager
def stopping_on(
    numbers: Sequence[int],
    stopping: threading.Event,
    again: Callable[[int], None],
    *,
    to_the_end: bool = False,
) -> Iterator[Asked]:
    """While inside, the first of these signals sets ``stopping``; ``again`` is called on others.

    Only on those that come later than AGAIN_SECONDS. With ``to_the_end`` none of them does
    anything after a stop: Python takes handlers away while it ends, and one would kill.
    """
    asked, asked_at = Asked(), 0.0
    # A handler may interrupt itself, and whoever holds the event's lock: it must not set that.
    inbox: SimpleQueue[bool] = SimpleQueue()

    def set_it() -> None:
        if inbox.get():
            stopping.set()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal asked_at
        now = time.monotonic()
        if not asked.number:
            asked.number, asked_at = number, now
        elif now - asked_at > AGAIN_SECONDS:
            again(number)
        inbox.put(True)

    setter = threading.Thread(target=set_it, daemon=True)
    setter.start()
    before = {each: signal.signal(each, on_signal) for each in numbers}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_IGN if to_the_end and asked.number else handler)
        inbox.put(False)
        setter.join()
