"""What systemd is told of a service of ``Type=notify``: ready, status, alive, stopping.

A datagram with lines of NAME=VALUE, see sd_notify(3). The libraries for it have not been kept for
years, or want a compiler; it is one system call.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from kms.figures import ConsumerFigures, ProducerFigures
from kms.web.health import Health

# A start is given up after that long without progress; TimeoutStartSec of the unit is the same.
START_SECONDS = 300
_STATUS_SECONDS = 1.0
_EXTEND_SECONDS = 5.0


class Systemd:
    """Tells the systemd that ``environment`` names, or nobody; safe to call as often as one likes.

    The watchdog is fed only by ``waits`` and ``turns``, at half of the time that systemd gives,
    and never while a thread hangs: systemd restarts the service then. No call waits or raises.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        self._feed_seconds = _watchdog_seconds(environment) / 2
        self._fed_at = self._said_at = self._extended_at = float("-inf")
        self._said = ""
        self._ready = False
        self._progress = (0, 0)

    def waits(self, text: str) -> None:
        """The service waits for what is not there yet, and looks now and then."""
        self._say(text)
        self._feed()

    def turns(
        self, live: Health, ready: Health, consumer: ConsumerFigures, producer: ProducerFigures
    ) -> None:
        """The service's loop turns: it is ready once it may fire what it is to fire.

        While it loads, systemd's patience is extended as long as there is progress.
        """
        if ready.good and not self._ready:
            self._ready = self._send("READY=1")
        if not self._ready:
            self._extend((consumer.caught_up, consumer.loaded))
        self._say(status(live, ready, consumer, producer))
        if live.good:
            self._feed()

    def stops(self) -> None:
        """The service stops because it was asked to, or because its work is done."""
        self._send(
            "STOPPING=1\nSTATUS=Stopping: the running transaction ends, partitions are left."
        )

    def _say(self, text: str) -> None:
        now = time.monotonic()
        if text != self._said and now - self._said_at >= _STATUS_SECONDS:
            self._said, self._said_at = text, now
            self._send(f"STATUS={' '.join(text.split())}")

    def _feed(self) -> None:
        now = time.monotonic()
        if self._feed_seconds and now - self._fed_at >= self._feed_seconds:
            self._fed_at = now
            self._send("WATCHDOG=1")

    def _extend(self, progress: tuple[int, int]) -> None:
        now = time.monotonic()
        if progress != self._progress and now - self._extended_at >= _EXTEND_SECONDS:
            self._progress, self._extended_at = progress, now
            self._send(f"EXTEND_TIMEOUT_USEC={START_SECONDS * 1_000_000}")

    def _send(self, text: str) -> bool:
        if not self._address:
            return False
        # A systemd that is gone, or whose queue is full, must not hold the service up.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.sendto(text.encode(), self._address)
            return True
        return False


def status(
    live: Health, ready: Health, consumer: ConsumerFigures, producer: ProducerFigures
) -> str:
    """What ``systemctl status`` shows: what the service does, in one line."""
    if not live.good:
        return live.why
    assigned, caught_up = consumer.assigned, consumer.caught_up
    if assigned > caught_up:
        loaded, left = consumer.loaded, consumer.left_to_load
        return (
            f"Loading: {loaded} of {loaded + left} offsets; {caught_up} of {assigned} partitions "
            "fire."
        )
    if assigned and ready.good:
        fired = sum(producer.fired.copy().values())
        return f"Firing: {assigned} partitions; {fired} schedules fired since the start."
    return ready.why


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """0 where nobody watches, or watches another process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(environment.get("WATCHDOG_USEC", "0")) / 1_000_000
    except ValueError:
        return 0.0
