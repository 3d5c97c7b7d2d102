"""When a checkpoint is not believed, reason by reason."""

from __future__ import annotations

import time

import pytest

from kms.checkpoints import doubt_of
from kms.kafka import TopicInfo
from kms.store import Checkpoint

NOW_MS = 1_700_000_000_000
RETENTION_MS = 86_400_000
KNOWN = Checkpoint(1, "schedules", 0, "topic-id", "cluster", 50, NOW_MS - 1_000)
INFO = TopicInfo("schedules", "topic-id", 3)


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOW_MS * 1_000_000)


def doubt(
    known: Checkpoint = KNOWN,
    cluster_id: str = "cluster",
    info: TopicInfo = INFO,
    low: int = 0,
    high: int = 100,
    retention_ms: int = RETENTION_MS,
) -> tuple[str, str] | None:
    return doubt_of(known, cluster_id, info, low, high, retention_ms)


@pytest.mark.parametrize(("low", "high"), [(0, 100), (50, 100), (0, 50), (50, 50)])
def test_a_checkpoint_that_the_log_covers_holds(low: int, high: int) -> None:
    assert doubt(low=low, high=high) is None


def test_it_holds_on_a_topic_that_nobody_has_written_to() -> None:
    assert doubt(KNOWN._replace(next_offset=0), low=0, high=0) is None


def test_of_another_cluster() -> None:
    text = "it is of cluster cluster, this one is other"
    assert doubt(cluster_id="other") == ("other-cluster", text)


def test_of_a_topic_that_was_made_again() -> None:
    found = doubt(info=INFO._replace(id="new-id"))
    assert found == ("topic-recreated", "the topic was deleted and made again")


def test_before_the_log() -> None:
    assert doubt(low=51) == ("log-moved", "its offset 50 is before the log's first, 51")


def test_past_the_log() -> None:
    assert doubt(high=49) == ("log-moved", "its offset 50 is past the log's end, 49")


@pytest.mark.parametrize(
    ("age_ms", "retention_ms", "holds"),
    [
        (RETENTION_MS - 1, RETENTION_MS, True),
        (RETENTION_MS, RETENTION_MS, False),
        (10 * RETENTION_MS, RETENTION_MS, False),
        (10 * RETENTION_MS, 2**63 - 1, True),
        (0, 0, False),  # the retention is unknown
    ],
)
def test_older_than_tombstones_are_kept(age_ms: int, retention_ms: int, holds: bool) -> None:
    found = doubt(KNOWN._replace(seen_ms=NOW_MS - age_ms), retention_ms=retention_ms)
    assert (found is None) is holds
    if found is not None:
        reason, text = found
        assert reason == "too-old"
        assert f"{age_ms // 1000} s ago" in text
        assert f"delete.retention.ms ({retention_ms})" in text


def test_seen_in_the_future() -> None:
    # The clock was set back, so nobody knows how long ago that was.
    found = doubt(KNOWN._replace(seen_ms=NOW_MS + 3_600_000))
    assert found is not None
    assert found[0] == "clock-set-back"
    assert "the clock was set back" in found[1]
    # But clocks are corrected by a little all the time.
    assert doubt(KNOWN._replace(seen_ms=NOW_MS + 1_000)) is None
