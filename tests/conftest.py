"""Fixtures and settings of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import local_kafka
import pytest

TESTS = Path(__file__).parent
NEED_A_BROKER = {"broker", "faults"}  # folders

# A busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("ci", deadline=None)
# For scripts/fuzz. Not much more at once: it keeps in memory what it has tried.
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=20_000, database=None)
hypothesis.settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "broker: needs a Kafka broker (skip: -m 'not broker')")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if NEED_A_BROKER.intersection(item.path.relative_to(TESTS).parts[:-1]):
            item.add_marker("broker")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the one broker of the whole run: use topics and groups of your own."""
    with local_kafka.broker(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap
