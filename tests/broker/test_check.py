"""``check`` on a real broker: beside a running instance, and with faults of every kind."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AclOperation
from local_kafka import LocalKafka, free_ports

from kms.schedule import Schedule
from kms.topics import recommended_config
from tests.broker.acls import documented
from tests.broker.checks import Checked, check
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.commands import Kms
from tests.broker.instance import Instance
from tests.broker.secured import SecuredKafka

HOUR_MS = 3_600_000
# What a broker of its own, with one replica of everything, can't be without.
ALONE = {"topic-replicas", "internal-topic", "clock-kept"}


@pytest.fixture
def kms(cluster: Cluster, tmp_path: Path) -> Kms:
    return configured(Kms(cluster.bootstrap, tmp_path / "kms.sqlite"), [])


def configured(kms: Kms, topics: list[str], **environment: str) -> Kms:
    kms.environment |= {
        "SCHEDULE_TOPICS": ",".join(topics) or "none",
        "CONSUMER_GROUP_ID": f"group-{uuid.uuid4().hex[:8]}",
        "PROMETHEUS_SCRAPING_ENDPOINT_PORT": str(free_ports(1)[0]),
        **environment,
    }
    return kms


def recommended(cluster: Cluster, partitions: int = 1) -> str:
    config = {name.replace(".", "_"): value for name, value in recommended_config().items()}
    return cluster.schedule_topic(partitions, **config)


@pytest.fixture
def running(cluster: Cluster, kms: Kms, tmp_path: Path) -> Iterator[Instance]:
    """An instance with the settings of ``kms``, on a topic as recommended."""
    topic = recommended(cluster, 2)
    configured(kms, [topic], KMS_INSTANCE_ID=f"i-{uuid.uuid4().hex[:8]}")
    names = ("PROMETHEUS_SCRAPING_ENDPOINT_PORT", "KMS_INSTANCE_ID")
    instance = Instance(
        cluster,
        tmp_path,
        [topic],
        group=kms.environment["CONSUMER_GROUP_ID"],
        cache=kms.cache,
        **{name: kms.environment[name] for name in names},  # type: ignore[arg-type]
    )
    yield instance.start().caught_up(2)
    instance.clean_up()


class TestBesideARunningInstance:
    def test_nothing_is_wrong_and_nothing_is_disturbed(
        self, cluster: Cluster, kms: Kms, running: Instance
    ) -> None:
        (topic,), target = running.topics, cluster.topic()
        missing = f"missing-{target}"
        for schedule_id, where in ((b"a", target), (b"b", missing), (b"i", "no \x1b[0m topic")):
            later_ms = now_ms() + HOUR_MS
            cluster.schedule(topic, schedule_id, Schedule(later_ms, where, b"k", b"v", ()))
        cluster.schedule(topic, b"c", Schedule(now_ms(), target, b"k", b"before", ()))
        cluster.flush()
        cluster.arrived(target, 1)
        wait_for("the tombstone's fold", lambda: pending(running) == 3)
        ends = [cluster.end_offset(topic, number) for number in (0, 1)]
        warnings = running.log.count("WARNING")  # the broker may have been just started
        done = check(kms)
        assert (done.code, done.errors()) == (0, set())
        assert done.warnings() - ALONE == {"targets"}
        assert {(level, text.split(" (")[0]) for level, text in done.of("targets")} == {
            ("warning", "no topic can have such a name: 'no \\x1b[0m topic'"),
            ("warning", f"they do not exist: {missing}"),
            ("ok", f"may be written: {target}"),
        }
        self.says_who_runs(done, kms, running)
        assert done.one("broker")[1].startswith("answered after ")
        assert " 3 pending" in done.one("cache")[1]
        for number in (0, 1):
            level, text = done.one("cache-age", f"{topic}/{number}")
            assert (level, f"of {ends[number]}, caught up" in text) == ("ok", True), text
        assert f"{topic}/0 " in done.one("lag")[1]
        # Nothing was written, and the instance goes on.
        assert ends == [cluster.end_offset(topic, number) for number in (0, 1)]
        cluster.schedule(topic, b"d", Schedule(now_ms(), target, b"k", b"after", ()))
        cluster.flush()
        cluster.arrived(target, 2)
        assert running.stop() == 0
        assert running.log.count("WARNING") == warnings, running.log

    def says_who_runs(self, done: Checked, kms: Kms, running: Instance) -> None:
        assert f"process {running.process.pid} uses it" in done.one("cache-lock")[1]
        assert "which runs here already" in done.one("http-port")[1]
        level, text = done.one("instance-id")
        assert (level, f"process {running.process.pid} runs here" in text) == ("ok", True)
        level, text = done.one("group")
        assert (level, text.startswith("stable, 1 member ")) == ("ok", True)
        assert f"kms-{kms.environment['KMS_INSTANCE_ID']} at " in text
        assert "(2)" in text

    def test_another_one_with_the_same_identity_or_port_is_said(
        self, kms: Kms, running: Instance, tmp_path: Path
    ) -> None:
        """The settings of a running instance, copied; only the cache is another one."""
        del running
        kms.environment["KMS_CACHE"] = str(tmp_path / "other.sqlite")
        done = check(kms)
        assert done.code == 1
        assert done.errors() == {"http-port"}
        assert "which uses another cache" in done.one("http-port")[1]
        level, text = done.one("instance-id")
        assert level == "warning"
        assert "a start ends it" in text


def pending(instance: Instance) -> float:
    return sum(
        value
        for name, value in instance.metrics().items()
        if name.startswith("kms_schedules_pending")
    )


class TestTheCache:
    def test_one_that_the_start_will_not_use(
        self, cluster: Cluster, kms: Kms, running: Instance
    ) -> None:
        (topic,) = running.topics
        for number in range(500):
            schedule = Schedule(now_ms() + HOUR_MS, "out", b"k", b"v" * 500, ())
            cluster.schedule(topic, b"%d" % number, schedule)
        cluster.flush()
        wait_for("the fold", lambda: pending(running) == 500)
        assert running.stop() == 0
        done = check(kms)
        assert {level for level, _ in done.of("cache-age")} == {"ok"}
        assert done.one("cache-lock")[1].startswith("no process ")
        connection = sqlite3.connect(kms.cache)
        with connection:
            connection.execute("UPDATE partitions SET seen_ms = seen_ms - 2 * ?", [HOUR_MS])
        connection.close()
        done = check(kms)
        assert done.code == 0
        for number in (0, 1):
            level, text = done.one("cache-age", f"{topic}/{number}")
            assert level == "warning"
            assert "tombstones may be gone" in text
        size = kms.cache.stat().st_size
        with kms.cache.open("r+b") as file:
            file.seek(size // 2)
            file.write(b"\xff" * (size // 4))
        before = kms.cache.read_bytes()
        done = check(kms)
        assert done.code == 0
        level, text = done.one("cache")
        assert (level, "damaged" in text) == ("warning", True)
        assert kms.cache.read_bytes() == before


class TestTopics:
    def test_what_is_missing_or_loses_schedules(self, cluster: Cluster, kms: Kms) -> None:
        good, plain = recommended(cluster), cluster.topic()
        missing, dead = f"none-{plain}", f"dead-{plain}"
        configured(kms, [good, plain, missing], KMS_DEAD_LETTER_TOPIC=dead)
        past = kms.environment["HISTORY_TOPIC"] = f"past-{plain}"
        done = check(kms)
        assert done.code == 1
        assert done.errors() == {"topic", "topic-config", "dead-letters", "history"}
        assert "it does not exist" in done.one("history", past)[1]
        assert "it does not exist" in done.one("topic", missing)[1]
        (level, text), *_ = done.of("topic-config", plain)
        assert (level, text.startswith("cleanup.policy is delete")) == ("error", True)
        assert done.one("topic-config", good) == ("ok", "configured as recommended. ")
        assert "it does not exist" in done.one("dead-letters", dead)[1]
        # To look makes no topic.
        assert not {missing, dead, past} & set(cluster.admin.list_topics(timeout=10).topics)
        cluster.topic(name=dead, cleanup_policy="compact")
        cluster.topic(name=past)
        assert check(kms).one("history", past) == ("ok", "there. ")
        text = " ".join(text for _, text in check(kms).of("dead-letters"))
        assert "cleanup.policy is compact" in text
        assert "whole schedule of up to 1048588 bytes" in text


def test_a_control_topic_that_forgets_is_an_error(cluster: Cluster, kms: Kms) -> None:
    control = cluster.topic(cleanup_policy="delete")
    configured(kms, [recommended(cluster)], KMS_CONTROL_TOPIC=control)
    kms.ok("pause", "orders")
    done = check(kms)
    assert ("paused" in done.errors(), done.code) == (True, 1)
    found = dict(done.of("paused"))
    assert found["error"].startswith("cleanup.policy is delete. A pause is forgotten")
    assert found["warning"].startswith("it is paused since")
    cluster.configure(control, "cleanup.policy", "compact")
    assert "paused" not in check(kms).errors()


class TestTheGroup:
    def test_strangers_in_it_are_an_error(self, cluster: Cluster, kms: Kms) -> None:
        """The scheduler that is to be replaced still runs, in the same group."""
        topic = recommended(cluster)
        configured(kms, [topic])
        config = {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": kms.environment["CONSUMER_GROUP_ID"],
            "client.id": "sky",
        }
        consumer = ck.Consumer(config)
        try:
            consumer.subscribe([topic])
            wait_for("its partition", lambda: bool(consumer.poll(0.1) or consumer.assignment()))
            done = check(kms)
        finally:
            consumer.close()
        assert done.errors() == {"group-strangers"}
        assert "sky at " in done.one("group-strangers")[1]


class TestTheClock:
    def test_what_is_dated_in_the_future(self, cluster: Cluster, kms: Kms) -> None:
        topic = recommended(cluster)
        configured(kms, [topic])
        assert check(kms).one("clock-newest")[0] == "skipped"
        producer = ck.Producer({"bootstrap.servers": cluster.bootstrap})
        producer.produce(topic, b"v", b"k", timestamp=now_ms() + 100_000)
        assert producer.flush(10) == 0
        level, text = check(kms).one("clock-newest")
        assert level == "warning"
        assert f"the newest in {topic}/0 is dated " in text

    @pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
    def test_a_probe_is_one_message_and_compares(
        self, cluster: Cluster, kms: Kms, delivery: str
    ) -> None:
        appended, created = cluster.topic(), cluster.topic(message_timestamp_type="CreateTime")
        configured(kms, [recommended(cluster)], KMS_DELIVERY=delivery)
        done = check(kms, "--write-probe", appended)
        assert done.one("probe")[0] == "ok"
        assert done.one("clock-probe")[0] == "ok"
        (message,) = cluster.read(appended)
        assert (message.key, message.value, message.headers) == (
            *(None, None),
            [("kms-check", b"true")],
        )
        level, text = check(kms, "--write-probe", created).one("clock-probe")
        assert (level, "LogAppendTime" in text) == ("skipped", True)

    def test_a_probe_of_schedules_is_refused(self, kms: Kms) -> None:
        configured(kms, ["orders"])
        done = kms.run("check", "--write-probe", "orders")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"name another topic" in done.stderr


class TestAccess:
    @pytest.fixture
    def user(self, secured: SecuredKafka, kms: Kms) -> str:
        name = f"user-{uuid.uuid4().hex[:8]}"
        kms.environment |= secured.environment("SASLTLS", name, secured.user(name))
        return name

    def test_each_acl_is_named(self, secured: SecuredKafka, kms: Kms, user: str) -> None:
        topic, target = recommended(secured.cluster), secured.cluster.topic()
        configured(kms, [topic])
        done = check(kms, "--write-probe", target)
        assert done.errors() == {"acl", "probe"}
        assert [text.split(". ")[0] for _, text in done.of("acl", "ACLs")] == [
            "READ and WRITE not allowed",
            "READ not allowed",
        ]
        group = kms.environment["CONSUMER_GROUP_ID"]
        names = {"schedules": topic, "messages": target, "com.sky.kafka.scheduler": group}
        acls = documented("Exactly once", user, names)
        secured.allow(acls)
        done = check(kms, "--write-probe", target)
        assert (done.code, done.errors()) == (0, set())
        assert {level for level, _ in done.of("acl", "ACLs")} == {"ok"}
        assert done.one("acl", "transactional id")[0] == "skipped"
        assert done.one("probe")[0] == "ok"
        secured.forbid(next(acl for acl in acls if acl.operation is AclOperation.DESCRIBE_CONFIGS))
        kms.environment["KMS_DEAD_LETTER_TOPIC"] = dead = secured.cluster.topic()
        done = check(kms)
        assert done.one("acl", dead)[1].startswith("WRITE not allowed")
        level, text = done.one("topic-config", topic)
        assert (level, "allow DESCRIBE_CONFIGS" in text) == ("warning", True)
        # The page does not ask for more, so what needs more is no warning.
        assert done.one("broker-config")[0] == "skipped"
        assert {level for level, _ in done.of("internal-topic")} <= {"skipped"}

    def test_a_wrong_password(self, kms: Kms, user: str) -> None:
        kms.environment |= {"SCHEDULE_TOPICS": user, "KAFKA_SASL_PASSWORD": "hunter3"}
        done = check(kms)
        assert done.errors() == {"broker"}
        assert "Check KAFKA_SASL_MECHANISM" in done.one("broker")[1]
        assert "hunter3" not in str(done)


class TestBrokers:
    def test_what_they_would_refuse_and_how_it_is_when_they_are_away(
        self, tmp_path: Path, kms: Kms
    ) -> None:
        properties = {
            "group.min.session.timeout.ms": "20000",
            "transaction.max.timeout.ms": "5000",
            "transaction.state.log.replication.factor": "3",
            "auto.create.topics.enable": "true",
        }
        gone = f"127.0.0.1:{free_ports(1)[0]}"
        broker = LocalKafka(
            tmp_path / "kafka", properties, {"ASTRAY": "PLAINTEXT"}, {"ASTRAY": gone}
        )
        broker.start()
        try:
            cluster = Cluster(broker.bootstrap)
            configured(kms, ["made-by-nobody"], KAFKA_BROKERS=f"{broker.bootstrap},{gone}")
            done = check(kms)
            assert done.errors() == {
                *("session-timeout", "transaction-timeout", "internal-topic", "topic"),
            }
            assert "it is 10000, the brokers take 20000 to " in done.one("session-timeout")[1]
            assert "the brokers take up to 5000" in done.one("transaction-timeout")[1]
            assert "is 3, for 1 broker" in done.one("internal-topic", "__transaction_state")[1]
            assert "auto.create.topics.enable is true" in str(done.of("broker-config"))
            assert done.one("broker", gone)[0] == "warning"
            assert "made-by-nobody" not in cluster.admin.list_topics(timeout=10).topics
            kms.environment["KAFKA_BROKERS"] = broker.address("ASTRAY")
            done = check(kms)
            assert done.one("broker", broker.address("ASTRAY"))[0] == "ok"
            level, text = done.one("broker", gone)
            assert (level, "advertised.listeners" in text) == ("error", True)
            kms.environment["KAFKA_BROKERS"] = f"{broker.bootstrap},{gone}"
        finally:
            broker.kill()
        began = time.monotonic()
        done = check(kms)
        assert time.monotonic() - began < 30  # it does not wait for Kafka
        assert done.errors() == {"broker"}
        assert [level for level, _ in done.of("broker")] == ["error", "error"]
        assert done.one("kafka")[0] == "skipped"

    def test_lines_for_people(self, cluster: Cluster, kms: Kms) -> None:
        topic = recommended(cluster)
        configured(kms, [topic])
        lines = kms.ok("check").splitlines()
        assert f"topic {topic}: ok: configured as recommended" in lines
        assert lines[-1].endswith(" ok")

    def test_settings_are_refused_as_ever(self, kms: Kms) -> None:
        kms.environment["KMS_DELIVERY"] = "twice"
        done = kms.run("check", "--json")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"The environment variable KMS_DELIVERY must be ")
