"""Fixtures of the tests on a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_registry import LocalRegistry

from tests.broker.cluster import Cluster
from tests.broker.instance import Instance
from tests.broker.secured import SecuredKafka


@pytest.fixture(scope="session")
def cluster(kafka: str) -> Cluster:
    """The broker of the test run."""
    return Cluster(kafka)


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker with authentication and ACLs, whatever broker the other tests have."""
    kafka = SecuredKafka(tmp_path_factory.mktemp("secured"))
    try:
        yield kafka
    finally:
        kafka.broker.kill()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """A schema registry; who kills it starts it again."""
    found = LocalRegistry(tmp_path_factory.mktemp("registry"))
    found.start()
    try:
        yield found
    finally:
        found.kill()


@pytest.fixture
def instance(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Makes instances of kms (see ``Instance``); whatever still runs is killed at the end."""
    made: list[Instance] = []

    def make(topics: list[str], **options: object) -> Instance:
        made.append(Instance(cluster, tmp_path, topics, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.clean_up()
