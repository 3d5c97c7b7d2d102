"""What the random walk counts, where the service is one that breaks promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from local_registry import LocalRegistry

from tests.broker.cluster import Cluster, wait_for
from tests.broker.conftest import registry
from tests.faults.lanes import Registry, lanes
from tests.faults.reckoning import Reckoning, Tally
from tests.faults.stream import TIMES, Stream

__all__ = ["registry"]
FORMS = {"avro", "json", "headers", "registry"}


@pytest.fixture
def stream(cluster: Cluster, registry: LocalRegistry) -> Iterator[Stream]:
    """With some schedules of each format, plain and recurring, all written."""
    with closing(Registry(registry.url)) as schemas:
        made = Stream(cluster, lanes(cluster, schemas), 1, 500, 1.0)
        made.start()
        try:
            wait_for("some that recur in each format", lambda: len(made.often) >= 30)
        finally:
            made.stop()
        yield made


def test_what_a_bad_service_does_is_counted_for_each_format(
    cluster: Cluster, stream: Stream
) -> None:
    found = Reckoning(cluster, stream)
    wanted = list(found.wanted())
    count = {form: sum(len(it.due_ms) for it in wanted if it.form == form) for form in FORMS}
    assert found.tally() == {form: Tally(0, count[form], 0) for form in FORMS}
    verdict = found.verdict()
    assert (verdict.lost, verdict.twice) == (sum(count.values()), 0)
    assert verdict.not_buried > 0
    assert not verdict.is_clean()
    assert len(found.losses()) == len(wanted)
    assert verdict.lost == found.missing() - verdict.not_buried

    def fire(skipped: slice) -> Reckoning:
        for it in wanted:
            for due_ms in it.due_ms[skipped]:
                epoch = [("scheduler-epoch", b"%d" % (due_ms // 1000))]
                cluster.write(stream.target, it.key, it.value)
                cluster.write(stream.history, it.key, it.value, headers=epoch)
        cluster.flush()
        return Reckoning(cluster, stream)

    found = fire(slice(1, None))  # of what recurs all but the first
    recurring = {
        form: sum(it.form == form and len(it.due_ms) == TIMES for it in wanted) for form in FORMS
    }
    once = {form: sum(it.form == form and len(it.due_ms) == 1 for it in wanted) for form in FORMS}
    assert {form: each.lost for form, each in found.tally().items()} == {
        form: recurring[form] + once[form] for form in FORMS
    }
    # As often as it should be, and yet one is lost and another one came twice.
    found = fire(slice(-1, None))
    assert {form: (each.lost, each.twice) for form, each in found.tally().items()} == {
        form: (recurring[form], recurring[form]) for form in FORMS
    }
    assert len(found.losses()) == sum(recurring.values())
    verdict = fire(slice(0, 1)).verdict()
    assert (verdict.lost, verdict.unlike_history) == (0, 0)
    assert verdict.twice == sum(recurring.values()) + sum(once.values())
    assert verdict.early > 0
    cluster.write(stream.target, wanted[0].key, wanted[0].value)
    cluster.flush()
    assert Reckoning(cluster, stream).verdict().unlike_history == 1
