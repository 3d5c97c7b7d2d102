"""The HTTP port as the settings want it."""

from __future__ import annotations

import errno
import socket

from kms.errors import SettingsError
from kms.http_port import NO_CHANGES, Changes, HttpPort, Pages
from kms.settings import Settings


class WebServer:
    """Serves ``pages`` and ``changes`` until ``stop``; ``port`` is the one it really listens on.

    ``url`` is where people find it, without a path. Raises SettingsError if the port is taken, or
    the address is not one of this machine.
    """

    def __init__(self, settings: Settings, pages: Pages, changes: Changes = NO_CHANGES) -> None:
        address, port = settings.kms_http_address, settings.prometheus_scraping_endpoint_port
        try:
            self._http = HttpPort(address, port, pages, changes)
        except OSError as error:
            reason = error.strerror or error
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise SettingsError(
                    f"KMS_HTTP_ADDRESS {address} can't be listened on: {reason}. It must be an "
                    "address of this machine, or 0.0.0.0 for all of them."
                ) from error
            raise SettingsError(
                f"PROMETHEUS_SCRAPING_ENDPOINT_PORT {port} can't be listened on: {reason}. "
                "Choose another port, or 0 for a free one."
            ) from error
        self.port = self._http.port
        host = "localhost" if address in ("0.0.0.0", "::") else address
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def stop(self) -> None:
        """Stop listening."""
        self._http.stop()
