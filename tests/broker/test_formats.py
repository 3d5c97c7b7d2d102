"""Topics of each format in one service: fired, cancelled, started again, with a history."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kms.schedule import Header, Schedule
from tests.broker.cluster import Arrived, Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import Instance

MakeInstance = Callable[..., Instance]
FUTURE_MS = 3_600_000


def of_sky(due_ms: int, target: str, key: bytes, value: bytes | None) -> bytes:
    """JSON as sky-uk's producers write it."""
    texts = [part if part is None else base64.b64encode(part).decode() for part in (key, value)]
    found = {"time": due_ms, "topic": target, "key": texts[0], "value": texts[1], "headers": {}}
    return json.dumps(found, separators=(",", ":")).encode()


def of_etf1(due_ms: int, target: str, key: bytes) -> list[Header]:
    """Headers as etf1's clients write them."""
    return [
        ("customHeader", b"whatever"),
        ("scheduler-epoch", b"%d" % (due_ms // 1000)),
        ("scheduler-target-topic", target.encode()),
        ("scheduler-target-key", key),
    ]


WITH_HEADER = Schedule(0, "", b"A", b"avro", (("h", b"1"),))


class Scene(NamedTuple):
    avro: str
    json: str
    headers: str
    target: str
    history: str

    def environment(self) -> dict[str, str]:
        return {
            "JSON_SCHEDULE_TOPICS": self.json,
            "HEADER_SCHEDULE_TOPICS": self.headers,
            "HISTORY_TOPIC": self.history,
        }


@pytest.fixture
def scene(cluster: Cluster) -> Scene:
    first, second, third = (cluster.schedule_topic() for _ in range(3))
    return Scene(first, second, third, cluster.topic(), cluster.topic())


def told(message: Arrived) -> dict[str, bytes | None]:
    return dict(message.headers)


def test_all_formats_at_once(cluster: Cluster, instance: MakeInstance, scene: Scene) -> None:
    kms = instance([scene.avro], **scene.environment()).start().caught_up(3)
    due_ms = now_ms() + 1_000
    cluster.schedule(
        scene.avro, b"a", Schedule(due_ms, scene.target, b"A", b"avro", (("h", b"1"),))
    )
    cluster.write(scene.json, b"j", of_sky(due_ms, scene.target, b"J", b"json"))
    cluster.write(scene.json, b"null", of_sky(due_ms, scene.target, b"N", None))
    cluster.write(scene.headers, b"e", b"etf1", headers=of_etf1(due_ms, scene.target, b"E"))
    cluster.write(scene.headers, b"empty", b"", headers=of_etf1(due_ms, scene.target, b"0"))
    cluster.flush()

    arrived = {it.key: it for it in cluster.arrived(scene.target, 5)}
    assert {key: it.value for key, it in arrived.items()} == {
        b"A": b"avro",
        b"J": b"json",
        b"N": None,
        b"E": b"etf1",
        b"0": b"",
    }
    assert all(it.timestamp_ms >= due_ms // 1000 * 1000 for it in arrived.values())
    assert arrived[b"A"].headers == [("h", b"1")]
    (written,) = (it for it in cluster.read(scene.headers) if it.key == b"e" and it.value)
    assert arrived[b"E"].headers == [
        *of_etf1(due_ms, scene.target, b"E"),
        ("scheduler-timestamp", b"%d" % (written.timestamp_ms // 1000)),
        ("scheduler-key", b"e"),
        ("scheduler-topic", scene.headers.encode()),
    ]

    past = {it.key: it for it in cluster.read(scene.history)}
    assert {key: it.value for key, it in past.items()} == {
        key: it.value for key, it in arrived.items()
    }
    assert past[b"E"].headers == arrived[b"E"].headers
    of_avro = told(past[b"A"])
    assert of_avro["h"] == b"1"
    assert of_avro["scheduler-key"] == b"a"
    assert of_avro["scheduler-topic"] == scene.avro.encode()
    assert of_avro["scheduler-target-topic"] == scene.target.encode()
    assert of_avro["scheduler-epoch"] == b"%d" % (due_ms // 1000)

    for topic in (scene.avro, scene.json, scene.headers):
        ended = [it for it in cluster.read(topic) if it.value is None]
        assert {told(it)["schedule:expired"] for it in ended} == {b"true"}
    assert kms.stop() == 0


def test_what_is_pending_survives_a_restart(
    cluster: Cluster, instance: MakeInstance, scene: Scene
) -> None:
    """Its headers and its timestamp too, out of the cache; and a cancel is one in each format."""
    kms = instance([], **scene.environment()).start().caught_up(2)
    far_ms = now_ms() + FUTURE_MS
    cluster.write(scene.headers, b"e", b"far", headers=of_etf1(far_ms, scene.target, b"E"))
    cluster.write(scene.headers, b"c", b"never", headers=of_etf1(far_ms, scene.target, b"C"))
    cluster.write(scene.json, b"j", of_sky(far_ms, scene.target, b"J", b"far"))
    cluster.flush()
    wait_for("all of them", lambda: pending(kms) == 3)
    inspected(kms, scene)
    inspected(kms, scene, "--from-kafka")
    soon_ms = now_ms() + 5_000
    cluster.write(scene.headers, b"s", b"soon", headers=of_etf1(soon_ms, scene.target, b"S"))
    cluster.flush()
    wait_for("the one that comes soon", lambda: pending(kms) == 4)
    assert kms.stop() == 0
    cluster.write(scene.headers, b"c", None)
    cluster.flush()

    kms.start().caught_up(2)
    (soon,) = cluster.arrived(scene.target, 1)
    (written,) = (it for it in cluster.read(scene.headers) if it.key == b"s" and it.value)
    assert (soon.key, soon.value) == (b"S", b"soon")
    assert soon.headers[0] == ("customHeader", b"whatever")
    assert told(soon)["scheduler-timestamp"] == b"%d" % (written.timestamp_ms // 1000)
    wait_for("its tombstone", lambda: pending(kms) == 2)

    cluster.write(scene.json, b"j", of_sky(0, scene.target, b"J", b"updated"))
    cluster.write(scene.headers, b"e", b"updated", headers=of_etf1(0, scene.target, b"E"))
    cluster.flush()
    arrived = cluster.arrived(scene.target, 3)[1:]
    assert sorted((it.key, it.value) for it in arrived) == [(b"E", b"updated"), (b"J", b"updated")]
    assert kms.stop() == 0


def test_what_is_no_schedule_of_its_format(
    cluster: Cluster, instance: MakeInstance, scene: Scene
) -> None:
    dead = cluster.topic()
    environment = scene.environment() | {"KMS_DEAD_LETTER_TOPIC": dead}
    kms = instance([], **environment).start().caught_up(2)
    cluster.write(scene.json, b"1", b"{}")
    cluster.write(scene.headers, b"2", b"without headers")
    good = of_etf1(0, scene.target, b"k")
    cluster.write(scene.headers, b"3", b"m", headers=[*good[:1], ("scheduler-epoch", b"soon")])
    cluster.write(scene.headers, b"4", b"good", headers=good)
    cluster.flush()
    letters = cluster.arrived(dead, 3)
    assert {it.key: told(it)["kms-reason"] for it in letters} == dict.fromkeys(
        [b"1", b"2", b"3"], b"undecodable"
    )
    assert [it.value for it in cluster.arrived(scene.target, 1)] == [b"good"]
    assert kms.stop() == 0


@pytest.mark.parametrize("form", ["json", "headers"])
def test_schedule_writes_the_format_of_the_topic(
    cluster: Cluster, instance: MakeInstance, scene: Scene, tmp_path: Path, form: str
) -> None:
    commands = Kms(cluster.bootstrap, tmp_path / "unused.sqlite")
    commands.environment |= scene.environment()
    topic = scene.json if form == "json" else scene.headers
    what = ("--to", scene.target, "--in", "0s", "--key", "k", "--value", "v", "--header", "a=b")
    commands.ok("schedule", "--on", topic, *what)
    kms = instance([], **scene.environment()).start()
    (arrived,) = cluster.arrived(scene.target, 1)
    assert (arrived.key, arrived.value, told(arrived)["a"]) == (b"k", b"v", b"b")
    assert kms.stop() == 0


def inspected(kms: Instance, scene: Scene, *how: str) -> None:
    """Inspect finds all of the target, which it can only by the formats."""
    commands = Kms(kms.cluster.bootstrap, kms.cache)
    commands.environment |= scene.environment()
    lines = commands.ok("inspect", "--target", scene.target, "--json", *how).splitlines()
    found = [json.loads(line) for line in lines]
    assert {it["id"]: it["value"] for it in found} == {
        "e": "far",
        "c": "never",
        "j": "far",
    }
    counted = commands.ok("inspect", "--count", "--by", "topic", "--json", *how)
    assert json.loads(counted)["count"] == 3


def pending(kms: Instance) -> float:
    found = kms.metrics()
    return sum(count for name, count in found.items() if name.startswith("kms_schedules_pending"))
