"""A Prometheus with the project's own configuration, to scrape an instance and be asked."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml
from tied_process import tied_to_us

from tests.broker.cluster import wait_for
from tests.promql import CONFIG

INTERVAL = "500ms"

Sample = tuple[dict[str, str], float]  # labels and value


class Prometheus:
    """A running one; ``ask`` answers the samples of a query."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, query: str) -> list[Sample]:
        found = self._get(f"/api/v1/query?query={quote(query)}")["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def rules(self) -> list[dict[str, Any]]:
        """Each alert's rule, with what it found at its last evaluation."""
        return [rule for group in self._get("/api/v1/rules")["groups"] for rule in group["rules"]]

    def is_up(self) -> bool:
        try:
            return bool(self.ask("vector(1)"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """One that scrapes the instance at this URL twice a second, until the end."""
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [urlsplit(target).netloc]}]
    config["scrape_configs"][0]["scrape_timeout"] = INTERVAL
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for name in config["rule_files"]:
        shutil.copy(CONFIG / name, folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(tied_to_us(command), stdout=log, stderr=subprocess.STDOUT)
    try:
        made = Prometheus(f"http://{address}")
        wait_for("Prometheus", made.is_up)
        yield made
    finally:
        process.kill()
        process.wait()
