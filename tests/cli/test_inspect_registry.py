"""``inspect`` on a cache with a topic of a schema registry that is away."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

import pytest
from local_kafka import free_ports

from kms.check.registry import check_registry
from kms.formats import AVRO, schema_json
from kms.registry import schemas_to_look
from kms.schedule import Row, Schedule
from kms.settings import Settings
from kms.store import Filter
from kms.watched import Watcher
from tests.cli.conftest import T0_MS, Cache, Done

Kms = Callable[..., Done]
REMEMBERED, OTHER = 7, 8


@pytest.fixture
def url(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where no registry answers; of its two schemas in ``orders`` the cache remembers one."""
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("REGISTRY_SCHEDULE_TOPICS", "orders")
    monkeypatch.setenv("KMS_SCHEMA_REGISTRY_URL", url)
    number = cache.numbers["orders", 0]
    rows = cache.writer.rows(number)
    for offset, (name, schema_id) in enumerate(((b"a", REMEMBERED), (b"b", OTHER))):
        value = AVRO.encode_value(Schedule(T0_MS + offset, "out", b"k", b"v"))
        prefixed = b"\x00" + schema_id.to_bytes(4, "big") + value
        rows[name] = Row(offset, T0_MS + offset, prefixed)
    cache.writer.commit([rows], {number: 2}, {})
    cache.writer.remember_schemas(url, {REMEMBERED: (schema_json(),)})
    return url


def test_what_is_remembered_is_shown_and_of_the_rest_what_is_known(kms: Kms, url: str) -> None:
    done = kms("inspect", "--json")
    read, unread = [json.loads(line) for line in done.out.splitlines()]
    assert (read["id"], read["target_topic"], read["value"]) == ("a", "out", "v")
    assert "not_read" not in read
    assert (unread["id"], unread["due_ms"], unread["offset"]) == ("b", T0_MS + 1, 1)
    assert (unread["due"], unread["target_topic"]) == ("2030-01-31T12:00:00.001Z", None)
    assert f"schema {OTHER} is not known: the schema registry at {url}" in unread["not_read"]
    assert (done.code, "Not all schemas could be had" in done.err) == (0, True)


@pytest.mark.usefixtures("url")
def test_tables_counts_and_filters_say_so(kms: Kms) -> None:
    assert "(not read: its schema could not be had)" in kms("inspect").out
    one = kms("inspect", "b").out
    assert "not read:" in one
    assert f"({T0_MS + 1})" in one
    done = kms("inspect", "--target", "out", "--json")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["a"]
    assert "no --target finds it" in done.err
    done = kms("inspect", "--count", "--by", "topic")
    assert done.out.split() == ["1", "no", "schedule", "1", "out"]
    assert "Not all schemas could be had" in done.err
    assert "Not all schemas" not in kms("inspect", "--count").err


def test_who_watches_does_not_wait(cache: Cache, url: str) -> None:
    settings = Settings(
        kms_cache=cache.path,
        registry_schedule_topics=("orders",),
        kms_schema_registry_url=url,
        prometheus_scraping_endpoint_port=0,
    )
    with closing(Watcher(settings, Filter(), 10)) as watcher:
        assert [each.id for each in watcher.look().next] == [b"a", b"b"]
    with closing(Watcher(settings, Filter(target="out"), 10)) as watcher:
        assert [each.id for each in watcher.look().next] == [b"a"]


def test_check_says_what_to_do(cache: Cache, url: str) -> None:
    settings = Settings(
        kms_cache=cache.path, registry_schedule_topics=("orders",), kms_schema_registry_url=url
    )
    with schemas_to_look(settings) as schemas:
        assert schemas is not None
        (found,) = check_registry(settings, schemas)
        assert schemas.away is not None
    assert (found.level.value, found.subject) == ("error", f"schema registry {url}")
    assert "mend KMS_SCHEMA_REGISTRY_URL" in found.advice
    with schemas_to_look(Settings(kms_cache=cache.path)) as none:
        assert none is None
