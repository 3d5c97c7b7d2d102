"""The peers' own test data through a broker: what their producers write is fired as it is meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from kms.schedule import Header
from tests.broker.cluster import Arrived, Cluster
from tests.broker.instance import Instance
from tests.formats import test_peers as peers

MakeInstance = Callable[..., Instance]
OF_SPEC: list[Header] = [("headerKey", b"headerValue")]


def test_what_sky_uks_producers_write(cluster: Cluster, instance: MakeInstance) -> None:
    avro, json = cluster.schedule_topic(), cluster.schedule_topic()
    for name in ("topic", "output-json-topic", "output-topic", "output-avro-topic"):
        cluster.topic(name=name)
    of_avro = (peers.AVRO_OLDER, peers.AVRO_EMPTY, peers.AVRO_SPEC, peers.AVRO_FEATURE)
    of_json = (peers.JSON_SPEC, peers.JSON_LEFT_OUT, peers.JSON_NULL, peers.JSON_FEATURE)
    for topic, values in ((avro, of_avro), (json, (*of_json, peers.JSON_PAST))):
        for number, value in enumerate(values):
            cluster.write(topic, b"%d" % number, value)
    cluster.flush()
    kms = instance([avro], JSON_SCHEDULE_TOPICS=json).start()
    arrived = cluster.arrived("topic", 6)
    assert {(it.key, it.value) for it in arrived} == {(b"key", b"value")}
    assert Counter(str(it.headers) for it in arrived) == {str(OF_SPEC): 2, "[]": 4}
    for name, key, value in (
        ("output-json-topic", b"jsonKey", b"jsonValue"),
        ("output-topic", b"someJsonKey", b"someJsonValue"),
        ("output-avro-topic", b"avroKey", b"avroValue"),
    ):
        assert [_plain(it) for it in cluster.arrived(name, 1)] == [(key, value, [])]
    assert kms.stop() == 0


def test_what_etf1s_producers_write(cluster: Cluster, instance: MakeInstance) -> None:
    topic = cluster.schedule_topic()
    for name in {sent.target for sent in peers.ETF1S.values()}:
        cluster.topic(name=name)
    for name, sent in peers.ETF1S.items():
        cluster.write(topic, name.encode(), sent.value, headers=sent.headers)
    cluster.flush()
    kms = instance([], SCHEDULE_TOPICS="", HEADER_SCHEDULE_TOPICS=topic).start()
    past = {name: sent for name, sent in peers.ETF1S.items() if name != "README"}
    arrived = {dict(it.headers)["scheduler-key"]: it for it in cluster.arrived("target-topic", 4)}
    assert arrived.keys() == {name.encode() for name in past}
    written = {it.key: it.timestamp_ms for it in cluster.read(topic) if it.value is not None}
    for name, sent in past.items():
        gained = [
            ("scheduler-timestamp", b"%d" % (written[name.encode()] // 1000)),
            ("scheduler-key", name.encode()),
            ("scheduler-topic", topic.encode()),
        ]
        message = arrived[name.encode()]
        assert _plain(message) == (sent.target_key, sent.value, [*sent.headers, *gained])
    assert cluster.read("online-videos") == []  # it is due in 2030
    assert kms.stop() == 0


def _plain(message: Arrived) -> tuple[bytes | None, bytes | None, list[Header]]:
    return message.key, message.value, list(message.headers)
