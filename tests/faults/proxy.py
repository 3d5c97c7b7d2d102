"""A TCP proxy whose connections can be cut in mid-flight."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading

_CHUNK = 65_536


class Proxy:
    """Forwards 127.0.0.1:``port`` to an address given later; refuses until then.

    ``cut`` resets every connection there is; ``refuse`` also takes no new ones until ``allow``.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._target: tuple[str, int] | None = None
        self._refusing = False
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def forward_to(self, address: str) -> None:
        """Start forwarding."""
        host, port = address.split(":")
        self._target = host, int(port)
        if not self._thread.is_alive():
            self._thread.start()

    def cut(self) -> None:
        """Reset all connections, with whatever is on its way."""
        with self._lock:
            cut, self._sockets = self._sockets, set()
        for each in cut:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Cut, and let nobody in until ``allow``."""
        self._refusing = True
        self.cut()

    def allow(self) -> None:
        """Take connections again."""
        self._refusing = False

    def close(self) -> None:
        """End for good."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self._refusing or self._target is None:
                return
            with socket.create_connection(self._target) as server:
                with self._lock:
                    self._sockets |= {client, server}
                self._pump(client, server)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(_CHUNK)
                    if not data:
                        return
                    sink.sendall(data)
