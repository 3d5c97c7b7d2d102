"""The parent's side of ``bare.py``: gives the order, reads the answers."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tied_process import tied_to_us

from kms.formats import SCHEMA
from kms.kafka.config import reader_config, transactional_config
from kms.settings import Settings

_PROGRAM = Path(__file__).with_name("bare.py")
_LONGEST_SECONDS = 900.0


class BareLoop:
    """A bare loop as a process; ended when the context is left.

    ``known_as`` names its group and its transactions, so that a second start finds them there.
    """

    def __init__(
        self, name: str, bootstrap: str, path: Path, known_as: str | None = None, **order: object
    ) -> None:
        command = tied_to_us([sys.executable, str(_PROGRAM), name])
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        known_as = known_as or f"bare-{uuid.uuid4().hex[:8]}"
        self.tell(
            {**_properties(bootstrap, known_as), "schema": SCHEMA, "path": str(path), **order}
        )

    def tell(self, order: Mapping[str, object]) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for its next line; raises RuntimeError if it ends without one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the bare loop ended with {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.process.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(_LONGEST_SECONDS)


def _properties(bootstrap: str, name: str) -> dict[str, dict[str, object]]:
    """What kms sets for its own clients, without its callbacks."""
    settings = Settings(kafka_brokers=bootstrap, consumer_group_id=name)
    return {
        client: {
            key: value for key, value in config.items() if isinstance(value, str | int | float)
        }
        for client, config in (
            ("reader", reader_config(settings)),
            ("writer", transactional_config(settings)),
        )
    }
