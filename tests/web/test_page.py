"""The page without a browser: what it shows, and that nothing in it is anybody's markup."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kms import __version__, times
from kms.figures import RECENT, Fired, ProducerFigures
from kms.pauses import ALL, NOT_PAUSED
from kms.schedule import Schedule
from kms.web.page import _late, _rough
from kms.web.picture import HEIGHT, picture
from tests.web.hostile import HOSTILE
from tests.web.site import Site

NOON_MS = 1_893_499_200_000  # 2030-01-01T12:00:00Z
# Everything the template has, and nothing else may be there.
TAGS = {
    *("html", "head", "meta", "title", "link", "style", "body", "header", "h1", "h2", "span", "p"),
    *("dl", "div", "dt", "dd", "small", "strong", "figure", "figcaption", "svg", "rect", "section"),
    *("table", "thead", "tbody", "tr", "th", "td", "a", "bdi", "br", "footer"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "rel", "href", "class", "id", "viewbox"),
    *("preserveaspectratio", "role", "aria-label", "x", "y", "width", "height", "data-name"),
}
VOID = {"meta", "link", "br"}


class Parsed(HTMLParser):
    """Elements, attributes, and the text of each cell, by table."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text = ""
        self.table = ""
        self.comments = 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs)
        self.tags.add(tag)
        self.attributes |= set(found)
        if "href" in found:
            self.links.append(found["href"] or "")
        if tag == "table":
            self.table = found["id"] or ""
            self.tables[self.table] = []
        if tag == "tr":
            self.tables[self.table].append([])
        if tag == "td":
            self.tables[self.table][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open:
            self.tables[self.table][-1][-1] += " ".join(data.split())

    def handle_comment(self, data: str) -> None:  # noqa: ARG002
        self.comments += 1

    def rows(self, table: str) -> list[list[str]]:
        return [row for row in self.tables[table] if row]


def parsed(site: Site) -> Parsed:
    page = Parsed(site.asked("/").body.decode())
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert page.comments == 0
    return page


def test_state_and_figures(site: Site) -> None:
    site.consumer.left_to_load = 77
    page = parsed(site)
    assert "not ready" in page.text
    assert "not in its consumer group" in page.text
    site.assign()
    site.assign(partition=1)
    now_ms = times.now_ms()
    for index, due_ms in enumerate((0, now_ms + 60_000, now_ms + 7_200_000, NOON_MS)):
        site.put(b"id-%d" % index, Schedule(due_ms, "to", b"", b""))
    site.put(b"bad", Schedule(5, "gone", b"", b""), failed=("topic-missing", "it is not there"))
    site.producer.fired["to"] = 12_345
    site.producer.add_recent(Fired(b"f-%d" % it, "to", 1_000, 7) for it in range(2 * RECENT))
    page = parsed(site)
    assert "All 2 assigned partitions are caught up." in page.text
    numbers = re.sub(r"\s+", " ", page.text)
    for expected in (
        *(
            "live ready All 2 assigned",
            f"Version {__version__}",
            "kms kms-0",
            "Group com.sky.kafka.scheduler",
        ),
        *("Pending5", "Due within 1 h1", "Due within 24 h2", "Overdue1", "Failed1"),
        *("Fired since start12,345", "Last ones late by7 ms", "Offsets to read77"),
        *("1 in all, 1 a minute at most", "2 in all, 1 in half an hour at most"),
    ):
        assert expected in numbers
    assert [row[1] for row in page.rows("coming")] == [
        f"id-{index}schedules/0 @ {index}" for index in range(4)
    ]
    assert page.rows("failed") == [
        ["bad", "gone", "topic-missingit is not there", "3", page.rows("failed")[0][4]]
    ]
    assert page.rows("failed")[0][4].startswith("in ")
    assert [row[1] for row in page.rows("fired")] == [
        f"f-{it}" for it in range(2 * RECENT - 1, RECENT - 1, -1)
    ]
    assert page.rows("partitions") == [
        ["schedules/0", "firing", "5", "5"],
        ["schedules/1", "firing", "0", "0"],
    ]


def test_what_recurs_expires_or_has_a_window_is_marked(site: Site) -> None:
    site.assign()
    every = (("kms-every", b"5m"), ("kms-count", b"3"))
    site.put(b"again", Schedule(NOON_MS, "to", b"", b""), headers=every)
    bad = (("kms-window", b"soon"),)
    site.put(b"bad", Schedule(5, "to", b"", b""), headers=bad, failed=("bad-header", "it is none"))
    site.put(b"once", Schedule(NOON_MS + 1, "to", b"", b""), headers=(("own", b"5m"),))
    page = parsed(site)
    assert [row[1] for row in page.rows("coming")] == [
        "againevery 5mschedules/0 @ 0",
        "onceschedules/0 @ 2",
    ]
    assert page.rows("failed")[0][0] == "badwindow soon"


def test_what_is_paused_or_has_a_limit_is_told(site: Site) -> None:
    site.assign()
    for index in range(3):
        site.put(b"%d" % index, Schedule(5, "paused", b"", b""), waits_for="paused")
    site.put(b"due", Schedule(5, "any", b"", b""))
    site.gate.rates.limits |= {f"limited-{index:02}": 1e6 for index in range(15)}
    site.gate.pauses.replace({topic: NOT_PAUSED.paused(1_000) for topic in ("paused", ALL)})
    page = parsed(site)
    assert "not ready" not in page.text
    numbers = re.sub(r"\s+", " ", page.text)
    assert "ready all targets paused" in numbers
    assert "Overdue0" in numbers
    since = "pausedsince 1970-01-01 00:00:01Z"
    assert page.rows("targets")[:3] == [
        ["all of them", since, "", "1"],
        ["limited-00", since, "1,000,000", "0"],
        ["limited-01", since, "1,000,000", "0"],
    ]
    assert "and 3 more" in page.text
    site.gate.rates.limits = {"slow": 2.5}
    site.gate.pauses.replace({"paused": NOT_PAUSED.paused(1_000)})
    page = parsed(site)
    numbers = re.sub(r"\s+", " ", page.text)
    assert "ready 1 target paused" in numbers
    assert "Overdue1" in numbers
    assert page.rows("targets") == [["paused", since, "", "3"], ["slow", "open", "2.5", "0"]]
    site.gate.pauses.replace({})
    page = parsed(site)
    assert "paused" not in page.text.partition("Pending")[0]
    assert page.rows("targets") == [["paused", "open", "", "3"], ["slow", "open", "2.5", "0"]]


def test_a_thread_that_hangs_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.assign()
    monkeypatch.setattr(site.heartbeats["producer"], "_at", time.monotonic() - 100.0)
    page = parsed(site)
    assert "not live" in page.text
    assert "The producer thread has not turned for 100 s" in page.text


def test_headers(site: Site) -> None:
    answer = site.get("/")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    (style,) = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert answer.headers["Content-Security-Policy"].split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert site.get("/?x=%3Cscript%3E").status == 200


def fill(site: Site, text: str) -> None:
    """Put a text wherever a schedule can have one."""
    data = text.encode()
    headers = (("kms-cron", data), ("kms-window", data))
    site.put(data, Schedule(NOON_MS, text, data, data, ((text, data),)), headers=headers)
    site.put(data + b"!", Schedule(1, text, data, data), headers=headers, failed=(text, text))
    site.put(data + b"?", data + b"\xff")
    site.producer.add_recent([Fired(data, text, 5, 1_795_000_000_000)])
    site.gate.pauses.replace({text: NOT_PAUSED.paused(1_795_000_000_000)})


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_of_a_schedule_becomes_markup(site: Site, text: str) -> None:
    site.assign()
    fill(site, text)
    body = site.asked("/").body
    page = parsed(site)
    assert len(page.rows("coming")) == 2
    assert len(page.rows("failed")) == len(page.rows("fired")) == 1
    assert len(page.rows("targets")) == 2
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", body)
    for control in "\u202e\u2066\u200b\u2028\u2029\ufeff\x9b":
        assert control not in page.text
    assert len(body) < 40_000
    assert all(re.fullmatch(r"/[\w/%~.?=-]*|data:image.*", link) for link in page.links)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_any_text_stays_text(site: Site, text: str) -> None:
    if not site.view.owned():
        site.assign()
    fill(site, text)
    parsed(site)


def test_times_that_no_calendar_has(site: Site) -> None:
    site.assign()
    for index, due_ms in enumerate((-(2**63), 2**63 - 1, 253_402_300_800_000)):
        site.put(b"%d" % index, Schedule(due_ms, "to", b"", b""))
    assert len(parsed(site).rows("coming")) == 3


def test_many_partitions(site: Site) -> None:
    for partition in range(60):
        site.assign(partition=partition, firing=partition != 55)
    page = parsed(site)
    assert len(page.rows("partitions")) == 50
    assert page.rows("partitions")[0][:2] == ["schedules/55", "loading"]
    assert "and 10 more" in page.text


def test_a_picture() -> None:
    assert picture([0, 0], 0, 1_000) == []
    bars = picture([0, 1_000_000, 1], 0, 60_000)
    assert [(bar.x, bar.y, bar.width, bar.height) for bar in bars] == [
        (1.1, 0.0, 0.8, HEIGHT),
        (2.1, 98.0, 0.8, 2.0),
    ]
    assert [bar.label for bar in bars] == [
        "00:01:00Z to 00:02:00Z: 1,000,000",
        "00:02:00Z to 00:03:00Z: 1",
    ]


@pytest.mark.parametrize(
    ("duration_ms", "expected"),
    [
        (0, "0s"),
        (59_999, "59s"),
        (60_000, "1m 0s"),
        (3_600_000, "1h 0m"),
        (90_061_000, "1d 1h"),
        (2**63, "292,471,208 years"),
    ],
)
def test_rough_durations(duration_ms: int, expected: str) -> None:
    assert _rough(duration_ms) == expected


@pytest.mark.parametrize(
    ("late_ms", "expected"),
    [
        (-5, "0 ms"),
        (7, "7 ms"),
        (1_234, "1.2 s"),
        (61_000, "1m 1s"),
        (1_795_000_000_000, "56 years"),
    ],
)
def test_lateness_is_short(late_ms: int, expected: str) -> None:
    assert _late(late_ms) == expected


def test_remembering_what_was_fired_is_bounded() -> None:
    figures = ProducerFigures()
    for start in range(0, 1_000, 7):
        figures.add_recent(Fired(b"%d" % it, "to", 0, 0) for it in range(start, start + 7))
    assert len(figures.recent) == RECENT
    assert [int(each.id) for each in figures.recent] == list(range(1_001 - RECENT, 1_001))
