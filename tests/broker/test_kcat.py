"""The README's lines of kcat: each writes a schedule that kms reads as it is meant."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from local_registry import LocalRegistry

from kms.formats import schema_json
from tests.broker.cluster import Cluster, wait_for
from tests.broker.commands import Kms
from tests.broker.conftest import registry
from tests.broker.instance import ROOT, VARIABLES, Instance
from tests.broker.registry import Writers

__all__ = ["registry"]

MakeInstance = Callable[..., Instance]
FORMATS = {  # by the README's names
    "schedules": VARIABLES["avro"],
    "json-schedules": VARIABLES["json"],
    "header-schedules": VARIABLES["headers"],
    "registry-schedules": VARIABLES["registry"],
}
pytestmark = pytest.mark.skipif(shutil.which("kcat") is None, reason="there is no kcat here")


@pytest.fixture
def schema_id(registry: LocalRegistry) -> Iterator[int]:
    """Of our own schema in the registry."""
    writers = Writers(registry.url)
    with closing(writers.client):
        yield writers.register("kcat", schema_json())


def test_one_of_each_format(
    cluster: Cluster, registry: LocalRegistry, schema_id: int, tmp_path: Path
) -> None:
    topics = {name: cluster.schedule_topic() for name in FORMATS}
    commands = Kms(cluster.bootstrap, tmp_path / "kms.sqlite")
    commands.environment |= {FORMATS[name]: topic for name, topic in topics.items()}
    commands.environment["KMS_SCHEMA_REGISTRY_URL"] = registry.url
    block = _block("42.registry").replace("\\0\\0\\0\\0\\1", rf"\0\0\0\0\{schema_id:o}")
    cancel = next(line for line in block.splitlines() if line.endswith("-Z"))
    _run(block.replace(cancel, ""), cluster, topics, tmp_path)
    found = [
        json.loads(line) for line in commands.ok("inspect", "--from-kafka", "--json").splitlines()
    ]
    assert {it["schedule_topic"]: it["value"] for it in found} == {
        topics["schedules"]: "hello",
        topics["json-schedules"]: "hello",
        topics["header-schedules"]: "hello",
        topics["registry-schedules"]: "hello",
    }
    assert {(it["id"], it["due"], it["target_topic"], it["key"]) for it in found} == {
        ("42", "2030-01-01T00:00:00.000Z", "orders", "42")
    }
    _run(cancel, cluster, topics, tmp_path)
    left = commands.ok("inspect", "--from-kafka", "--json").splitlines()
    assert {json.loads(line)["schedule_topic"] for line in left} == (
        set(topics.values()) - {topics["header-schedules"]}
    )


def test_one_of_each_kind(cluster: Cluster, instance: MakeInstance, tmp_path: Path) -> None:
    topics = {"header-schedules": cluster.schedule_topic(), "greetings": cluster.topic()}
    kms = instance([], SCHEDULE_TOPICS="", HEADER_SCHEDULE_TOPICS=topics["header-schedules"])
    _run(_block("kms-missed"), cluster, topics, tmp_path)
    kms.start()
    values = {b"offer", b"news", b"tick", b"tock", b"beat"}
    wait_for(
        "all but that of the morning",
        lambda: (
            {it.value for it in cluster.read(topics["greetings"])} - {b"morning"} == values or None
        ),
    )
    records = cluster.read(topics["header-schedules"])
    first = {it.key: it for it in reversed(records) if it.value is not None}
    again = {it.key for it in records if "kms-occurrence" in dict(it.headers)}
    assert again >= {b"tick", b"beat"}
    commands = Kms(cluster.bootstrap, kms.cache)
    commands.environment["HEADER_SCHEDULE_TOPICS"] = topics["header-schedules"]
    commands.environment["SCHEDULE_TOPICS"] = ""
    (morning,) = [json.loads(it) for it in commands.ok("inspect", "morning", "--json").splitlines()]
    written = datetime.fromtimestamp(first[b"morning"].timestamp_ms // 1000, UTC)
    # It may have fired meanwhile.
    mornings = {_next_morning(written), _next_morning(datetime.now(UTC))}
    assert datetime.fromisoformat(morning["due"]) in mornings
    assert kms.stop() == 0


def _next_morning(moment: datetime) -> datetime:
    """The next nine o'clock of a working day in London."""
    found = moment.astimezone(ZoneInfo("Europe/London"))
    nine = found.replace(hour=9, minute=0, second=0, microsecond=0)
    while nine < found or nine.weekday() >= 5:
        nine += timedelta(days=1)
    return nine


def _block(sign: str) -> str:
    """The README's shell block with this and kcat in it, continuations undone."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.M | re.S)
    (found,) = [str(block) for block in blocks if sign in block and "kcat" in block]
    return found.replace("\\\n", " ").replace("|\n", "| ")


def _run(script: str, cluster: Cluster, names: Mapping[str, str], folder: Path) -> None:
    for name, own in names.items():
        script = re.sub(rf"(?<![\w-]){name}(?![\w.-])", own, script)
    script = script.replace("kms.py", str(ROOT / "kms.py"))
    subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        check=True,
        timeout=60,
        cwd=folder,
        env={
            "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
            "KAFKA_BROKERS": cluster.bootstrap,
        },
    )
