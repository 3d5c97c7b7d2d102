"""What the random walk counts, where the service is one that breaks promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from local_registry import LocalRegistry

from tests.broker.cluster import Cluster, wait_for
from tests.broker.conftest import registry
from tests.faults.lanes import Registry, lanes
from tests.faults.stream import Stream, Tally

__all__ = ["registry"]
FORMS = {"avro", "json", "headers", "registry"}


@pytest.fixture
def stream(cluster: Cluster, registry: LocalRegistry) -> Iterator[Stream]:
    """With some schedules of each format, plain and recurring, all written."""
    with closing(Registry(registry.url)) as schemas:
        made = Stream(cluster, lanes(cluster, schemas), 1, 500, 1.0)
        made.start()
        try:
            wait_for("some that recur in each format", lambda: made.recurring >= 30)
        finally:
            made.stop()
        yield made


def test_what_a_bad_service_does_is_counted_for_each_format(
    cluster: Cluster, stream: Stream
) -> None:
    wanted = list(stream.wanted())
    count = {form: sum(it.times for it in wanted if it.form == form) for form in FORMS}
    assert stream.tally() == {form: Tally(0, count[form], 0) for form in FORMS}
    verdict = stream.verdict()
    assert (verdict.lost, verdict.twice) == (sum(count.values()), 0)
    assert verdict.not_buried > 0
    assert not verdict.is_clean()
    assert len(stream.losses()) == len(wanted) == stream.missing() - verdict.not_buried

    def fire(last: int) -> None:
        for it in wanted:
            for _ in range(it.times - last):
                cluster.write(stream.target, it.key, it.value)
        cluster.flush()

    fire(1)  # of what recurs, all but the last
    recurring = {form: sum(it.form == form and it.times > 1 for it in wanted) for form in FORMS}
    assert {form: each.lost - recurring[form] for form, each in stream.tally().items()} == {
        form: sum(it.form == form and it.times == 1 for it in wanted) for form in FORMS
    }
    fire(0)
    found = stream.tally()
    assert {form: each.lost for form, each in found.items()} == dict.fromkeys(FORMS, 0)
    assert stream.losses() == []
    # Now each plain one is there once, and what recurs almost twice as often as it should be.
    assert {form: each.twice for form, each in found.items()} == {
        form: sum(it.times - 1 for it in wanted if it.form == form) for form in FORMS
    }
    assert stream.verdict().early > 0
