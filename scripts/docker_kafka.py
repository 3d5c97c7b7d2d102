"""A Kafka broker in a container, where a Docker engine answers."""

from __future__ import annotations

import gc
import sys
import warnings
from dataclasses import dataclass

import docker.errors  # type: ignore[import-untyped]
from kafka_jars import VERSION
from kafka_properties import HEAP_MB, PROPERTIES, new_cluster_id
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

_IMAGE = f"apache/kafka:{VERSION}"
_PING_TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Container:
    """A started broker; it may not answer yet."""

    container_id: str
    bootstrap: str


def start_container(port: int, *, outlives_us: bool) -> Container | None:
    """Start a broker that clients reach at ``port`` of the engine's host; None without an engine.

    An engine that answers but can't run the image (no way to a registry, say) counts as none, with
    a word on stderr. With ``outlives_us`` nothing but ``remove_container`` takes it away again.
    """
    if not _engine_answers():
        return None
    try:
        # Ryuk, testcontainers' reaper, removes what we started as soon as this process is gone.
        testcontainers_config.ryuk_disabled = outlives_us
        container = DockerContainer(_IMAGE)
        host = container.get_docker_client().host()
        container.with_bind_ports(9092, port)
        container.with_envs(**_environment(f"{host}:{port}"))
        try:
            container.start()
        except BaseException:
            container.stop()
            raise
        return Container(container.get_container_id(), f"{host}:{port}")
    except docker.errors.DockerException as error:
        print(f"Docker is there but can't run {_IMAGE}: {error}", file=sys.stderr)
        return None


def remove_container(container_id: str) -> None:
    """Stop and remove a container and its data; one that is gone already is fine."""
    client = DockerClient().client
    try:
        client.containers.get(container_id).remove(force=True, v=True)
    except docker.errors.NotFound:
        return
    finally:
        client.close()


def _engine_answers() -> bool:
    with warnings.catch_warnings():
        # A connection that fails leaves its socket to the garbage collector, which would complain
        # of it some day in the middle of a test.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            DockerClient(timeout=_PING_TIMEOUT_SECONDS).client.close()
            answers = True
        except docker.errors.DockerException:
            answers = False
        gc.collect()
    return answers


def _environment(bootstrap: str) -> dict[str, str]:
    settings = {
        **PROPERTIES,
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{bootstrap}",
        "controller.quorum.voters": "1@localhost:9093",
        "log.dirs": "/tmp/kraft-combined-logs",
    }
    names = {key: "KAFKA_" + key.upper().replace(".", "_") for key in settings}
    environment = {names[key]: value for key, value in settings.items()}
    return {
        **environment,
        "CLUSTER_ID": new_cluster_id(),
        "KAFKA_HEAP_OPTS": f"-Xmx{HEAP_MB}m",
    }
