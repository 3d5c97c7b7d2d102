"""Each file of examples/ runs as it stands, and what it schedules fires."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.broker.cluster import Cluster
from tests.broker.instance import ROOT, Instance

EXAMPLES = {path.name: path for path in sorted((ROOT / "examples").glob("*.py"))}
# Values that arrive on the target topic, how many in all, and a line of what is printed.
EXPECTED = {
    "reminder.py": ({b"hello"}, 1, "value=b'a merry new century'"),
    "cancel.py": (set(), 0, "after the cancel: None"),
    "transaction.py": ({b"order taken", b"order due"}, 2, "Both are written."),
    "recurring.py": ({b"tick"}, 3, "value=b'good morning'"),
    "many.py": ({b"hello 0", b"hello 999"}, 1_000, "1000 are written"),
}


def test_every_example_is_run() -> None:
    assert EXAMPLES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_it_runs(
    name: str, cluster: Cluster, instance: Callable[..., Instance], tmp_path: Path
) -> None:
    topics = {"schedules": cluster.schedule_topic(2), "greetings": cluster.topic()}
    text = EXAMPLES[name].read_text(encoding="utf-8")
    for topic, unique in {**topics, "example-orders": f"orders-{uuid.uuid4()}"}.items():
        text = re.sub(f'"{topic}"', f'"{unique}"', text)
    program = tmp_path / name
    program.write_text(text, encoding="utf-8")
    kms = instance([topics["schedules"]]).start()
    done = subprocess.run(
        [sys.executable, str(program)],
        env={
            **{it: value for it, value in os.environ.items() if "KAFKA" not in it},
            "KAFKA_BROKERS": cluster.bootstrap,
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    values, count, line = EXPECTED[name]
    assert line in done.stdout
    kms.caught_up(2)
    arrived = cluster.arrived(topics["greetings"], count)
    assert len(arrived) == count
    assert values <= {it.value for it in arrived}
    assert kms.stop() == 0
