"""Scheduling and cancelling over the HTTP port of a running instance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kms.formats import AVRO
from kms.kafka import java_partition
from kms.schedule import Schedule
from tests.broker.cluster import Cluster, wait_for
from tests.broker.instance import ROOT, Instance
from tests.web.site import Answer, asked

MakeInstance = Callable[..., Instance]
TOKEN = "correct-horse-battery"
ALLOWED = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
LATER = "2100-01-01T00:00:00Z"
LATER_MS = 4_102_444_800_000
# Not the stateful one: it wants to get at once what was just written, or not any more. The
# instance reads its topic a moment later.
PHASES = "examples,coverage,fuzzing"


def post(kms: Instance, body: dict[str, Any]) -> Answer:
    data = json.dumps(body).encode()
    return asked(f"{kms.url}/schedules", "POST", data=data, headers=ALLOWED)


def delete(kms: Instance, path: str) -> Answer:
    return asked(f"{kms.url}{path}", "DELETE", headers=ALLOWED)


def test_what_comes_by_http_fires(cluster: Cluster, instance: MakeInstance, tmp_path: Path) -> None:
    topic, target = cluster.schedule_topic(3), cluster.topic()
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    kms = instance([topic], KMS_HTTP_TOKEN_FILE=str(secret)).start().caught_up(3)
    fired = post(kms, {"to": target, "in": "0s", "key": "k", "value": "é", "headers": {"a": "b"}})
    assert (fired.status, fired.json["schedule_topic"]) == (201, topic)
    (arrived,) = cluster.arrived(target, 1)
    assert (arrived.key, arrived.value, arrived.headers) == (b"k", "é".encode(), [("a", b"b")])
    kept = post(kms, {"to": target, "at": LATER, "value_base64": "/w==", "id": "a/b é"})
    assert kept.json.items() >= {"id": "a/b é", "due_ms": LATER_MS}.items()
    location = kept.headers["Location"]
    assert location == "/schedules/a%2Fb%20%C3%A9"
    (shown,) = wait_for("it to be read", lambda: pending(kms, location))
    assert (shown["value"], shown["target"]) == ({"base64": "/w=="}, target)
    assert post(kms, {"to": target, "at": LATER_MS, "value": "new", "id": "a/b é"}).status == 201
    assert delete(kms, location).json["was_pending"] is True
    wait_for("the cancel to be read", lambda: pending(kms, location) is None)
    assert delete(kms, location).json == {
        "id": {"text": "a/b é"},
        "schedule_topic": topic,
        "partition": java_partition("a/b é".encode(), 3),
        "was_pending": False,
    }
    too_large = post(kms, {"to": target, "at": LATER, "value": "x" * 1_500_000})
    assert too_large.status == 413
    assert TOKEN not in kms.log
    assert kms.stop() == 0


def test_what_recurs(cluster: Cluster, instance: MakeInstance) -> None:
    """Each of both forms, until it is over by itself or by a DELETE."""
    topic, target = cluster.schedule_topic(), cluster.topic()
    kms = instance([], HEADER_SCHEDULE_TOPICS=topic, KMS_HTTP_TOKEN=TOKEN).start().caught_up()
    every = {"to": target, "every": "1s", "in": "0s", "value": "v", "key": "every", "id": "every"}
    assert post(kms, every).status == 201
    cron = {"to": target, "cron": "* * * * * *", "count": 2, "value": "v", "key": "cron"}
    assert post(kms, {**cron, "timezone": "Europe/London"}).status == 201

    def keys() -> list[bytes | None]:
        return [it.key for it in cluster.read(target)]

    wait_for("two of each", lambda: min(keys().count(b"every"), keys().count(b"cron")) >= 2)
    (shown,) = wait_for("the next one", lambda: pending(kms, "/schedules/every"))
    assert (shown["target"], shown["failed"]) == (target, None)
    assert shown["kind"]["every"] == "1s"
    assert int(shown["kind"]["occurrence"]) >= 0
    assert delete(kms, "/schedules/every").json["was_pending"] is True
    wait_for("its end", lambda: pending(kms, "/schedules/every") is None)
    ended = keys()
    assert ended.count(b"cron") == 2
    assert post(kms, {"to": target, "in": "3s", "value": "v", "key": "marker"}).status == 201
    wait_for("what comes later", lambda: b"marker" in keys())
    assert keys() == [*ended, b"marker"]
    late = {"to": target, "at": 1, "expires": "1s", "value": "v", "key": "late"}
    soon = {"to": target, "in": "0s", "window": "1s", "value": "v", "key": "window"}
    assert post(kms, late).status == post(kms, soon).status == 201
    wait_for("the window", lambda: b"window" in keys())
    assert b"late" not in keys()
    assert kms.stop() == 0


def test_the_answer_knows_when_it_is_due(cluster: Cluster, instance: MakeInstance) -> None:
    """As the page does, also where the record has whole seconds only."""
    topic = cluster.schedule_topic()
    kms = instance([], HEADER_SCHEDULE_TOPICS=topic, KMS_HTTP_TOKEN=TOKEN).start().caught_up()
    asked_for = {"to": "o", "at": LATER_MS + 1, "value": "v"}
    for more in ({"id": "plain"}, {"id": "window", "window": "1h"}, {"id": "again", "every": "5m"}):
        answer = post(kms, {**asked_for, **more})
        (shown,) = wait_for("it to be read", partial(pending, kms, answer.headers["Location"]))
        assert answer.json["due_ms"] == shown["due_ms"] >= LATER_MS + 1_000
    over = post(kms, {**asked_for, "every": "5m", "until": LATER_MS + 500})
    assert over.status == 400
    assert over.json["error"].startswith("it never comes")
    assert kms.stop() == 0


def test_a_cancel_goes_where_the_schedule_is(cluster: Cluster, instance: MakeInstance) -> None:
    """Written by somebody with another partitioner: not where kms would put that id."""
    topic, other = cluster.schedule_topic(3), cluster.schedule_topic()
    kms = instance([topic, other], KMS_HTTP_TOKEN=TOKEN).start().caught_up(4)
    elsewhere = (java_partition(b"x", 3) + 1) % 3
    cluster.schedule(topic, b"x", Schedule(LATER_MS, "o", b"", b""), partition=elsewhere)
    cluster.flush()
    wait_for("it to be read", lambda: pending(kms, "/schedules/x"))
    assert post(kms, {"to": "o", "at": LATER}).status == 400
    answer = delete(kms, "/schedules/x").json
    assert (answer["partition"], answer["was_pending"]) == (elsewhere, True)
    assert delete(kms, f"/schedules/x?topic={other}").json["partition"] == 0
    wait_for("the cancel to be read", lambda: pending(kms, "/schedules/x") is None)
    (written,) = [it for it in cluster.read(topic) if it.value is not None]
    assert AVRO.decode_value(written.value or b"").topic == "o"
    assert kms.stop() == 0


def pending(kms: Instance, path: str) -> Any:
    answer = asked(f"{kms.url}{path}")
    return answer.json["schedules"] if answer.status == 200 else None


def test_it_does_what_its_document_says(
    cluster: Cluster, instance: MakeInstance, tmp_path: Path
) -> None:
    """schemathesis asks for what the document allows, and for what it does not."""
    kms = instance([cluster.schedule_topic(2)], KMS_HTTP_TOKEN=TOKEN).start().caught_up(2)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{kms.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {TOKEN}", "--max-examples", "50"),
            *("--phases", PHASES, "--checks", "all", "--no-color", "--seed", "1"),
        ],
        cwd=tmp_path,  # where it leaves what it found
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.broker.openapi_hooks",
        },
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 8" in done.stdout
    assert "this is a bug" not in kms.log
    assert "Traceback" not in kms.log
    assert kms.stop() == 0
