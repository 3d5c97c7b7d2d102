"""What the machine gives the process."""

from __future__ import annotations

import resource

from kms.check.finding import Finding, ok, warning

_FILES = 512  # connections to brokers by several clients, to whoever scrapes, and SQLite's files


def check_files() -> Finding:
    """How many files the process may have open; the service itself may get another limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    subject, found = "open files", f"the limit of this shell is {limit}"
    if limit != resource.RLIM_INFINITY and limit < _FILES:
        return warning(
            *("open-files", subject, found),
            f"Each broker takes some connections: allow {_FILES} or more, by ulimit -n or "
            "LimitNOFILE in the systemd unit.",
        )
    return ok("open-files", subject, found)
