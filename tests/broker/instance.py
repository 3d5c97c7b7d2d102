"""kms as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.broker.cluster import DEADLINE_SECONDS, Cluster, wait_for

ROOT = Path(__file__).parents[2]
# What names the schedule topics of each format.
VARIABLES = {
    "avro": "SCHEDULE_TOPICS",
    "json": "JSON_SCHEDULE_TOPICS",
    "headers": "HEADER_SCHEDULE_TOPICS",
    "registry": "REGISTRY_SCHEDULE_TOPICS",
}


class Instance:
    """``python kms.py run`` as a process of its own; ``log`` is what it printed so far.

    ``program`` may be another one that runs kms with something added.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        topics: Sequence[str],
        *,
        group: str | None = None,
        cache: Path | None = None,
        program: Path = ROOT / "kms.py",
        **environment: str,
    ) -> None:
        self.cluster = cluster
        self.topics = list(topics)
        self.group = group or f"group-{uuid.uuid4().hex[:8]}"
        self.cache = cache or folder / f"cache-{uuid.uuid4().hex[:8]}.sqlite"
        self._log_path = folder / f"log-{uuid.uuid4().hex[:8]}.txt"
        self._environment = {
            **{name: value for name, value in os.environ.items() if "KAFKA" not in name},
            "KAFKA_BROKERS": cluster.bootstrap,
            "SCHEDULE_TOPICS": ",".join(topics),
            "CONSUMER_GROUP_ID": self.group,
            "PROMETHEUS_SCRAPING_ENDPOINT_PORT": "0",
            "KMS_CACHE": str(self.cache),
            **environment,
        }
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._starts_at = 0

    @property
    def log(self) -> str:
        """What the current process printed."""
        return self._log_path.read_bytes()[self._starts_at :].decode()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def start(self, *arguments: str) -> Instance:
        """Start it, or start it again; does not wait for it to do anything."""
        with self._log_path.open("ab") as log:
            self._starts_at = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, str(self._program), "run", *arguments],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def wait_for_log(self, text: str, count: int = 1, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until the log has ``text``, ``count`` times."""

        def said() -> bool:
            if self.log.count(text) >= count:
                return True
            if self.process.poll() is not None and self.log.count(text) < count:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.log}")
            return False

        try:
            wait_for(f"{text!r} in the log", said, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def caught_up(self, partitions: int = 1) -> Instance:
        """Wait until this many partitions may fire."""
        self.wait_for_log("Caught up:", partitions)
        return self

    @property
    def url(self) -> str:
        """Where its HTTP port is, without a path."""
        return self.log.split("metrics at ")[-1].split("/metrics")[0]

    def metrics(self) -> dict[str, float]:
        """Every sample by name; those with labels as ``name{label="value",…}``, sorted."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)

    def stop(self) -> int:
        """SIGTERM; answers the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the end; answers the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s\n{self.log}") from None

    def clean_up(self) -> None:
        """Nothing is left behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()
