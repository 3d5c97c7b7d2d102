"""JSON: what is pending, page by page, and one schedule whole; of bounded size, whatever it is."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kms import __version__
from kms.http_port import Page
from kms.pauses import NOT_PAUSED
from kms.schedule import Schedule
from kms.web import answers, view
from tests.web.hostile import HOSTILE
from tests.web.site import Site, served

NOON_MS = 1_893_499_200_000  # 2030-01-01T12:00:00Z
SOON = Schedule(NOON_MS, "target", b"k", b"v")


def at(due_ms: int, target: str = "target") -> Schedule:
    return Schedule(due_ms, target, b"k", b"v")


def ids(answer: dict[str, Any]) -> list[str]:
    return [each["id"]["text"] for each in answer["schedules"]]


def walked(site: Site, query: str = "") -> Iterator[dict[str, Any]]:
    """Every page, to the last."""
    more = ""
    while True:
        page = site.get(f"/schedules?{query}{more}").json
        yield page
        if page["next"] is None:
            return
        more = f"&cursor={page['next']}"


class TestInfo:
    def test_what_it_is_and_does(self, site: Site) -> None:
        site.assign()
        site.assign(partition=1, firing=False)
        site.put(b"a", SOON)
        site.put(b"b", at(1_000), failed=("topic-missing", "no such topic"))
        site.put(b"c", at(1_000))
        site.producer.fired["x"] = 5
        site.consumer.received["schedules"] = 7
        site.gate.pauses.replace({"to": NOT_PAUSED.paused(0)})
        found = site.get("/info").json
        assert found.pop("uptime_seconds") > 0
        assert found.pop("started").endswith("Z")
        assert found == {
            "version": __version__,
            "instance": "kms-0",
            "group": "com.sky.kafka.scheduler",
            "schedule_topics": ["schedules"],
            "delivery": "exactly-once",
            "dead_letter_topic": None,
            "live": True,
            "ready": False,
            "why": "1 of 2 partitions are caught up; 0 offsets are still to be read.",
            "partitions": [
                {
                    "schedule_topic": "schedules",
                    "partition": partition,
                    "offset": offset,
                    "state": state,
                    "pending": offset,
                }
                for partition, offset, state in ((0, 3, "firing"), (1, 0, "loading"))
            ],
            "targets": [
                {
                    "topic": topic,
                    "paused": paused,
                    "paused_since": "1970-01-01T00:00:00.000Z" if paused else None,
                    "limit_per_second": limit,
                    "waiting": 0,
                }
                for topic, paused, limit in (("slow", False, 2.5), ("to", True, None))
            ],
            "pending": 3,
            "overdue": 1,
            "failed": 1,
            "to_load": 0,
            "since_start": {
                "received": 7,
                "cancelled": 0,
                "rejected": 0,
                "fired": 5,
                "dead_letters": 0,
                "republished": 0,
                "aborted": 0,
            },
        }

    def test_no_secret(self, tmp_path: Path) -> None:
        properties = {"sasl.password": "hunter2", "sasl.username": "somebody"}
        with served(tmp_path, kafka=properties, keystore_password="hunter3") as site:
            site.assign()
            for path in ("/info", "/", "/schedules", "/health/live", "/health/ready"):
                answer = site.get(path)
                assert answer.body
                assert b"hunter" not in answer.body
                assert b"somebody" not in answer.body

    def test_counts_are_a_moment_old_at_most_and_of_what_is_assigned(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(view, "_COUNT_SECONDS", 3_600.0)
        site.assign()
        assert site.get("/info").json["pending"] == 0
        site.put(b"a", SOON)
        assert site.get("/info").json["pending"] == 0
        site.assign(partition=1)  # another assignment: counted at once
        assert site.get("/info").json["pending"] == 1


class TestSchedules:
    def test_soonest_first_without_keys_and_values(self, site: Site) -> None:
        site.assign()
        site.put(b"late", at(NOON_MS + 1))
        site.put(b"soon", Schedule(NOON_MS, "to", b"the key", b"the value", (("h", b"the"),)))
        answer = site.get("/schedules")
        assert b"the" not in answer.body
        assert answer.json["next"] is None
        assert ids(answer.json) == ["soon", "late"]
        assert answer.json["schedules"][0] == {
            "id": {"text": "soon"},
            "path": "/schedules/soon",
            "due": "2030-01-01T12:00:00.000Z",
            "due_ms": NOON_MS,
            "schedule_topic": "schedules",
            "partition": 0,
            "offset": 1,
            "failed": None,
            "target": "to",
        }

    def test_only_what_is_assigned(self, site: Site) -> None:
        """What the cache still has of other partitions may have fired elsewhere."""
        site.assign()
        site.assign(partition=1)
        site.put(b"ours", SOON)
        site.put(b"theirs", SOON, partition=1)
        (number,) = [n for n, where in site.view.owned().items() if where.partition == 1]
        del site.assignment.partitions[number]
        assert ids(site.get("/schedules").json) == ["ours"]
        assert site.get("/schedules/theirs").status == 404

    def test_filters(self, site: Site) -> None:
        site.assign()
        site.assign("others")
        site.put(b"a-1", at(NOON_MS, "x"))
        site.put(b"a-2", at(NOON_MS + 1, "y"))
        site.put(b"b-1", at(NOON_MS + 2, "x"), "others")
        site.put(b"b-2", at(NOON_MS + 3, "x"), failed=("too-large", "it is"))
        site.put(b"\xff", b"no schedule at all")
        for query, expected in (
            ("target=x", ["a-1", "b-1", "b-2"]),
            ("prefix=a-", ["a-1", "a-2"]),
            ("prefix=a-&target=x", ["a-1"]),
            ("topic=others", ["b-1"]),
            ("topic=nowhere", []),
            (f"after={NOON_MS + 1}", ["a-2", "b-1", "b-2"]),
            (f"after={NOON_MS}&before={NOON_MS + 2}", ["a-1", "a-2"]),
            ("failed=true", ["b-2"]),
            ("failed=false&after=1", ["a-1", "a-2", "b-1"]),
            ("after=1&limit=2", ["a-1", "a-2"]),
        ):
            assert ids(site.get(f"/schedules?{query}").json) == expected, query
        (unreadable,) = site.get("/schedules?prefix=%FF").json["schedules"]
        assert unreadable["id"] == {"base64": "/w=="}
        assert unreadable["path"] == "/schedules/%FF"
        assert unreadable["due"] is unreadable["due_ms"] is unreadable["target"] is None
        assert site.get("/schedules?failed=true").json["schedules"][0]["failed"] == {
            "attempts": 3,
            "since": "1970-01-01T00:00:01.000Z",
            "next_try": "2100-01-01T00:00:00.000Z",
            "reason": "too-large",
            "message": "it is",
        }

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    def test_page_by_page_each_is_there_once(self, site: Site, limit: int) -> None:
        """Also those of different partitions with the same due time and offset."""
        for partition in range(3):
            site.assign(partition=partition)
            for index in range(5):
                failed = ("x", "y") if index == 3 else None
                name = f"{partition}-{index}".encode()
                site.put(name, at(NOON_MS + index // 2), partition=partition, failed=failed)
        found = [each for page in walked(site, f"limit={limit}") for each in page["schedules"]]
        assert [each["due_ms"] for each in found] == sorted(each["due_ms"] for each in found)
        assert sorted(each["id"]["text"] for each in found) == sorted(
            f"{partition}-{index}" for partition in range(3) for index in range(5)
        )

    def test_a_page_ends_after_so_many_looked_at_and_the_next_goes_on(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(answers, "_LOOKED_AT", 3)
        site.assign()
        for index in range(10):
            site.put(b"%d" % index, at(NOON_MS + index, "rare" if index == 7 else "often"))
        pages = list(walked(site, "target=rare"))
        assert [ids(page) for page in pages] == [[], [], ["7"], []]

    @pytest.mark.parametrize("name", ["_BYTES_LOOKED_AT", "_BYTES_OF_IDS"])
    def test_a_page_ends_after_so_many_bytes(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setattr(answers, name, 1)
        site.assign()
        for index in range(3):
            site.put(b"%d" % index, SOON)
        assert [ids(page) for page in walked(site)] == [["0"], ["1"], ["2"], []]

    @pytest.mark.parametrize("query", ["limit=0", "colour=red", "after=%FF"])
    def test_a_bad_parameter_is_a_sentence(self, site: Site, query: str) -> None:
        answer = site.get(f"/schedules?{query}")
        assert answer.status == 400
        assert answer.json["error"].endswith(".")


class TestOne:
    @pytest.mark.parametrize(
        "schedule_id",
        [b"plain", b"a/b//c", b"a b", b"?&=#%", "größe 试验".encode(), b"\xff\x00\xfe", b""],
    )
    def test_whatever_its_id(self, site: Site, schedule_id: bytes) -> None:
        site.assign()
        headers = (("h", b"1"), ("bin", b"\xff"))
        site.put(schedule_id, Schedule(NOON_MS, "to", b"\xfe", "wért".encode(), headers))
        (listed,) = site.get("/schedules").json["schedules"]
        answer = site.get(listed["path"])
        assert answer.status == 200
        (found,) = answer.json["schedules"]
        assert found["id"] == listed["id"]
        sent = found["id"].get("text", "").encode() or base64.b64decode(
            found["id"].get("base64", "")
        )
        assert sent == schedule_id
        assert found["key"] == {"base64": base64.b64encode(b"\xfe").decode()}
        assert found["value"] == {"text": "wért"}
        assert found["headers"] == [
            {"name": "h", "value": {"text": "1"}},
            {"name": "bin", "value": {"base64": "/w=="}},
        ]
        assert (found["target"], found["due_ms"], found["offset"]) == ("to", NOON_MS, 0)

    def test_slashes_need_not_be_encoded(self, site: Site) -> None:
        site.assign()
        site.put(b"a/b", SOON)
        assert site.get("/schedules/a/b").json == site.get("/schedules/a%2Fb").json

    def test_a_null_value_is_null(self, site: Site) -> None:
        site.assign()
        site.put(b"a", Schedule(NOON_MS, "to", b"", None))
        (found,) = site.get("/schedules/a").json["schedules"]
        assert found["value"] is None
        assert found["key"] == {"text": ""}

    def test_the_same_id_in_two_topics(self, site: Site) -> None:
        site.assign()
        site.assign("others")
        site.put(b"a", at(NOON_MS + 1))
        site.put(b"a", at(NOON_MS), "others")
        found = site.get("/schedules/a").json["schedules"]
        assert [each["schedule_topic"] for each in found] == ["others", "schedules"]

    def test_a_record_that_is_no_schedule(self, site: Site) -> None:
        site.assign()
        site.put(b"a", b"\xffnothing", failed=("undecodable", "no Avro"))
        (found,) = site.get("/schedules/a").json["schedules"]
        assert found["record"] == {"base64": base64.b64encode(b"\xffnothing").decode()}
        assert found["failed"]["reason"] == "undecodable"
        assert "value" not in found

    def test_what_its_record_asks_for(self, site: Site) -> None:
        """Where it asks for something, right or wrong; cut like every other text."""
        site.assign()
        headers = (("own", b"1"), ("kms-every", b"5m"), ("kms-count", b"10"))
        site.put(b"a", SOON, headers=(*headers, ("kms-next", b"%d" % NOON_MS)))
        site.put(b"b", SOON, headers=(("kms-window", b"\xff" + b"x" * 10_000),))
        site.put(b"c", SOON, headers=(("own", b"1"),))
        kind = {"every": "5m", "count": "10", "occurrence": "0"}
        (found,) = site.get("/schedules/a").json["schedules"]
        assert found["kind"] == kind
        assert found["headers"] == []  # the message's
        first, second, third = site.get("/schedules").json["schedules"]
        assert first["kind"] == kind
        assert second["kind"] == {"window": r"\xff" + "x" * 244 + "…"}
        assert second["due"] is None
        assert "kind" not in third
        (found,) = site.get("/schedules/b").json["schedules"]
        assert len(found["kind"]["window"]) == 1_000
        assert "kind" not in site.get("/schedules/c").json["schedules"][0]

    def test_an_unknown_one(self, site: Site) -> None:
        site.assign()
        answer = site.get("/schedules/%3Cscript%3E")
        assert answer.status == 404
        assert answer.json["error"].startswith("No schedule with this id is pending")
        assert b"script" not in answer.body
        assert site.get("/schedules/a?b=c").status == 400

    def test_what_is_large_is_cut_and_says_so(self, site: Site) -> None:
        site.assign()
        headers = tuple((f"h{index}" * 5_000, b"\xff" * 100_000) for index in range(20))
        site.put(b"a", Schedule(NOON_MS, "t" * 100_000, b"k", b"v" * 1_000_000, headers))
        site.put(b"b", Schedule(NOON_MS, "t", b"k", b"v" * 5_000_000))
        for name in ("a", "b"):
            assert len(site.get(f"/schedules/{name}").body) < 2_000_000
        (found,) = site.get("/schedules/b").json["schedules"]
        assert found["value"]["cut"] is True
        assert found["value"]["bytes"] == 5_000_000
        assert base64.b64decode(found["value"]["base64"]) == b"v" * (answers._WHOLE - 1)

    def test_an_id_that_is_too_long_for_a_request_has_no_path(self, site: Site) -> None:
        site.assign()
        site.put(b"\xff" * 2_700, SOON)
        site.put(b"a" * 7_000, SOON)
        first, second = site.get("/schedules").json["schedules"]
        assert first["path"] is None
        assert site.get(second["path"]).status == 200


class TestHowItIsServed:
    @pytest.mark.parametrize(
        "path", ["/info", "/schedules", "/schedules/a", "/schedules/b", "/health/ready"]
    )
    def test_headers_and_head(self, site: Site, path: str) -> None:
        site.assign()
        site.put(b"a", SOON)
        answer = site.get(path)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        policy = answer.headers["Content-Security-Policy"]
        assert policy == "default-src 'none'; frame-ancestors 'none'"
        head = site.get(path, "HEAD")
        assert (head.status, head.body) == (answer.status, b"")
        assert site.get(path, "POST").status == 405
        assert site.get(path, "DELETE").status == 405

    def test_text_is_ascii_so_that_it_moves_no_terminal(self, site: Site) -> None:
        site.assign()
        for index, text in enumerate(HOSTILE):
            site.put(text.encode()[:1_000] + b"%d" % index, Schedule(NOON_MS, text, b"", b""))
        body = site.get("/schedules").body
        assert body.isascii()
        assert b"\x1b" not in body
        assert len(site.get("/schedules").json["schedules"]) == len(HOSTILE)

    def test_more_than_a_few_at_once_are_turned_away(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(view, "_WAIT_SECONDS", 0.05)
        found: list[Page] = []
        with site.view.reading():
            threads = [
                threading.Thread(target=lambda: found.append(site.asked("/schedules")))
                for _ in range(view._MOST_WAITING - 1)
            ]
            for thread in threads:
                thread.start()
            while site.view._room._value:  # until they wait
                threading.Event().wait(0.01)
            answer = site.get("/info")
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert answer.json == {"error": "Too many ask at once: try again."}
        for thread in threads:
            thread.join()
        assert [page.status for page in found] == [200] * len(threads)
        assert site.get("/info").status == 200

    def test_metrics_and_health_alone(self, tmp_path: Path) -> None:
        with served(tmp_path, kms_http_pages="metrics") as site:
            site.assign()
            site.put(b"a", SOON)
            for path in ("/metrics", "/health/live", "/health/ready"):
                assert site.get(path).status == 200
            for path in ("/", "/info", "/schedules", "/schedules/a"):
                assert site.get(path).status == 404


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=50))
def test_any_id_is_found_under_its_encoded_form(site: Site, schedule_id: bytes) -> None:
    if not site.view.owned():
        site.assign()
    site.put(schedule_id, SOON)
    assert site.asked("/schedules/", rest=quote(schedule_id, safe="")).status == 200


def test_what_the_readme_asks_is_answered(site: Site) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"localhost:9095(/[^\s'`]*)", readme))
    assert {"/metrics", "/info", "/schedules/42"} < paths
    site.assign()
    site.put(b"42", SOON)
    for path in paths:
        assert site.get(path).status == 200, path
