"""One broker by itself: whether it answers, how soon, and what it can do."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from kms.kafka.config import common_config
from kms.kafka.refusals import Refusals
from kms.settings import Settings

_SLICE_SECONDS = 0.5
_REFUSED_SECONDS = 1.0  # librdkafka tries again, and could be let in
_BROKER = re.compile(r"Broker #\d+/\d+: (\S+) NodeId (\d+)")
_API = re.compile(r"ApiKey (\S+) \((\d+)\) Versions (\d+)\.\.(\d+)")

# The highest version of Fetch that came with each release: protocol definitions of 2.3 to 3.8,
# and what a broker of 4.1 answers. Brokers don't say their release to clients.
_RELEASES = {11: "2.3", 12: "2.7", 13: "3.1", 14: "3.5", 15: "3.5", 16: "3.7", 17: "3.9", 18: "4.1"}


class Reached(NamedTuple):
    """What a broker answered: after how long, which brokers there are, and its APIs.

    ``apis`` has the highest version that it knows of each; ``problem`` is empty if it answered.
    ``cluster_id`` is empty if none of the brokers that it named answers.
    """

    seconds: float
    cluster_id: str
    brokers: Mapping[int, str]
    apis: Mapping[str, int]
    problem: str

    @property
    def release(self) -> str:
        """The oldest Kafka release that knows all this; empty if it can't be told."""
        fetch = self.apis.get("Fetch", 0)
        known = [version for version in _RELEASES if version <= fetch]
        return _RELEASES[max(known)] if known else ""


def reach(settings: Settings, address: str, seconds: float) -> Reached:
    """Connect to one broker and ask it for the others; returns after ``seconds`` at most.

    Nothing is written to any log. What it can do is taken from librdkafka's debug log, which is
    the only place where that can be read.
    """
    log = _Lines()
    said: list[str] = []
    refusals = Refusals(lambda error: said.append(error.str()))
    client = AdminClient(
        common_config(settings)
        | {
            "bootstrap.servers": address,
            "error_cb": refusals,
            "logger": log.logger,
            "debug": "feature,metadata",
            "log_level": 7,
            "reconnect.backoff.max.ms": 500,
        }
    )
    began = time.monotonic()
    while True:
        try:
            found = client.list_topics(timeout=_SLICE_SECONDS)
        except ck.KafkaException as error:
            client.poll(0)  # calls Refusals, and brings the log
            if log.brokers:
                # It did answer; but librdkafka has left it for those that it named.
                return Reached(time.monotonic() - began, "", log.brokers, log.apis, "")
            is_over = time.monotonic() - began >= seconds - _SLICE_SECONDS
            if is_over or refusals.seconds >= _REFUSED_SECONDS or _is_pointless(error):
                took = time.monotonic() - began
                reason = refusals.reason or (said[-1] if said else error.args[0].str())
                return Reached(took, "", {}, {}, reason)
            continue
        took = time.monotonic() - began
        client.poll(0)  # brings the log
        brokers = {each.id: f"{each.host}:{each.port}" for each in found.brokers.values()}
        return Reached(took, str(found.cluster_id), brokers, log.apis, "")


def client_versions() -> dict[str, str]:
    """Of the libraries that talk to Kafka, by name."""
    return {"librdkafka": ck.libversion()[0], "confluent-kafka": str(ck.__version__)}


def _is_pointless(error: ck.KafkaException) -> bool:
    return bool(error.args[0].fatal())


class _Lines(logging.Handler):
    """Keeps what the debug log says of APIs and brokers, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.apis: dict[str, int] = {}
        self.brokers: dict[int, str] = {}
        self.logger = logging.Logger("reach", logging.DEBUG)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if found := _BROKER.search(text):
            self.brokers[int(found[2])] = found[1]
        elif found := _API.search(text):
            name, _, _, highest = found.groups()
            self.apis[name] = int(highest)
