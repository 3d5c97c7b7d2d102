"""A socket as systemd has one: what a service tells it, as it comes in."""

from __future__ import annotations

import socket
import threading
import time
import uuid


class NotifySocket:
    """Listens from the start on; ``name`` is what NOTIFY_SOCKET is to be.

    An abstract socket, unless ``path`` says where it is to lie.
    """

    def __init__(self, path: str = "") -> None:
        self.name = path or f"@kms-{uuid.uuid4().hex}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.name[1:] if self.name.startswith("@") else self.name)
        self._socket.settimeout(0.1)
        self._lock = threading.Lock()
        self._lines: list[tuple[float, str]] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lines(self, since: float = 0.0) -> list[str]:
        """All that came, or what came since then (monotonic)."""
        with self._lock:
            return [line for at, line in self._lines if at >= since]

    def statuses(self) -> list[str]:
        return [line.removeprefix("STATUS=") for line in self.lines() if "STATUS=" in line]

    def times(self, line: str) -> list[float]:
        """When this line came."""
        with self._lock:
            return [at for at, each in self._lines if each == line]

    def close(self) -> None:
        """What was sent until now is read first."""
        self._closing.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                text = self._socket.recv(65_536).decode()
            except TimeoutError:
                if self._closing.is_set():
                    return
                continue
            with self._lock:
                self._lines += [(time.monotonic(), line) for line in text.splitlines()]
