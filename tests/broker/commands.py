"""Runs kms's commands, each as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.broker.instance import ROOT

COMMAND_SECONDS = 60.0

Done = subprocess.CompletedProcess[bytes]


class Kms:
    """Runs commands with a cache path and a broker of the test's."""

    def __init__(self, bootstrap: str, cache: Path) -> None:
        self.cache = cache
        self.environment = {
            **{name: value for name, value in os.environ.items() if "KAFKA" not in name},
            "KAFKA_BROKERS": bootstrap,
            "KMS_CACHE": str(cache),
            "COLUMNS": "200",
        }

    def run(self, *arguments: str | bytes | Path, stdin: bytes = b"") -> Done:
        return subprocess.run(
            [sys.executable, str(ROOT / "kms.py"), *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def ok(self, *arguments: str | bytes | Path, stdin: bytes = b"") -> str:
        """What it printed to stdout; it must end with exit code 0."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()
