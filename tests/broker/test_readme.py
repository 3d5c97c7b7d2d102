"""Every command that README, CONTRIBUTING and docs show in a shell block is run, as it stands.

A new one is run without being named here. What can't be is in ``NOT_RUN``, with the reason.
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import ROOT, Instance

MakeInstance = Callable[..., Instance]

# A line that matches is left out.
NOT_RUN = {
    r"^\./scripts/test\b": "this is it",
    r"^\./scripts/demo\b": "tests/broker/test_demo.py does",
    r"^\./scripts/kafka (status|stop)": "tests/broker/test_local_kafka.py does",
    r"^\./scripts/bench\b": "takes a quarter of an hour; tests/broker/test_bench.py does some",
    r"^\./scripts/(fuzz|faults)\b": "takes minutes; test_http_fuzz.py and test_walk.py do some",
    r"^\./scripts/(readme-table|lock)\b": "changes the checkout; tests/test_packaging.py compares",
    r"^\.venv/bin/ruff format \.": "changes the checkout; scripts/test looks whether it would",
    r"^python3 -m venv \.venv": "changes the checkout; tests/broker/test_container.py installs",
    r"^docker(-compose)? ": "needs an engine; tests/broker/test_container.py runs without one",
    r"^kubectl ": "needs a cluster; tests/test_kubernetes.py holds the file to the code",
    r"^(sudo |systemctl |journalctl |systemd-analyze )": "changes the machine",
    r"^kafka-acls\.sh ": "tests/broker/test_acls.py sets these, and runs kms with them",
    r"^\w+=\S*$": "a setting and no command",
    r"^curl .*Authorization": "tests/broker/test_web_writing.py does, with a token",
    r"^keytool ": "needs Java's tools; tests/broker/test_security.py reads what it writes",
}
# Of what is run, this becomes that.
INSTEAD = {
    r"^export \$\(\./scripts/kafka start\)": "export",  # the broker is that of the tests
    r"/etc/kms/kms\.toml": "config/kms.toml",
    r"--until \d+\w": "--until 3s",
}
_TOPICS = (
    "schedules",
    "greetings",
    "messages",
    "orders",
    "json-schedules",
    "header-schedules",
    "registry-schedules",
)
# It would run until somebody ends it, and nobody will.
_FOREVER = re.compile(r"kms\.py (run\b(?!.*--(once|until))|inspect\b.*--watch)(?!.*&$)")
_ANSWERS_SECONDS = 120
_STARTED_SECONDS = 12  # longer than a start takes, on a busy machine


class Block(NamedTuple):
    """The lines of one shell block, continuations undone, without comments and ``NOT_RUN``."""

    place: str
    lines: list[str]


def shown() -> Iterator[Block]:
    """Every shell block that has something to run."""
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]:
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"^( *)```(?:bash|sh|shell)\n(.*?)^\1```$", text, re.M | re.S):
            whole = dedent(found[2]).replace("\\\n", " ")
            lines = [re.sub(r"\s+#.*", "", line) for line in whole.splitlines()]
            lines = [line for line in lines if line and not line.startswith("#")]
            lines = [line for line in lines if not any(re.search(it, line) for it in NOT_RUN)]
            if lines:
                number = text.count("\n", 0, found.start()) + 2
                yield Block(f"{path.relative_to(ROOT)}:{number}", lines)


def test_something_is_shown() -> None:
    assert any(block.place.startswith("README") for block in shown())


def test_a_line_that_fails_is_told() -> None:
    lines = ["true", "sleep 60 &", "python kms.py no-such-command", "true"]
    script = _script(lines, {}, "0")
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "failed: python kms.py no-such-command" in done.stderr


@pytest.mark.parametrize("block", list(shown()), ids=lambda block: str(block.place))
def test_it_runs(block: Block, cluster: Cluster, instance: MakeInstance, tmp_path: Path) -> None:
    """Beside a service, unless the block makes the topics or starts one itself.

    Of the schedules there ``ID`` has failed, and 42 is pending.
    """
    names = {name: f"{name}-{uuid.uuid4().hex[:8]}" for name in _TOPICS}
    dead = cluster.topic()
    kms = instance([names["schedules"]], KMS_DEAD_LETTER_TOPIC=dead, KMS_RETRY_FOR="1h")
    script, port = "\n".join(block.lines), "0"
    if "topics create" not in script:
        cluster.schedule_topic(name=names["schedules"])
        for name in _TOPICS[1:]:
            cluster.topic(name=names[name])
        _prepare(cluster, names)
        if "kms.py run" not in script:
            kms.start().caught_up()
            wait_for("a failure", lambda: kms.metrics()["kms_schedules_failed"] == 1)
            port = kms.log.split("http://localhost:")[-1].split("/")[0]
    environment = {
        **{name: value for name, value in os.environ.items() if "KAFKA" not in name},
        "KAFKA_BROKERS": cluster.bootstrap,
        "SCHEDULE_TOPICS": names["schedules"],
        "CONSUMER_GROUP_ID": kms.group,
        "KMS_CACHE": str(kms.cache),
        "KMS_DEAD_LETTER_TOPIC": dead,
        "PROMETHEUS_SCRAPING_ENDPOINT_PORT": "0",
        "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-c", _script(block.lines, names, port)],
        cwd=_checkout(tmp_path / "checkout"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=_ANSWERS_SECONDS,
    )
    assert done.returncode == 0, f"{block.place}\n{done.stdout}{done.stderr}"


def _script(lines: list[str], names: dict[str, str], port: str) -> str:
    """Ends at the first line that fails, and says which; what it left running is ended."""
    found = [
        "set -eE -o pipefail",
        "trap 'echo \"failed: $BASH_COMMAND\" >&2' ERR",
        "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT",
    ]
    for line in lines:
        for pattern, instead in INSTEAD.items():
            line = re.sub(pattern, instead, line)
        for name, unique in names.items():
            line = re.sub(rf"(?<![\w/.-]){name}(?![\w/.-])", unique, line)
        line = line.replace("localhost:9095", f"localhost:{port}").replace("curl ", "curl --fail ")
        if _FOREVER.search(line):
            line = f"timeout --preserve-status --signal=INT {_STARTED_SECONDS} {line}"
        found.append(line)
    # 143: so soon that it had no handler yet.
    found.append("for job in $(jobs -p); do kill $job; wait $job || test $? = 143; done")
    return "\n".join(found)


def _prepare(cluster: Cluster, names: dict[str, str]) -> None:
    schedules = {
        b"ID": Schedule(0, f"missing-{uuid.uuid4().hex[:8]}", b"", b""),
        b"42": Schedule(now_ms() + 3_600_000, names["greetings"], b"42", b"hello"),
    }
    for schedule_id, schedule in schedules.items():
        cluster.schedule(names["schedules"], schedule_id, schedule)
    cluster.flush()


def _checkout(folder: Path) -> Path:
    """A folder that looks like the checkout; what is written into it stays there."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.name not in (".git", ".kafka", ".bench"):
            (folder / path.name).symlink_to(path)
    return folder
