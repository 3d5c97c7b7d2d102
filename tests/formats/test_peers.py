"""The peers' own test data, byte for byte: what their tests and documents send, and what comes.

sky-uk/kafka-message-scheduler at 96e4125e5195f2976ac448ca9d9622922ae661b3 (S) and
etf1/kafka-message-scheduler at 7e86af40c3f84b371e6e18afa2139c65aaba7319 (E). Their tests hold
values and not bytes: those of sky-uk's JSON are what circe's ``asJson.noSpaces`` makes of them,
in the order of the case class, those of its Avro what the specification says of them, written out
by hand, and confirmed by the avro package. etf1's are a record's headers, so their bytes are there.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, NamedTuple

import avro.io
import avro.schema
import pytest

from kms.errors import FormatError
from kms.formats import AVRO, Headers, Json
from kms.schedule import Header, Record, Schedule

LEAST = -(2**63)  # Scala's Long.MinValue

# S scheduler/src/test/scala/uk/sky/scheduler/kafka/json/JsonSerDesSpec.scala: ``schedule``, its
# ``emptyHeaderBytes`` (headers left out) and ``nullHeaderBytes``, and what is no schedule.
SPEC = Schedule(LEAST, "topic", b"key", b"value", (("headerKey", b"headerValue"),))
JSON_SPEC = (
    b'{"time":-9223372036854775808,"topic":"topic","key":"a2V5","value":"dmFsdWU=",'
    b'"headers":{"headerKey":"aGVhZGVyVmFsdWU="}}'
)
JSON_LEFT_OUT = b'{"time":-9223372036854775808,"topic":"topic","key":"a2V5","value":"dmFsdWU="}'
JSON_NULL = (
    b'{"time":-9223372036854775808,"topic":"topic","key":"a2V5","value":"dmFsdWU=","headers":null}'
)
# S it/src/test/scala/uk/sky/scheduler/SchedulerFeatureSpec.scala with ScheduleHelpers.scala's
# ``createJsonSchedule``, with a time where it takes the clock's.
JSON_FEATURE = (
    b'{"time":1700000000000,"topic":"output-json-topic","key":"anNvbktleQ==",'
    b'"value":"anNvblZhbHVl","headers":{}}'
)
JSON_PAST = (
    b'{"time":1699999400000,"topic":"output-topic","key":"c29tZUpzb25LZXk=",'
    b'"value":"c29tZUpzb25WYWx1ZQ==","headers":{}}'
)

# S scheduler/src/test/scala/uk/sky/scheduler/kafka/avro/AvroSerDesSpec.scala:
# ``scheduleWithHeaders``, ``scheduleWithEmptyHeaders`` and ``AvroScheduleWithoutHeaders``.
AVRO_OLDER = bytes.fromhex(
    "ffffffffffffffffff01"  # time, zigzag
    "0a746f706963"  # topic: 5 bytes
    "066b6579"  # key: 3
    "020a76616c7565"  # value: the second of the union, 5
)
AVRO_EMPTY = AVRO_OLDER + bytes.fromhex("00")  # headers: no block
AVRO_SPEC = AVRO_OLDER + bytes.fromhex(
    "02"  # headers: a block of one
    "126865616465724b6579"  # its name: 9
    "166865616465 7256616c7565"  # its value: 11
    "00"  # no further block
)
# S it/.../SchedulerFeatureSpec.scala: ``createTestAvroSchedule`` and ``…WithoutHeaders``.
AVRO_FEATURE_OLDER = (
    bytes.fromhex("80a0abfef962")  # 1700000000000
    + b"\x22output-avro-topic"
    + b"\x0eavroKey"
    + b"\x02\x12avroValue"
)
AVRO_FEATURE = AVRO_FEATURE_OLDER + b"\x00"


def record(value: bytes, *headers: Header, key: bytes = b"id", written_ms: int = 0) -> Record:
    return Record(0, key, value, headers, written_ms)


class TestSky:
    """Decoded, and written again as the same bytes where their form is the one that is written."""

    @pytest.mark.parametrize(
        ("data", "schedule"),
        [
            (JSON_SPEC, SPEC),
            (
                JSON_FEATURE,
                Schedule(1_700_000_000_000, "output-json-topic", b"jsonKey", b"jsonValue"),
            ),
            (
                JSON_PAST,
                Schedule(1_699_999_400_000, "output-topic", b"someJsonKey", b"someJsonValue"),
            ),
        ],
        ids=["JsonSerDesSpec", "SchedulerFeatureSpec", "in the past"],
    )
    def test_json(self, data: bytes, schedule: Schedule) -> None:
        assert Json().decode(record(data)) == schedule
        assert Json().due_of(record(data)) == schedule.due_ms
        assert Json().encode(schedule).value == data

    @pytest.mark.parametrize("data", [JSON_LEFT_OUT, JSON_NULL], ids=["left out", "null"])
    def test_json_headers_may_be_missing(self, data: bytes) -> None:
        assert Json().decode(record(data)) == SPEC._replace(headers=())

    @pytest.mark.parametrize("data", [b"foobar", b'{"foo":"bar"}'], ids=["no JSON", "another type"])
    def test_what_its_json_tests_refuse(self, data: bytes) -> None:
        with pytest.raises(FormatError):
            Json().decode(record(data))

    def test_a_key_that_is_no_base64(self) -> None:
        """S scheduler/.../converters/ConsumerRecordConverterSpec.scala: ``invalid-base64``."""
        with pytest.raises(FormatError, match='"key"'):
            Json().decode(record(JSON_SPEC.replace(b"a2V5", b"invalid-base64")))

    @pytest.mark.parametrize(
        ("data", "schedule"),
        [
            (AVRO_SPEC, SPEC),
            (AVRO_EMPTY, SPEC._replace(headers=())),
            (
                AVRO_FEATURE,
                Schedule(1_700_000_000_000, "output-avro-topic", b"avroKey", b"avroValue"),
            ),
        ],
        ids=["AvroSerDesSpec", "empty headers", "SchedulerFeatureSpec"],
    )
    def test_avro(self, data: bytes, schedule: Schedule) -> None:
        assert AVRO.decode_value(data) == schedule
        assert AVRO.encode_value(schedule) == data == by_the_avro_package(schedule)

    @pytest.mark.parametrize(
        ("data", "whole"), [(AVRO_OLDER, AVRO_EMPTY), (AVRO_FEATURE_OLDER, AVRO_FEATURE)]
    )
    def test_avro_without_headers(self, data: bytes, whole: bytes) -> None:
        """``AvroScheduleWithoutHeaders``."""
        assert AVRO.decode_value(data) == AVRO.decode_value(whole)

    def test_what_its_avro_tests_refuse(self) -> None:
        with pytest.raises(FormatError):
            AVRO.decode_value(b"foobar")


class Sent(NamedTuple):
    """What etf1's tests or documents write, and the message that has to come."""

    key: bytes
    value: bytes
    headers: tuple[Header, ...]
    due_ms: int
    target: str
    target_key: bytes | None


