"""How long a client can be used, and where."""

from __future__ import annotations

import os

from kms.errors import KmsError


class Life:
    """From the making of a client to its end, in the process that made it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._is_over = False

    def check(self) -> None:
        """Raises KmsError where nobody would answer any more."""
        if os.getpid() != self._process:
            raise KmsError(
                "This client was made before the process forked, and the threads that it needs "
                "stayed behind: make one in each process."
            )
        if self._is_over:
            raise KmsError("This client is closed: make a new one.")

    def end(self) -> bool:
        """Whether there is something to be closed: not twice, nor after a fork."""
        ends = not self._is_over and os.getpid() == self._process
        self._is_over = True
        return ends
