"""Calls into librdkafka that are given up if they don't come back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from kms.errors import BrokenProducerError

_GRACE_SECONDS = 3.0


class BoundedCalls:
    """Runs calls one after the other in a thread of its own, which is left behind if one hangs.

    Seen with librdkafka 2.16: rd_kafka_send_offsets_to_transaction waits for ever, whatever its
    timeout, if the broker goes away at the wrong moment. It can't be interrupted, only left.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], None], SimpleQueue[BaseException | None]]]
        self._calls = SimpleQueue()
        # A daemon: a process that ends does not wait for a call that hangs.
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, doing: str, function: Callable[[float], None], seconds: float) -> None:
        """Call ``function(seconds)``; raises what it raises.

        Raises BrokenProducerError if it is not back a few seconds after its own timeout.
        """
        answer: SimpleQueue[BaseException | None] = SimpleQueue()
        self._calls.put((lambda: function(seconds), answer))
        try:
            error = answer.get(timeout=seconds + _GRACE_SECONDS)
        except Empty:
            raise BrokenProducerError(
                f"{doing} failed: librdkafka did not come back from a call of {seconds:.0f} s"
            ) from None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            function, answer = self._calls.get()
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - raised by call
                answer.put(error)
            else:
                answer.put(None)
            del function, answer  # what they hold must not live until the next call