def how(epoch: bytes, topic: bytes, key: bytes | None) -> tuple[Header, ...]:
    return (
        ("scheduler-epoch", epoch),
        ("scheduler-target-topic", topic),
        ("scheduler-target-key", key),
    )


OWN: Header = ("header-key", b"header value")
ETF1S = {
    # E README.md, "Example": a header of the user's behind the scheduler's.
    "README": Sent(
        b"vid1-online",
        b"video 1",
        (*how(b"1893456000", b"online-videos", b"vid1"), ("customer-header", b"dummy")),
        1_893_456_000_000,
        "online-videos",
        b"vid1",
    ),
    # E runner/kafka/runner_test.go, TestDefaultKafkaRunner: internal/test/helper.go's FullMessage.
    "runner_test": Sent(
        b"schedule-key",
        b"some value",
        how(b"1700000000", b"target-topic", b"target-key"),
        1_700_000_000_000,
        "target-topic",
        b"target-key",
    ),
    # The same test's ``msg2``: "message with nil target key should work".
    "nil target key": Sent(
        b"schedule-key2",
        b"some value",
        how(b"1700000000", b"target-topic", None),
        1_700_000_000_000,
        "target-topic",
        None,
    ),
    # E clientlib/clientlib_test.go, TestScheduleMessage: clientlib.go puts its own headers last.
    "clientlib": Sent(
        b"scheduler-id",
        b"some value",
        (OWN, *how(b"1700000000", b"target-topic", b"key")),
        1_700_000_000_000,
        "target-topic",
        b"key",
    ),
    # The same file's TestScheduleRetry, whose clock stands at 2021-01-27T10:00:00Z.
    "clientlib's retry": Sent(
        b"scheduler-id",
        b"some value",
        (
            OWN,
            ("retry-attempt", b"1"),
            ("retry-original-timestamp", b"1611741600"),
            *how(b"1611741610", b"target-topic", b"key"),
        ),
        1_611_741_610_000,
        "target-topic",
        b"key",
    ),
}


