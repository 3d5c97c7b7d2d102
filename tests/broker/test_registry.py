"""Schedules in Confluent's wire format, with a real registry: away, new, wrong, behind TLS."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import confluent_kafka as ck
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference
from local_registry import LocalRegistry

from kms.schedule import Schedule
from tests.broker.checks import check
from tests.broker.cluster import Arrived, Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import ROOT, Instance
from tests.broker.registry import LARGER, OPTIONAL, SMALLER, WHOLE, Writers, schema_of
from tests.broker.registry_door import Door
from tests.broker.test_web_writing import TOKEN, post

MakeInstance = Callable[..., Instance]
FUTURE_MS = 3_600_000
FAR_MS = 4_102_444_800_000
KIND = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}'


class Scene(NamedTuple):
    topic: str
    avro: str
    target: str
    dead: str
    url: str
    writers: Writers

    def environment(self) -> dict[str, str]:
        return {
            "REGISTRY_SCHEDULE_TOPICS": self.topic,
            "KMS_SCHEMA_REGISTRY_URL": self.url,
            "KMS_DEAD_LETTER_TOPIC": self.dead,
            "KMS_RETRY_LONGEST_PAUSE": "500ms",
            "KMS_RETRY_FOR": "1ms",  # an outage of the registry must not count
        }

    def whole(self, schema_id: int, key: bytes, due_ms: int = 0) -> bytes:
        fields = {"time": time_of(due_ms), "topic": self.target, "key": key, "value": b"v"}
        return self.writers.by_hand(schema_id, WHOLE, {**fields, "headers": {}})


@pytest.fixture
def scene(cluster: Cluster, registry: LocalRegistry) -> Iterator[Scene]:
    topic, avro = cluster.schedule_topic(), cluster.schedule_topic()
    writers = Writers(registry.url)
    yield Scene(topic, avro, cluster.topic(), cluster.topic(), registry.url, writers)
    writers.client.close()


def time_of(due_ms: int) -> datetime:
    return datetime.fromtimestamp(due_ms / 1000, UTC)


def told(message: Arrived) -> dict[str, bytes | None]:
    return dict(message.headers)


def keys(found: list[Arrived]) -> list[bytes]:
    return sorted(it.key or b"" for it in found)


def is_ready(kms: Instance) -> str:
    """Empty if it is, else why not."""
    try:
        with urllib.request.urlopen(f"{kms.url}/health/ready", timeout=10):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def test_writers_of_other_versions(cluster: Cluster, instance: MakeInstance, scene: Scene) -> None:
    kms = instance([scene.avro], **scene.environment()).start().caught_up(2)
    due_ms = now_ms() + 1_500
    larger: dict[str, Any] = {
        "time": time_of(due_ms),
        "topic": scene.target,
        "key": b"larger",
        "value": b"\x00\xff",
        "headers": {"h": b"1"},
        "owner": {"topic": "somebody"},
        "price": Decimal(12),
        "tags": ["a", "b"],
    }
    cluster.write(scene.topic, b"1", scene.writers.by_serializer(scene.topic, LARGER, larger))
    smaller_id = scene.writers.register(scene.topic, SMALLER)
    smaller = {"time": time_of(due_ms), "topic": scene.target, "key": "smaller"}
    cluster.write(scene.topic, b"2", scene.writers.by_hand(smaller_id, SMALLER, smaller))
    for name, headers in ((b"none", None), (b"some", {"h": b"1", "null": None})):
        optional = {**smaller, "key": name.decode(), "value": None, "headers": headers}
        value = scene.writers.by_serializer(scene.topic, OPTIONAL, optional)
        cluster.write(scene.topic, name, value)
    larger |= {"key": b"cancelled"}
    cluster.write(scene.topic, b"3", scene.writers.by_serializer(scene.topic, LARGER, larger))
    cluster.write(scene.topic, b"3", None)
    cluster.flush()
    arrived = {it.key: it for it in cluster.arrived(scene.target, 4)}
    assert {key: (it.value, told(it)) for key, it in arrived.items()} == {
        b"larger": (b"\x00\xff", {"h": b"1"}),
        b"smaller": (None, {}),
        b"none": (None, {}),
        b"some": (None, {"h": b"1", "null": None}),
    }
    assert all(it.timestamp_ms >= due_ms for it in arrived.values())
    assert kms.stop() == 0
    assert len(cluster.read(scene.target)) == 4


def test_schemas_that_refer_to_others(
    cluster: Cluster, instance: MakeInstance, scene: Scene
) -> None:
    """Both to one whose version was deleted, as far as registries delete what has an id."""
    client, team, owner = scene.writers.client, f"{scene.topic}-team", f"{scene.topic}-owner"
    to_team = SchemaReference("com.acme.Team", team, 1)
    to_owner = SchemaReference("com.acme.Owner", owner, 1)
    of_team, of_owner = ({"name": it, "type": f"com.acme.{it}"} for it in ("Team", "Owner"))
    for name in ("name", "nick"):
        text = schema_of("com.acme.Team", {"name": name, "type": "string"})
        client.register_schema(team, Schema(text, "AVRO"))
    client.delete_version(team, 1)
    client.register_schema(owner, Schema(schema_of("com.acme.Owner", of_team), "AVRO", [to_team]))
    text = schema_of("com.acme.Schedule", of_owner, of_team, *json.loads(WHOLE)["fields"])
    fields: dict[str, Any] = {
        "time": time_of(0),
        "topic": scene.target,
        "key": b"k",
        "value": b"v",
        "headers": {},
        "Team": {"name": "x"},
        "Owner": {"Team": {"name": "y"}},
    }
    schema = Schema(text, "AVRO", [to_owner, to_team])
    cluster.write(scene.topic, b"1", scene.writers.by_serializer(scene.topic, schema, fields))
    cluster.flush()
    kms = instance([], **scene.environment()).start()
    assert keys(cluster.arrived(scene.target, 1)) == [b"k"]
    assert kms.stop() == 0


def test_what_is_no_schedule(cluster: Cluster, instance: MakeInstance, scene: Scene) -> None:
    whole = scene.writers.register(scene.topic, WHOLE)
    other = schema_of("Other", {"name": "a", "type": "string"})
    other_id = scene.writers.register(f"{scene.topic}-other", other)
    kind_id = scene.writers.register(f"{scene.topic}-json", KIND, "JSON")
    bad = {
        b"plain Avro": scene.whole(whole, b"k", now_ms())[5:],
        b"short": b"\x00\x00",
        b"negative": b"\x00\xff\xff\xff\xff\x00",
        b"cut": scene.whole(whole, b"k")[:-1],
        b"longer": scene.whole(whole, b"k") + b"\x00",
        b"other record": scene.writers.by_hand(other_id, other, {"a": "b"}),
        b"other kind": b"\x00" + kind_id.to_bytes(4, "big") + b"{}",
    }
    kms = instance([], **scene.environment()).start().caught_up()
    for key, value in bad.items():
        cluster.write(scene.topic, key, value)
    # As garbage has it: an id that nobody gave. It is an hour old, so nobody waits for it.
    producer = ck.Producer({"bootstrap.servers": cluster.bootstrap})
    garbage = b"\x00\x7f\x00\x00\x00\x00"
    producer.produce(scene.topic, garbage, b"unknown", timestamp=now_ms() - FUTURE_MS)
    producer.flush()
    cluster.write(scene.topic, b"good", scene.whole(whole, b"good"))
    cluster.flush()
    letters = cluster.arrived(scene.dead, len(bad) + 1)
    assert keys(letters) == sorted([*bad, b"unknown"])
    assert {told(it)["kms-reason"] for it in letters} == {b"undecodable"}
    reasons = {it.key: told(it)["kms-message"] or b"" for it in letters}
    assert b"knows no schema 2130706432" in reasons[b"unknown"]
    assert b"is JSON, not Avro" in reasons[b"other kind"]
    assert keys(cluster.arrived(scene.target, 1)) == [b"good"]
    assert kms.stop() == 0


def test_a_schema_that_the_registry_does_not_know_yet(
    cluster: Cluster, instance: MakeInstance, scene: Scene
) -> None:
    """The record waits for it, as long as it is young."""
    before = scene.writers.register(f"{scene.topic}-before", schema_of("Before"))
    kms = instance([], **scene.environment()).start().caught_up()
    cluster.write(scene.topic, b"early", scene.whole(before + 1, b"early"))
    cluster.flush()
    kms.wait_for_log("the schema registry does not know it")
    assert cluster.read(scene.target) == cluster.read(scene.dead) == []
    new = WHOLE.replace("com.sky.Schedule", "com.sky.Early")
    assert scene.writers.register(scene.topic, new) == before + 1
    assert keys(cluster.arrived(scene.target, 1)) == [b"early"]
    assert kms.stop() == 0


def test_a_registry_that_is_away(
    cluster: Cluster, instance: MakeInstance, scene: Scene, registry: LocalRegistry
) -> None:
    """It holds its topic back and nothing else, over a kill too; afterwards all fire once."""
    known = scene.writers.register(scene.topic, WHOLE)
    fresh = scene.writers.register(f"{scene.topic}-2", SMALLER)
    kms = instance([scene.avro], **scene.environment()).start().caught_up(2)
    soon_ms = now_ms() + 5_000
    cluster.write(scene.topic, b"first", scene.whole(known, b"first"))
    cluster.write(scene.topic, b"soon", scene.whole(known, b"soon", soon_ms))
    cluster.write(scene.topic, b"never", scene.whole(known, b"never", soon_ms))
    cluster.flush()
    cluster.arrived(scene.target, 1)

    registry.kill()
    try:
        cluster.write(scene.topic, b"cached", scene.whole(known, b"cached"))
        cluster.flush()
        cluster.arrived(scene.target, 2)
        held = {"time": time_of(0), "topic": scene.target, "key": "held"}
        cluster.write(scene.topic, b"held", scene.writers.by_hand(fresh, SMALLER, held))
        cluster.write(scene.topic, b"never", None)
        cluster.write(scene.topic, b"behind", scene.whole(known, b"behind"))
        cluster.flush()
        kms.wait_for_log(f"{scene.topic}/0 waits at offset ")
        assert "wait for the schema registry" in wait_for(
            "not ready", lambda: is_ready(kms) or None
        )
        wait_for("the gauge", lambda: kms.metrics()["kms_held_partitions"] == 1)
        wait_for("its time", lambda: now_ms() > soon_ms + 500)
        cluster.schedule(scene.avro, b"beside", Schedule(0, scene.target, b"beside", b"v"))
        cluster.flush()
        assert keys(cluster.arrived(scene.target, 3)) == [b"beside", b"cached", b"first"]

        kms.kill()
        kms.start().caught_up(1).wait_for_log(f"{scene.topic}/0 waits at offset ")
        cluster.schedule(scene.avro, b"again", Schedule(0, scene.target, b"again", b"v"))
        cluster.flush()
        cluster.arrived(scene.target, 4)
    finally:
        registry.start()
    cluster.arrived(scene.target, 7)
    kms.wait_for_log("is read on from offset")
    kms.caught_up(2)
    wait_for("readiness", lambda: is_ready(kms) == "")
    assert kms.stop() == 0
    assert keys(cluster.read(scene.target)) == sorted(
        [b"first", b"soon", b"cached", b"held", b"behind", b"beside", b"again"]
    )
    assert cluster.read(scene.dead) == []


def test_what_is_folded_needs_no_registry_after_a_restart(
    cluster: Cluster, instance: MakeInstance, scene: Scene, registry: LocalRegistry
) -> None:
    """Its schemas are in the cache. Where they were lost, it waits, and is no dead letter."""
    known = scene.writers.register(scene.topic, WHOLE)
    kms = instance([], **scene.environment()).start().caught_up()
    soon_ms = now_ms() + 3_000
    cluster.write(scene.topic, b"a", scene.whole(known, b"a", soon_ms))
    cluster.write(scene.topic, b"b", scene.whole(known, b"b", soon_ms + 6_000))
    cluster.flush()
    wait_for("both", lambda: pending(kms) == 2)
    assert kms.stop() == 0
    registry.kill()
    try:
        kms.start().caught_up()
        assert keys(cluster.arrived(scene.target, 1)) == [b"a"]
        assert kms.stop() == 0
        # Another address is another registry, of which nothing is known.
        other = scene.environment() | {"KMS_SCHEMA_REGISTRY_URL": f"{scene.url}/"}
        again = instance([], cache=kms.cache, group=kms.group, **other).start().caught_up()
        again.wait_for_log("schema", 1)
        again.wait_for_log("attempt 1:")
        assert cluster.read(scene.dead) == []
    finally:
        registry.start()
    assert keys(cluster.arrived(scene.target, 2)) == [b"a", b"b"]
    assert again.stop() == 0
    assert len(cluster.read(scene.target)) == 2
    assert cluster.read(scene.dead) == []


def test_schedule_writes_with_the_newest_schema(
    cluster: Cluster, instance: MakeInstance, scene: Scene, tmp_path: Path
) -> None:
    commands = Kms(cluster.bootstrap, tmp_path / "unused.sqlite")
    commands.environment |= scene.environment()
    what = ("--to", scene.target, "--in", "0s", "--value", "v", "--header", "a=b")
    commands.ok("schedule", "--on", scene.topic, "--key", "ours", *what)
    subject = f"{scene.topic}-value"
    assert scene.writers.client.get_versions(subject) == [1]
    extra = {"name": "extra", "type": "string", "default": "x"}
    newest = schema_of("Schedule", extra, *json.loads(WHOLE)["fields"])
    newest_id = scene.writers.register(scene.topic, newest)
    commands.ok("schedule", "--on", scene.topic, "--key", "newest", *what)
    assert scene.writers.client.get_versions(subject) == [1, 2]
    written = [it.value or b"" for it in cluster.read(scene.topic)]
    assert int.from_bytes(written[1][1:5], "big") == newest_id
    kms = instance([], **scene.environment()).start()
    arrived = cluster.arrived(scene.target, 2)
    assert keys(arrived) == [b"newest", b"ours"]
    assert {(it.value, told(it)["a"]) for it in arrived} == {(b"v", b"b")}
    assert kms.stop() == 0


def test_what_comes_by_http_is_written_as_well(
    cluster: Cluster, instance: MakeInstance, scene: Scene, registry: LocalRegistry
) -> None:
    """With our schema where there is none; while the registry is away the answer says so."""
    kms = instance([], KMS_HTTP_TOKEN=TOKEN, **scene.environment()).start().caught_up()
    registry.kill()
    try:
        answer = post(kms, {"to": scene.target, "in": "0s", "value": "v", "id": "away"})
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "schema registry" in answer.json["error"]
    finally:
        registry.start()
    order = {"to": scene.target, "in": "0s", "key": "k", "value": "v", "headers": {"a": "b"}}
    assert post(kms, {**order, "id": "posted"}).status == 201
    (arrived,) = cluster.arrived(scene.target, 1)
    assert (arrived.key, arrived.value, told(arrived)["a"]) == (b"k", b"v", b"b")
    assert scene.writers.client.get_versions(f"{scene.topic}-value") == [1]
    assert kms.stop() == 0
    assert keys(cluster.read(scene.target)) == [b"k"]


def test_who_goes_on_writing_asks_for_the_newest_schema(
    cluster: Cluster, instance: MakeInstance, scene: Scene
) -> None:
    """Each time: there may be a newer one, or none any more."""
    kms = instance([], KMS_HTTP_TOKEN=TOKEN, **scene.environment()).start().caught_up()
    client, subject = scene.writers.client, f"{scene.topic}-value"

    def written(schedule_id: str) -> int:
        order = {"to": scene.target, "in": "0s", "key": schedule_id, "value": "v"}
        assert post(kms, {**order, "id": schedule_id}).status == 201
        values = {it.key: it.value for it in cluster.read(scene.topic) if it.value is not None}
        return int.from_bytes(values[schedule_id.encode()][1:5], "big")

    ours = written("ours")
    assert written("same") == ours
    newest = scene.writers.register(scene.topic, WHOLE)
    assert written("newest") == newest != ours
    cluster.arrived(scene.target, 3)
    for permanent in (False, True):
        client.delete_subject(subject, permanent)
    written("again")
    assert client.get_versions(subject) == [1]
    assert keys(cluster.arrived(scene.target, 4)) == [b"again", b"newest", b"ours", b"same"]
    assert kms.stop() == 0


def test_who_looks(
    cluster: Cluster,
    instance: MakeInstance,
    scene: Scene,
    registry: LocalRegistry,
    tmp_path: Path,
) -> None:
    """inspect, --watch, --from-kafka and check, while the registry answers and while it is away."""
    known = scene.writers.register(scene.topic, WHOLE)
    kms = instance([], **scene.environment()).start().caught_up()
    cluster.write(scene.topic, b"later", scene.whole(known, b"k", FAR_MS))
    cluster.flush()
    wait_for("it", lambda: pending(kms) == 1)
    commands = Kms(cluster.bootstrap, kms.cache)
    commands.environment |= {**scene.environment(), "PROMETHEUS_SCRAPING_ENDPOINT_PORT": "0"}
    nowhere = Kms(cluster.bootstrap, tmp_path / "none.sqlite")
    nowhere.environment |= scene.environment()
    other = Kms(cluster.bootstrap, kms.cache)  # of which the cache remembers nothing
    other.environment |= commands.environment | {"KMS_SCHEMA_REGISTRY_URL": f"{scene.url}/"}

    def inspected(by: Kms, *more: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(by.ok("inspect", "--json", *more))
        return found

    whole = {"id": "later", "due_ms": FAR_MS, "target_topic": scene.target, "key": "k"}
    target = ("--target", scene.target)
    for by, more in (
        (commands, ()),
        (commands, target),
        (commands, ("later",)),
        (nowhere, ("--from-kafka",)),
        (nowhere, ("--from-kafka", "later")),
        (other, target),
    ):
        assert inspected(by, *more).items() >= whole.items()
    assert inspected(commands, "--count", "--by", "topic") == {"topic": scene.target, "count": 1}
    found = check(commands)
    assert found.one("schema-registry")[0] == "ok"
    assert found.one("schema", f"{scene.topic}-value")[1].startswith(
        f"schema {known} is the newest"
    )
    assert scene.target in found.one("targets")[1]
    registry.kill()
    try:
        assert inspected(commands, *target).items() >= whole.items()
        assert inspected(commands, "later").items() >= whole.items()
        away = {"id": "later", "due_ms": FAR_MS, "target_topic": None, "offset": 0, "partition": 0}
        unread = inspected(other)
        assert unread.items() >= away.items()
        assert f"schema {known} is not known: the schema registry at" in unread["not_read"]
        done = other.run("inspect")
        assert (done.returncode, b"could not be had" in done.stdout) == (0, True)
        assert b"Not all schemas could be had" in done.stderr
        assert b"schema could not be had" in nowhere.run("inspect", "later", "--from-kafka").stdout
        assert inspected(nowhere, "--from-kafka")["due_ms"] is None
        assert watched(commands)["next"] == [{"id": "later", "due_ms": FAR_MS}]
        assert watched(other)["next"] == [{"id": "later", "due_ms": FAR_MS}]
        level, text = check(commands).one("schema-registry")
        assert (level, "KMS_SCHEMA_REGISTRY_URL" in text) == ("error", True)
    finally:
        registry.start()
    assert kms.stop() == 0


def watched(by: Kms) -> dict[str, Any]:
    """The first line of --watch."""
    with subprocess.Popen(
        [sys.executable, str(ROOT / "kms.py"), "inspect", "--watch", "--json"],
        env=by.environment,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(process.stdout.readline())
        process.terminate()
    return found


def test_with_tls_and_a_password(
    cluster: Cluster, instance: MakeInstance, scene: Scene, tmp_path: Path
) -> None:
    with Door(scene.url, tmp_path, "kms", "hunter2") as door:
        environment = scene.environment() | door.environment()
        commands = Kms(cluster.bootstrap, tmp_path / "unused.sqlite")
        commands.environment |= environment
        what = ("--to", scene.target, "--in", "0s", "--key", "k", "--value", "v")
        commands.ok("schedule", "--on", scene.topic, *what)

        (tmp_path / "wrong").write_text("wrong")
        wrong = environment | {"KMS_SCHEMA_REGISTRY_PASSWORD_FILE": str(tmp_path / "wrong")}
        kms = instance([], **wrong).start()
        kms.wait_for_log("HTTP status code 401")
        commands.environment |= wrong
        level, text = check(commands).one("schema-registry")
        assert (level, "KMS_SCHEMA_REGISTRY_USER" in text) == ("error", True)
        assert "hunter2" not in text
        assert kms.stop() == 0
        assert "hunter2" not in kms.log
        strangers = {name: text for name, text in environment.items() if "_CA" not in name}
        kms = instance([], **strangers).start()
        kms.wait_for_log("CERTIFICATE_VERIFY_FAILED")
        assert kms.stop() == 0
        kms = instance([], **environment).start()
        assert keys(cluster.arrived(scene.target, 1)) == [b"k"]
        assert kms.stop() == 0


def pending(kms: Instance) -> float:
    found = kms.metrics()
    return sum(count for name, count in found.items() if name.startswith("kms_schedules_pending"))
