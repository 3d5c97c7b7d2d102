"""The HTTP port: whether it can be listened on, and who has it if not."""

from __future__ import annotations

import errno
import http.client
import re
import socket
from contextlib import closing

from kms.check.finding import Finding, error, ok
from kms.settings import Settings

_ASK_SECONDS = 1.0
_BUILD = re.compile(rb'^kms_build_info\{[^}]*version="([^"]*)"', re.MULTILINE)
_OTHER = "Choose another PROMETHEUS_SCRAPING_ENDPOINT_PORT, or 0 for a free one."


def check_port(settings: Settings, holder: int | None) -> Finding:
    """Bind it, without listening; ``holder`` is the process that runs with our cache, if any."""
    address, port = settings.kms_http_address, settings.prometheus_scraping_endpoint_port
    subject = f"HTTP port {address}:{port}"
    try:
        (family, kind, protocol, _, where), *_ = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the service does
            probe.bind(where)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno == errno.EADDRINUSE:
            return _taken(subject, address, port, holder)
        if isinstance(problem, socket.gaierror) or problem.errno == errno.EADDRNOTAVAIL:
            return error(
                *("http-port", subject, reason),
                "KMS_HTTP_ADDRESS must be an address of this machine, or 0.0.0.0 for all of them.",
            )
        return error("http-port", subject, reason, _OTHER)
    return ok("http-port", subject, "free" if port else "a free one will be taken")


def _taken(subject: str, address: str, port: int, holder: int | None) -> Finding:
    version = _kms_at("localhost" if address in ("0.0.0.0", "::") else address, port)
    if version is None:
        return error("http-port", subject, "taken by another program", _OTHER)
    if holder is None:
        found = f"taken by kms {version}, which uses another cache"
        return error("http-port", subject, found, _OTHER)
    return ok("http-port", subject, f"taken by kms {version}, which runs here already")


def _kms_at(host: str, port: int) -> str | None:
    """The version of the kms that answers there, or None."""
    try:
        connection = http.client.HTTPConnection(host, port, timeout=_ASK_SECONDS)
        with closing(connection):
            connection.request("GET", "/metrics")
            found = _BUILD.search(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return None
    return found[1].decode() if found else None
