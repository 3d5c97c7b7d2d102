"""Fixtures of the fault tests: those of the broker tests, and a broker that may be broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_kafka import LocalKafka

from tests.broker.cluster import Cluster
from tests.broker.conftest import cluster, instance
from tests.broker.instance import Instance
from tests.faults.proxy import Proxy

__all__ = ["cluster", "fragile", "fragile_instance", "instance"]


class Fragile:
    """A broker of its own, with a listener that goes through a proxy."""

    def __init__(self, folder: Path) -> None:
        self.proxy = Proxy()
        self.kafka = LocalKafka(
            folder,
            listeners={"PROXIED": "PLAINTEXT"},
            advertised={"PROXIED": self.proxy.address},
        )

    def start(self) -> None:
        self.kafka.start()
        self.proxy.forward_to(self.kafka.address("PROXIED"))

    def stop(self) -> None:
        self.proxy.close()
        self.kafka.kill()


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fragile]:
    """One broker for the module's tests to stop, kill and cut off."""
    made = Fragile(tmp_path_factory.mktemp("fragile"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def fragile_instance(fragile: Fragile, tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Makes instances of kms that reach the fragile broker through its proxy."""
    made: list[Instance] = []
    behind = Cluster(fragile.kafka.bootstrap)

    def make(topics: list[str], **options: object) -> Instance:
        options = {"KAFKA_BROKERS": fragile.proxy.address, **options}
        made.append(Instance(behind, tmp_path, topics, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.clean_up()
