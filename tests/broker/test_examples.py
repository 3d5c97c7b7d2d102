"""Every example in the help of every command, run as it stands, with names of the test's."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from kms.cli import app
from kms.schedule import Schedule
from tests.broker.cluster import Cluster
from tests.broker.commands import COMMAND_SECONDS, Kms
from tests.broker.instance import ROOT

# What stands in the help for a schedule's id.
AN_ID = "8f14e45f-ceea-467f-a8d5-e5e6a4f0b7c2"


def commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield " ".join((*before, name)), command


def examples(command: Any) -> list[str]:
    found = re.findall(r"`(python kms\.py [^`]+)`", command.help or "")
    return [" ".join(example.split()) for example in found]


COMMANDS = dict(commands(typer.main.get_group(app)))
EXAMPLES = [example for command in COMMANDS.values() for example in examples(command)]


class Stage(NamedTuple):
    """A schedule topic and what the examples' names stand for on it.

    ``cache`` knows a failed schedule for each example, under the id of the same place in ``ids``.
    """

    kms: Kms
    names: dict[str, str]
    ids: list[str]


@pytest.fixture(scope="module")
def stage(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("examples")
    kms = Kms(cluster.bootstrap, folder / "kms.sqlite")
    name = f"examples-{uuid.uuid4().hex[:8]}"
    kms.environment |= {
        "SCHEDULE_TOPICS": name,
        "CONSUMER_GROUP_ID": name,
        "KMS_DEAD_LETTER_TOPIC": cluster.topic(),
        "PROMETHEUS_SCRAPING_ENDPOINT_PORT": "0",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    kms.ok("topics", "create", name)
    ids = [str(uuid.uuid4()) for _ in EXAMPLES]
    for each in ids:
        cluster.schedule(name, each.encode(), Schedule(0, f"{name}-missing", b"k", b"v"))
    cluster.write(name, b"no schedule", b"")
    cluster.flush()
    kms.ok("run", "--once", "--timeout", "50s")
    config = folder / "kms.toml"
    config.write_text(f'schedule_topics = ["{name}"]\n')
    names = {
        "localhost:9092": cluster.bootstrap,
        "schedules": name,
        "orders": cluster.topic(),
        "/etc/kms/kms.toml": str(config),
        "--replication 3": "--replication 1",
    }
    return Stage(kms, names, ids)


def test_every_command_has_an_example() -> None:
    for name, command in COMMANDS.items():
        assert any(
            f"{example} ".startswith(f"python kms.py {name} ") for example in examples(command)
        ), f"{name} --help has no example"


@pytest.mark.parametrize("number", range(len(EXAMPLES)), ids=EXAMPLES.__getitem__)
def test_it_works(stage: Stage, number: int, tmp_path: Path) -> None:
    line = EXAMPLES[number]
    for name, actual in ({AN_ID: stage.ids[number]} | stage.names).items():
        line = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w./-])", actual, line)
    (tmp_path / "kms.py").symlink_to(ROOT / "kms.py")
    for file in stage.kms.cache.parent.glob("kms.sqlite*"):
        shutil.copy(file, tmp_path)  # what one does to it is not the others'
    process = subprocess.Popen(
        ["bash", "-c", line],
        cwd=tmp_path,
        env=stage.kms.environment | {"KMS_CACHE": str(tmp_path / "kms.sqlite")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    try:
        said = _stopped_once_at_work(process, line)
        out, _ = process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode in ((0, 128 + signal.SIGINT) if said else (0,)), said + out
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _stopped_once_at_work(process: subprocess.Popen[str], line: str) -> str:
    """Press Ctrl-C where a command ends only then, once it has said that it works."""
    words = line.split()
    if "--watch" in words:
        awaited = ""
    elif words[2] == "run" and not {"--once", "--until"} & set(words):
        awaited = "Caught up"
    else:
        return ""
    assert process.stdout is not None
    said = ""
    for text in process.stdout:
        said += text
        if awaited in text:
            os.killpg(process.pid, signal.SIGINT)
            break
    return said
