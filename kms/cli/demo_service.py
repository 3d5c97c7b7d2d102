"""The service as the demo runs it: a process of its own, with its log and its metrics."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import kms
from kms.kafka_properties import is_secret, variable_of_property
from kms.settings import Settings

_PROGRAM = Path(kms.__file__).parent.parent / "kms.py"
_METRICS_URL = re.compile(r"http://localhost:\d+/metrics")
_STOP_SECONDS = 40.0  # a bit more than the service gives its threads
_SCRAPE_SECONDS = 5.0

# Not through a proxy: it is on this machine.
_open = build_opener(ProxyHandler({})).open


class ServiceProcess:
    """``kms.py run`` in the background; ``say`` gets each line of its log, from another thread.

    It has a session of its own, so that Ctrl-C reaches only the demo, which stops it in order.
    ``metrics_url`` is None until the service has said where its metrics are.
    """

    def __init__(self, environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self.metrics_url: str | None = None
        self._say = say
        self._process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), "run"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._listener = threading.Thread(target=self._listen, name="demo-log", daemon=True)
        self._listener.start()

    def exit_code(self) -> int | None:
        """What it ended with, None while it runs."""
        return self._process.poll()

    def scrape(self) -> list[str]:
        """The lines of its metrics; empty while they can't be had."""
        if self.metrics_url is None:
            return []
        try:
            with _open(self.metrics_url, timeout=_SCRAPE_SECONDS) as answer:
                text: str = answer.read().decode()
        except (URLError, OSError):
            return []
        return [line for line in text.splitlines() if not line.startswith("#")]

    def stop(self) -> int:
        """Send SIGTERM and wait; kills it if that takes too long. Answers its exit code."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._listener.join()
        return self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                found = _METRICS_URL.search(line)
                if found:
                    self.metrics_url = found[0]
                self._say(line.rstrip())


def service_environment(
    settings: Settings, schedule_topic: str, group: str, cache: Path
) -> dict[str, str]:
    """This process's environment, changed to run a service of the demo's own.

    Everything is a variable, for flags would show secrets to other users of the machine.
    """
    properties = settings.kafka_properties()
    return {
        **os.environ,
        **_stores(settings),
        **{variable_of_property(name): value for name, value in properties.items()},
        # The same secret from a file as well would be refused.
        **{f"{variable_of_property(name)}_FILE": "" for name in properties if is_secret(name)},
        # Empty is unset: the settings file is in ``settings`` already.
        "KMS_CONFIG": "",
        "KMS_INSTANCE_ID": "",
        "KAFKA_BROKERS": settings.kafka_brokers,
        "SECURITY_PROTOCOL": settings.security_protocol,
        "KMS_DELIVERY": settings.kms_delivery,
        "SCHEDULE_TOPICS": schedule_topic,
        "CONSUMER_GROUP_ID": group,
        "KMS_CACHE": str(cache),
        "PROMETHEUS_SCRAPING_ENDPOINT_PORT": "0",
        "KMS_HTTP_ADDRESS": "",
        "KMS_LOG_LEVEL": "INFO",
        "KMS_LOG_FORMAT": "text",
    }


def _stores(settings: Settings) -> dict[str, str]:
    found = {}
    for name in ("keystore", "truststore"):
        location = getattr(settings, f"{name}_location")
        secret = getattr(settings, f"{name}_password")
        found[f"{name.upper()}_LOCATION"] = str(location or "")
        found[f"{name.upper()}_PASSWORD"] = secret.get_secret_value() if secret else ""
        found[f"{name.upper()}_PASSWORD_FILE"] = ""
    return found
