"""Kinds of schedule asked for by headers: too late, in a window, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from local_registry import LocalRegistry

from kms.formats import FORMATS, Schemas
from kms.kinds import Kind
from kms.occurrences import spot_ms
from kms.registry import schemas_of
from kms.schedule import Schedule, fired_of
from kms.settings import Settings
from tests.broker.cluster import Arrived, Cluster, now_ms, wait_for
from tests.broker.instance import VARIABLES, Instance

MakeInstance = Callable[..., Instance]
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


class Scene:
    """A schedule topic of a format, and a target."""

    def __init__(
        self,
        cluster: Cluster,
        instance: MakeInstance,
        form: str = "avro",
        schemas: Schemas | None = None,
        /,
        **settings: str,
    ) -> None:
        self.cluster = cluster
        self.topic, self.target = cluster.schedule_topic(), cluster.topic()
        self._form = FORMATS[form](self.topic, schemas)
        variables = {"SCHEDULE_TOPICS": "", VARIABLES[form]: self.topic, **settings}
        self.kms = instance([self.topic], **variables)

    def put(self, schedule_id: str, due_ms: int, **asked: str) -> None:
        """Schedule a message with the id as its value."""
        own = (("own", b"1"),)
        wanted = Schedule(due_ms, self.target, b"k", schedule_id.encode(), own)
        value, headers = self._form.encode(wanted)
        more = [(f"kms-{name}", text.encode()) for name, text in asked.items()]
        self.cluster.write(self.topic, schedule_id.encode(), value, headers=[*headers, *more])

    def records(self, schedule_id: str) -> list[Arrived]:
        """What is on the schedule topic under an id."""
        self.cluster.flush()
        return [it for it in self.cluster.read(self.topic) if it.key == schedule_id.encode()]

    def ended(self, schedule_id: str) -> Arrived:
        """Wait for its tombstone."""
        return wait_for(
            f"the end of {schedule_id}",
            lambda: next((it for it in self.records(schedule_id) if it.value is None), None),
        )

    def messages(self, schedule_id: str) -> list[Arrived]:
        """What was fired of it."""
        found = self.cluster.read(self.target)
        return [it for it in found if it.value == schedule_id.encode()]

    def mark(self) -> None:
        """Wait until what is due by now was fired."""
        self.put("mark", now_ms())
        self.cluster.flush()
        self.ended("mark")


@pytest.mark.parametrize("buries", [True, False])
def test_what_is_too_late_is_not_fired(
    cluster: Cluster, instance: MakeInstance, buries: bool
) -> None:
    dead = cluster.topic()
    settings = {"KMS_DEAD_LETTER_TOPIC": dead} if buries else {}
    scene = Scene(cluster, instance, **settings)
    due_ms = now_ms() - HOUR
    scene.put("late", due_ms, expires="5m")
    scene.put("too late by the clock", due_ms, expires=str(due_ms + 1))
    scene.put("in time", due_ms, expires="1d")
    scene.put("bad", due_ms, expires="soon")
    cluster.flush()
    scene.kms.start()
    late = [scene.ended("late"), scene.ended("too late by the clock")]
    scene.ended("in time")
    topic_id = cluster.topic_id(scene.topic)
    assert [fired_of(it.headers) for it in late] == [(0, topic_id), (1, topic_id)]
    assert [it.value for it in cluster.read(scene.target)] == [b"in time"]
    name = f'kms_schedules_expired_total{{topic="{scene.target}"}}'
    wait_for("two to be counted", lambda: scene.kms.metrics().get(name) == 2)
    if buries:
        letters = {it.key: dict(it.headers) for it in cluster.arrived(dead, 3)}
        reasons = {it: said["kms-reason"] for it, said in letters.items()}
        assert reasons == {
            b"late": b"expired",
            b"too late by the clock": b"expired",
            b"bad": b"bad-header",
        }
        assert b"kms-expires" in (letters[b"bad"]["kms-message"] or b"")
        assert letters[b"late"]["kms-expires"] == b"5m"
    else:
        failed = "kms_schedules_failed"
        wait_for("the bad one to be set aside", lambda: scene.kms.metrics().get(failed) == 1)
        assert "the header kms-expires can't be read: 'soon' is no time" in scene.kms.log
        assert "Too late, so not fired (expired)" in scene.kms.log
    rejected = f'kms_records_rejected_total{{reason="bad-header",schedule_topic="{scene.topic}"}}'
    assert scene.kms.metrics()[rejected] == 1
    assert scene.kms.stop() == 0


def test_a_window_spreads_what_is_due_together(cluster: Cluster, instance: MakeInstance) -> None:
    scene = Scene(cluster, instance)
    due_ms, count = now_ms() + 3 * SECOND, 100
    for number in range(count):
        scene.put(str(number), due_ms, window="4s")
    cluster.flush()
    scene.kms.start().caught_up()
    scene.kms.kill()  # the spots are the same afterwards, whatever the cache has
    scene.kms.cache.unlink()
    scene.kms.start()
    arrived = cluster.arrived(scene.target, count)
    spots = {b"%d" % n: spot_ms(Kind(4 * SECOND), b"%d" % n, due_ms) for n in range(count)}
    assert {it.value for it in arrived} == set(spots)
    assert len(arrived) == count
    assert all(it.timestamp_ms >= spots[it.value or b""] for it in arrived)
    by_spot = sorted(arrived, key=lambda it: spots[it.value or b""])
    assert [it.offset for it in by_spot] == [it.offset for it in arrived], "not in order of spots"
    assert max(it.timestamp_ms for it in arrived) > due_ms + 3 * SECOND
    assert scene.kms.stop() == 0


@pytest.fixture
def schemas(registry: LocalRegistry) -> Iterator[Schemas]:
    """What to write with."""
    settings = Settings(registry_schedule_topics=("any",), kms_schema_registry_url=registry.url)
    found = schemas_of(settings)
    assert found is not None
    with closing(found):
        yield found


@pytest.mark.parametrize("form", ["avro", "json", "headers", "registry"])
def test_an_interval_with_a_count(
    cluster: Cluster,
    instance: MakeInstance,
    registry: LocalRegistry,
    schemas: Schemas,
    form: str,
) -> None:
    """With what is too late beside it, and a history."""
    history = cluster.topic()
    settings = {
        "KMS_DELIVERY": "at-least-once" if form == "json" else "exactly-once",
        "KMS_SCHEMA_REGISTRY_URL": registry.url,
        "HISTORY_TOPIC": history,
    }
    scene = Scene(cluster, instance, form, schemas, **settings)
    scene.kms.start().caught_up()
    due_ms = (now_ms() // SECOND + 2) * SECOND
    scene.put("late", due_ms - HOUR, expires="5m")
    scene.put("often", due_ms, every="PT1S", count="4", missed="all")
    scene.ended("often")
    scene.ended("late")
    first, *again, tombstone = scene.records("often")
    topic_id, offsets = cluster.topic_id(scene.topic), [first.offset]
    assert len(again) == 3
    for number, record in enumerate(again, 1):
        said = dict(record.headers)
        assert record.value == first.value
        assert said["kms-next"] == b"%d" % (due_ms + number * SECOND)
        assert said["kms-occurrence"] == b"%d" % number
        assert said["kms-every"] == b"PT1S"
        assert len(said) == len(record.headers), "headers pile up"
        assert fired_of(record.headers) == (offsets[-1], topic_id)
        offsets.append(record.offset)
    assert fired_of(tombstone.headers) == (offsets[-1], topic_id)
    messages = scene.messages("often")
    assert len(messages) == 4
    for number, message in enumerate(messages):
        assert message.timestamp_ms >= due_ms + number * SECOND
        assert not [name for name, _ in message.headers if name.startswith("kms-")]
        assert dict(message.headers)["own"] == b"1"
    assert scene.messages("late") == []
    copies = cluster.arrived(history, 4)
    assert [it.value for it in copies] == [b"often"] * 4
    for copy in copies:
        said = dict(copy.headers)
        assert (said["scheduler-key"], said["own"]) == (b"often", b"1")
        assert said["scheduler-topic"] == scene.topic.encode()
        assert said["scheduler-target-topic"] == scene.target.encode()
    assert scene.kms.stop() == 0


def test_what_was_missed_while_nobody_ran(cluster: Cluster, instance: MakeInstance) -> None:
    scene = Scene(cluster, instance)
    # The next one is far enough away for the slowest test.
    due_ms = now_ms() - 65 * MINUTE
    expected: Mapping[str, int] = {"one": 1, "all": 7, "none": 0}
    for missed in expected:
        scene.put(missed, due_ms, every="10m", missed=missed)
    scene.put("first", due_ms, every="10m", expires="1m")
    cluster.flush()
    scene.kms.start()
    for missed, count in expected.items():
        next_ms = due_ms + 70 * MINUTE

        def is_next(missed: str = missed, next_ms: int = next_ms) -> bool:
            said = dict(scene.records(missed)[-1].headers)
            return said.get("kms-next") == b"%d" % next_ms

        wait_for(f"the next one of {missed}", is_next)
        assert len(scene.messages(missed)) == count
    scene.mark()
    assert scene.messages("first") == []
    assert scene.kms.metrics()[f'kms_schedules_expired_total{{topic="{scene.target}"}}'] == 2
    pending = f'kms_schedules_pending{{partition="0",schedule_topic="{scene.topic}"}}'
    wait_for("four to be pending", lambda: scene.kms.metrics()[pending] == 4)
    assert scene.kms.stop() == 0


def test_a_cancel_ends_it_and_an_update_changes_it(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    scene.kms.start()
    for schedule_id in ("cancelled", "updated"):
        scene.put(schedule_id, now_ms(), cron="* * * * * *", timezone="Europe/Berlin")
    wait_for("some of one", lambda: len(scene.messages("cancelled")) >= 2)
    wait_for("some of the other", lambda: len(scene.messages("updated")) >= 2)
    cluster.write(scene.topic, b"cancelled", None)
    scene.put("updated", now_ms() + HOUR, every="1h")
    cluster.flush()
    scene.mark()
    counts = len(scene.messages("cancelled")), len(scene.messages("updated"))
    until_ms = now_ms() + 2 * SECOND
    wait_for("two more occurrences", lambda: now_ms() > until_ms)
    scene.mark()
    assert (len(scene.messages("cancelled")), len(scene.messages("updated"))) == counts
    assert scene.records("cancelled")[-1].value is None
    assert dict(scene.records("updated")[-1].headers)["kms-every"] == b"1h"
    assert scene.kms.stop() == 0


def test_what_cant_be_fired_ends_whole_in_its_dead_letter(
    cluster: Cluster, instance: MakeInstance
) -> None:
    dead = cluster.topic()
    scene = Scene(cluster, instance, KMS_DEAD_LETTER_TOPIC=dead)
    scene.put("itself", now_ms(), every="1s")
    cluster.flush()
    value, _ = FORMATS["avro"]("").encode(Schedule(0, scene.topic, b"own id", b"v"))
    cluster.write(scene.topic, b"own id", value, headers=[("kms-every", b"1h")])
    value, _ = FORMATS["avro"]("").encode(Schedule(0, "no/topic", b"", b"v"))
    cluster.write(scene.topic, b"nowhere", value, headers=[("kms-every", b"1h")])
    cluster.flush()
    scene.kms.start()
    letters = {it.key: it for it in cluster.arrived(dead, 2)}
    reasons = {it: dict(letter.headers)["kms-reason"] for it, letter in letters.items()}
    assert reasons == {b"own id": b"bad-header", b"nowhere": b"illegal-topic"}
    assert dict(letters[b"nowhere"].headers)["kms-every"] == b"1h"
    for schedule_id in ("own id", "nowhere"):
        assert scene.ended(schedule_id).offset == scene.records(schedule_id)[-1].offset
    wait_for("the others to go on", lambda: len(scene.messages("itself")) >= 2)
    assert scene.kms.stop() == 0


def test_a_cron_of_five_fields_goes_by_the_clock_of_its_time_zone(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    india = ZoneInfo("Asia/Kolkata")  # 5:30 ahead, whatever the season
    first = datetime.now(india).replace(second=0, microsecond=0) - timedelta(hours=1)
    asked = {"cron": f"{first.minute} {first.hour} * * *", "timezone": india.key}
    scene.put("daily", now_ms() - 2 * HOUR, **asked)
    cluster.flush()
    scene.kms.start()
    cluster.arrived(scene.target, 1)  # the one of an hour ago
    again = wait_for("its next record", lambda: scene.records("daily")[1:] or None)
    tomorrow = first + timedelta(days=1)
    assert dict(again[-1].headers)["kms-next"] == b"%d" % (tomorrow.timestamp() * 1000)
    assert scene.kms.stop() == 0
    assert len(scene.messages("daily")) == len(again) == 1


def test_until_is_the_last_time_by_the_clock_of_the_time_zone(
    cluster: Cluster, instance: MakeInstance
) -> None:
    scene = Scene(cluster, instance)
    scene.kms.start().caught_up()
    india = ZoneInfo("Asia/Kolkata")
    first = datetime.now(india).replace(microsecond=0) + timedelta(seconds=3)
    until = (first + timedelta(seconds=2)).replace(tzinfo=None).isoformat()
    due_ms = int(first.timestamp() * 1000)
    asked = {"cron": "* * * * * *", "timezone": india.key, "until": until, "missed": "all"}
    scene.put("often", due_ms, **asked)
    scene.ended("often")
    assert scene.kms.stop() == 0
    nexts = [dict(it.headers).get("kms-next") for it in scene.records("often")]
    assert nexts == [None, b"%d" % (due_ms + SECOND), b"%d" % (due_ms + 2 * SECOND), None]
    messages = scene.messages("often")
    assert [it.timestamp_ms >= due_ms + n * SECOND for n, it in enumerate(messages)] == [True] * 3
