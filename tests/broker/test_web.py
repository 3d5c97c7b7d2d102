"""Health, JSON and page of a running instance, the page in a real browser."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from kms.schedule import Schedule
from tests.broker.cluster import Cluster, now_ms, wait_for
from tests.broker.instance import Instance
from tests.browser import Browser, Seen, chromium
from tests.web.hostile import HOSTILE, MARK

MakeInstance = Callable[..., Instance]
HOUR_MS = 3_600_000


class Got(NamedTuple):
    """An answer in JSON."""

    status: int
    json: Any


def get(kms: Instance, path: str) -> Got:
    try:
        with urllib.request.urlopen(kms.url + path, timeout=10) as answer:
            return Got(answer.status, json.load(answer))
    except urllib.error.HTTPError as error:
        with error:
            return Got(error.code, json.load(error))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def hostile_scene(cluster: Cluster, instance: MakeInstance) -> tuple[Instance, str]:
    """A running instance: each hostile text pending, fired, and failed."""
    topic, target = cluster.schedule_topic(2), cluster.topic()
    kms = instance([topic], KMS_HTTP_ADDRESS="127.0.0.1", KMS_INSTANCE_ID="kms-0")
    later_ms = now_ms() + HOUR_MS // 2
    for index, text in enumerate(HOSTILE):
        data, partition = text.encode(), index % 2
        headers = ((text.replace("\0", ""), data),)
        pending = Schedule(later_ms, text, data, data, headers)
        cluster.schedule(topic, b"0" + data, pending, partition=partition)
        cluster.schedule(topic, b"1" + data, Schedule(0, target, b"", data), partition=partition)
        cluster.schedule(topic, b"2" + data, Schedule(1, text, b"", data), partition=partition)
    cluster.write(topic, b"3", b"no schedule")
    cluster.flush()
    kms.start().caught_up(2)
    cluster.arrived(target, len(HOSTILE))
    wait_for(
        "all of it",
        lambda: (
            (found := get(kms, "/info").json)["failed"] == len(HOSTILE) + 1
            and found["pending"] == 2 * len(HOSTILE) + 1
        ),
    )
    return kms, target


def test_the_page_in_a_browser(cluster: Cluster, instance: MakeInstance, browser: Browser) -> None:
    kms, target = hostile_scene(cluster, instance)
    url = kms.url
    grounds = []
    for scheme, width in (("light", 1_280), ("dark", 1_280), ("light", 360), ("dark", 360)):
        with browser.page(url, scheme, width) as seen:  # type: ignore[arg-type]
            check(seen, url)
            grounds.append(seen.script("getComputedStyle(document.body).backgroundColor"))
            check_figures(seen, target)
    for width in (280, 710, 1_020):  # where the layout changes
        with browser.page(url, width=width) as seen:
            check(seen, url)
    assert grounds == [*grounds[:2], *grounds[:2]]
    assert grounds[0] != grounds[1]
    with browser.page(url) as seen:
        seen.page.click("#coming a >> nth=0")
        seen.page.wait_for_url(f"{url}/schedules/*")
        assert json.loads(seen.page.inner_text("pre"))["schedules"][0]["due_ms"] > now_ms()
        assert MARK not in seen.page.title()
    # The browser asks for everything that a schedule's link leads to, and finds it.
    for each in get(kms, "/schedules").json["schedules"]:
        assert get(kms, each["path"]).json["schedules"][0]["id"] == each["id"]
    assert kms.stop() == 0


def check(seen: Seen, url: str) -> None:
    """Nothing ran, nothing was fetched, nothing is wider than the window."""
    assert seen.complaints == []
    # Once, or more often where it took so long that the page loaded itself again.
    assert {it for it in seen.requests if not it.startswith("data:")} == {f"{url}/"}
    assert MARK not in seen.page.title()
    assert seen.script("document.scripts.length + document.images.length") == 0
    assert seen.too_wide() == []


def check_figures(seen: Seen, target: str) -> None:
    text = seen.page.inner_text("body")
    assert "ready" in text
    assert "All 2 assigned partitions are caught up." in text
    cards = dict(
        each.split("\n", 1) for each in seen.page.locator(".numbers .card").all_inner_texts()
    )
    assert cards["Pending"].strip() == str(2 * len(HOSTILE) + 1)
    assert cards["Due within 1 h"].strip() == str(len(HOSTILE))
    assert cards["Failed"].strip() == str(len(HOSTILE) + 1)
    assert cards["Fired since start"].strip() == str(len(HOSTILE))
    assert seen.page.locator("#coming tbody tr").count() == 15
    assert seen.page.locator("#failed tbody tr").count() == 15
    assert seen.page.locator("#fired tbody tr").count() == len(HOSTILE)
    assert set(seen.page.locator("#fired td:nth-child(3)").all_inner_texts()) == {target}
    assert seen.page.locator("figure").first.locator("rect").count() in (1, 2)


def test_a_policy_that_would_let_a_script_run_is_noticed(browser: Browser) -> None:
    """The checks above can fail: a page like ours, without what holds scripts back."""
    body = HOSTILE[0] + "<div style='width: 200vw'>x</div>"
    with browser.page(f"data:text/html,<!DOCTYPE html>{body}") as seen:
        assert MARK in seen.page.title()
        with pytest.raises(AssertionError):
            check(seen, "data:")


def test_ready_follows_the_group_and_live_the_loops(
    cluster: Cluster, instance: MakeInstance
) -> None:
    """One partition for two: the second stands by, and takes over when the first one goes."""
    topic = cluster.schedule_topic()
    first = instance([topic]).start().caught_up()
    wait_for("ready", lambda: get(first, "/health/ready").status == 200)
    second = instance([topic], group=first.group).start()
    second.wait_for_log("kms runs")
    assert get(second, "/health/ready").status == 503
    standby = wait_for(
        "the second to stand by",
        lambda: it if (it := get(second, "/health/ready"))[0] == 200 else None,
    )
    assert "It stands by." in standby.json["why"]
    assert get(second, "/info").json["partitions"] == []
    first.signal(signal.SIGTERM)
    wait_for("the second to take over", lambda: get(second, "/info").json["partitions"])
    wait_for("it to be ready", lambda: "All 1" in get(second, "/health/ready").json["why"])
    assert first.ended() == 0
    assert get(second, "/health/live").json["live"] is True
    assert second.stop() == 0
