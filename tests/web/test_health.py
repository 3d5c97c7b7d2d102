"""Live: the loops turn. Ready: what is assigned may fire."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kms.web import health
from kms.web.health import STANDBY_SECONDS
from tests.web.site import Answer, Site, served


def not_ready(site: Site, why: str) -> None:
    answer = site.get("/health/ready")
    assert answer.status == 503
    assert answer.json == {"ready": False, "why": answer.json["why"]}
    assert why in answer.json["why"]


def is_ready(answer: Answer) -> bool:
    assert answer.json["ready"] == (answer.status == 200)
    assert (answer.status == 200) != (answer.status == 503)
    return answer.status == 200


def test_live_before_anything_turns_and_while_it_does(site: Site) -> None:
    assert site.get("/health/live").status == 200
    for heartbeat in site.heartbeats.values():
        heartbeat.beat()
    answer = site.get("/health/live")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["live"] is True
    assert set(answer.json["threads"]) == {"consumer", "producer", "scheduler"}


@pytest.mark.parametrize("name", ["consumer", "producer", "scheduler"])
def test_a_thread_that_hangs_is_neither_live_nor_ready(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.assign()
    assert site.get("/health/ready").status == 200
    monkeypatch.setattr(site.heartbeats[name], "_at", time.monotonic() - 61.0)
    answer = site.get("/health/live")
    assert answer.status == 503
    assert answer.json["live"] is False
    assert answer.json["why"].startswith(f"The {name} thread has not turned for 61 s")
    not_ready(site, f"The {name} thread")
    site.heartbeats[name].beat()
    assert site.get("/health/live").status == 200


def test_the_limit_is_longer_than_giving_partitions_up_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, kms_transaction_timeout_ms=100_000) as site:
        monkeypatch.setattr(site.heartbeats["consumer"], "_at", time.monotonic() - 190.0)
        assert site.get("/health/live").status == 200
        monkeypatch.setattr(site.heartbeats["consumer"], "_at", time.monotonic() - 201.0)
        assert site.get("/health/live").status == 503


def test_ready_when_all_that_is_assigned_is_caught_up(site: Site) -> None:
    not_ready(site, "not in its consumer group")
    site.assign(firing=False)
    site.assign(partition=1)
    site.consumer.left_to_load = 1_234
    not_ready(site, "1 of 2 partitions are caught up; 1234 offsets")
    site.consumer.caught_up = 2
    answer = site.get("/health/ready")
    assert is_ready(answer)
    assert answer.json == {"ready": True, "why": "All 2 assigned partitions are caught up."}


def test_not_ready_before_it_knows_what_is_paused(site: Site) -> None:
    site.assign()
    site.gate.pauses.known = False
    not_ready(site, "does not know yet what is paused")
    site.gate.pauses.replace({})
    assert is_ready(site.get("/health/ready"))


def test_a_member_without_partitions_stands_by_after_a_while(site: Site) -> None:
    """Not at once: a newcomer has none for a moment, also if it is about to get some."""
    site.consumer.assigned_at = time.monotonic()
    not_ready(site, "No partition is assigned yet")
    site.consumer.assigned_at = time.monotonic() - STANDBY_SECONDS
    answer = site.get("/health/ready")
    assert is_ready(answer)
    assert "stands by" in answer.json["why"]


def test_while_it_stops_it_is_live_and_not_ready(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.assign()
    site.stopping = True
    monkeypatch.setattr(site.heartbeats["scheduler"], "_at", time.monotonic() - 1_000.0)
    assert site.get("/health/live").status == 200
    not_ready(site, "stopping")


def test_the_thread_that_hangs_longest_is_named() -> None:
    found = health.live({"a": 70.0, "b": 1.0, "c": 80.0}, 60.0)
    assert not found.good
    assert "The c thread has not turned for 80 s; the limit is 60 s" in found.why


def test_health_answers_while_the_cache_is_busy(site: Site) -> None:
    site.assign()
    with site.view.reading():
        assert site.get("/health/live").status == 200
        assert site.get("/health/ready").status == 200