class TestEtf1:
    @pytest.mark.parametrize("sent", ETF1S.values(), ids=ETF1S)
    def test_what_comes(self, sent: Sent) -> None:
        """As E runner/kafka/handler.go, ``produceTargetMessage``, has it."""
        found = Headers("schedules").decode(
            record(sent.value, *sent.headers, key=sent.key, written_ms=1_607_918_336_000)
        )
        gained = (
            ("scheduler-timestamp", b"1607918336"),
            ("scheduler-key", sent.key),
            ("scheduler-topic", b"schedules"),
        )
        headers = (*sent.headers, *gained)
        assert found == Schedule(sent.due_ms, sent.target, sent.target_key, sent.value, headers)

    @pytest.mark.parametrize("sent", ETF1S.values(), ids=ETF1S)
    def test_what_is_written(self, sent: Sent) -> None:
        """The same headers with the same bytes; ours come first, and a null key is left out."""
        names = {"scheduler-epoch", "scheduler-target-topic", "scheduler-target-key"}
        own = tuple(header for header in sent.headers if header[0] not in names)
        schedule = Schedule(sent.due_ms, sent.target, sent.target_key, sent.value, own)
        body = Headers("schedules").encode(schedule)
        assert body.value == sent.value
        assert sorted(body.headers) == sorted(it for it in sent.headers if it[1] is not None)

    @pytest.mark.parametrize("epoch", [b"0", b"-1"])
    def test_its_messages_without_a_target(self, epoch: bytes) -> None:
        """E internal/test/helper.go, ``Message``, in store_test.go: an epoch, and no target."""
        with pytest.raises(FormatError, match="scheduler-target-topic"):
            Headers("schedules").decode(record(b"value", ("scheduler-epoch", epoch), key=b"1"))


def by_the_avro_package(schedule: Schedule) -> bytes:
    """With the schema that vulcan derives from S's AvroSchedule.scala, not with ours."""
    fields: list[dict[str, Any]] = [
        {"name": "time", "type": "long"},
        {"name": "topic", "type": "string"},
        {"name": "key", "type": "bytes"},
        {"name": "value", "type": ["null", "bytes"]},
        {"name": "headers", "type": {"type": "map", "values": "bytes"}},
    ]
    name = {"type": "record", "name": "AvroSchedule", "namespace": "uk.sky.scheduler.kafka.avro"}
    out = BytesIO()
    writer = avro.io.DatumWriter(avro.schema.parse(json.dumps({**name, "fields": fields})))
    found = {
        "time": schedule.due_ms,
        "topic": schedule.topic,
        "key": schedule.key,
        "value": schedule.value,
        "headers": dict(schedule.headers),
    }
    writer.write(found, avro.io.BinaryEncoder(out))
    return out.getvalue()
