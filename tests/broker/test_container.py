"""The image as the Compose file runs it: every RUN line for real, a read-only root, not root."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.image import ROOT, Image, handles, pid_one, why_not
from tests.test_kubernetes import PROBES

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICE: dict[str, Any] = COMPOSE["services"]["kms"]

_reason = why_not()
pytestmark = pytest.mark.skipif(_reason is not None, reason=f"no container here: {_reason}")


class Container:
    """``run`` in the image, with the mounts of the Compose file; the volume is ``volume``."""

    def __init__(self, image: Image, volume: Path, environment: dict[str, str]) -> None:
        (mount,) = SERVICE["volumes"]
        user, group = (int(number) for number in image.kept["USER"].split(":"))
        volume.mkdir(exist_ok=True)
        os.chown(volume, user, group)
        mounts = [f"{volume}:{mount.partition(':')[2]}"]
        mounts += [path.partition(":")[0] for path in SERVICE["tmpfs"]]
        command = [*image.words("ENTRYPOINT"), *image.words("CMD")]
        self.environment = environment
        self.process = image.start(command, environment, mounts)
        self.pid = pid_one(self.process)
        self._lines: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        return b"".join(self._lines).decode()

    def stop(self) -> int:
        """SIGTERM, as ``docker stop`` sends it; answers the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs\n{self.log}") from None

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()  # --kill-child takes the rest along
            self.process.wait(30)
        self._reader.join(30)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            self._lines.extend(self.process.stdout)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("image"), (ROOT / "Dockerfile").read_text())


@pytest.fixture
def started() -> Iterator[list[Container]]:
    made: list[Container] = []
    yield made
    for each in made:
        each.clean_up()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_it_fires_on_a_read_only_root_and_ends_on_sigterm(
    image: Image, cluster: Cluster, tmp_path: Path, started: list[Container]
) -> None:
    """As PID 1, as the numeric user, without a home; only the volume is written to."""
    topic, target = cluster.schedule_topic(), cluster.topic()
    environment = SERVICE["environment"] | {
        "KAFKA_BROKERS": cluster.bootstrap,
        "SCHEDULE_TOPICS": topic,
        "CONSUMER_GROUP_ID": f"group-{uuid.uuid4().hex[:8]}",
        "PROMETHEUS_SCRAPING_ENDPOINT_PORT": str(_free_port()),
        "http_proxy": "http://127.0.0.1:1",  # not for the health check
    }
    volume = tmp_path / "volume"
    container = Container(image, volume, environment)
    started.append(container)
    cluster.schedule(topic, b"1", Schedule(now_ms(), target, b"k", b"hello"))
    cluster.flush()
    (arrived,) = cluster.arrived(target, 1)
    assert arrived.value == b"hello"
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert f"NSpid:\t{container.pid}\t1\n" in status
    assert "Uid:\t10001\t" in status
    assert "CapBnd:\t0000000000000000\n" in status
    assert image.run(image.words("HEALTHCHECK"), environment) == (0, "")
    for path in sorted(set(PROBES.values())):
        url = f"http://127.0.0.1:{environment['PROMETHEUS_SCRAPING_ENDPOINT_PORT']}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200, path
    assert container.stop() == 0, container.log
    code, said = image.run(image.words("HEALTHCHECK"), environment)
    assert code == 1, said
    assert {path.name.partition(".")[0] for path in volume.iterdir()} == {"kms"}
    assert {path.stat().st_uid for path in volume.iterdir()} == {10001}


def test_it_can_be_told_to_end_before_it_has_its_settings(
    image: Image, tmp_path: Path, started: list[Container]
) -> None:
    """Without a handler the kernel would keep the signal from PID 1."""
    volume = tmp_path / "volume"
    volume.mkdir()
    os.mkfifo(volume / "pipe", 0o644)  # to open it is to wait
    mount = SERVICE["volumes"][0].partition(":")[2]
    container = Container(image, volume, {"KMS_CONFIG": f"{mount}/pipe"})
    started.append(container)
    wait_for("a handler", lambda: handles(container.pid, signal.SIGTERM))
    assert container.stop() == 128 + signal.SIGTERM


def test_nothing_of_it_can_be_written(image: Image) -> None:
    code, said = image.run(["python", "-c", "open('/opt/kms/kms.py', 'a')"], {})
    assert code == 1
    assert "Read-only file system" in said
    assert image.run(["python", "kms.py", "schema"], {})[0] == 0


def test_the_image_is_small_and_compiled(image: Image) -> None:
    """No pip and no tests; every module has its byte code, which nobody can write later."""
    program = "import pathlib; print(*sorted(p.name for p in pathlib.Path('/opt/kms').iterdir()))"
    assert image.run(["python", "-c", program], {}) == (0, ".venv LICENSE kms kms.py\n")
    code, said = image.run(["python", "-m", "pip"], {})
    assert code == 1
    assert "No module named pip" in said
    program = "import kms.service, os, sys; cached = {getattr(it, '__cached__', None) for it in "
    program += "sys.modules.values()}; print(sorted(path for path in cached if path and "
    program += "path.startswith('/opt/kms/') and not os.path.exists(path)))"
    assert image.run(["python", "-c", program], {}) == (0, "[]\n")
