"""Scheduling and cancelling over HTTP: who may, what is refused, and what the document says of it.

What is written, and fires, is in tests/broker/test_web_writing.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from kms.http_limits import BODY_BYTES
from kms.schedule import Schedule
from kms.settings import Settings
from kms.times import now_ms
from kms.web import openapi, order, question
from kms.web.order import ordered
from kms.web.question import QuestionError
from tests.http_client import answered, status
from tests.web.site import Answer, Site, served

TOKEN = "correct-horse-battery"
JSON = {"Content-Type": "application/json"}
ALLOWED = {"Authorization": f"Bearer {TOKEN}", **JSON}
WANTED_MS = 1_893_456_000_000  # 2030-01-01T00:00:00Z
WANTED = {"to": "orders", "at": WANTED_MS}


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path, kms_http_token=SecretStr(TOKEN)) as site:
        yield site


def post(site: Site, body: object, headers: dict[str, str] | None = None) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return site.get(
        "/schedules", "POST", data=data, headers=ALLOWED if headers is None else headers
    )


class TestWhoMay:
    def test_nobody_without_a_token_in_the_settings(self, site: Site) -> None:
        for headers in (ALLOWED, {"Authorization": "Bearer ", **JSON}):
            answer = post(site, WANTED, headers)
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
            assert site.get("/schedules/x", "DELETE", headers=headers).status == 405

    @pytest.mark.parametrize(
        "given",
        ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", TOKEN, "Bearer é"],
    )
    def test_nobody_with_another_one(self, open_site: Site, given: str) -> None:
        headers = {"Authorization": given, **JSON} if given else JSON
        for answer in (
            post(open_site, WANTED, headers),
            post(open_site, b"x" * (BODY_BYTES + 1), headers),
            open_site.get("/schedules/x", "DELETE", headers=headers),
        ):
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="kms"')
            assert ("invalid_token" in answer.headers["WWW-Authenticate"]) is bool(given)
            assert TOKEN not in answer.body.decode()

    def test_reading_needs_none(self, open_site: Site) -> None:
        assert open_site.get("/schedules").status == 200

    def test_the_path_says_what_it_takes(self, tmp_path: Path, open_site: Site) -> None:
        for method, path, allowed in (
            ("DELETE", "/schedules", "GET, HEAD, POST"),
            ("PATCH", "/schedules", "GET, HEAD, POST"),
            ("POST", "/schedules/x", "GET, HEAD, DELETE"),
            ("POST", "/metrics", "GET, HEAD"),
        ):
            answer = open_site.get(path, method, headers=ALLOWED)
            assert (answer.status, answer.headers["Allow"]) == (405, allowed)
        assert open_site.get("/none", "POST", headers=ALLOWED).status == 404
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        with served(hidden, kms_http_token=SecretStr(TOKEN), kms_http_pages="metrics") as site:
            answer = site.get("/schedules")
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
            assert post(site, {}).status == 400


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (b"", "no JSON"),
            (b"\xff", "no JSON"),
            (b'{"to": "a", "to": "b"}', "has a name twice"),
            (b'{"at": NaN}', "no JSON"),
            (b"[" * 100_000, "no JSON"),
            ([], "no JSON object"),
            ({}, "to is missing"),
            ({"to": "orders"}, "Give one of at, a time, and in"),
            ({**WANTED, "in": "5m"}, "Give one of at, a time, and in"),
            ({**WANTED, "to": "a b"}, "to: 'a b' is no name of a topic"),
            ({**WANTED, "to": 1}, "to: give a text"),
            ({**WANTED, "at": "2030-01-31T12:00:00"}, "at: give ISO 8601 with Z or an offset"),
            ({**WANTED, "at": "tomorrow"}, "at: give ISO 8601"),
            ({**WANTED, "at": True}, "at: give milliseconds"),
            ({**WANTED, "at": -1}, "at: give milliseconds"),
            ({**WANTED, "at": 10**400}, "at: give milliseconds"),
            ({"to": "o", "in": "soon"}, "in: 'soon' is no duration"),
            ({"to": "o", "in": "99999999w"}, "in: "),
            ({**WANTED, "ttl": 1}, "'ttl' is no field: there are to, at"),
            ({**WANTED, "id": ""}, "id: give 1 to 500 characters"),
            ({**WANTED, "id": "x" * 501}, "id: give 1 to 500 characters"),
            ({**WANTED, "id": "\ud800"}, "id: it holds half a character"),
            ({**WANTED, "value": {}}, "value: give a text"),
            ({**WANTED, "value_base64": "a"}, "value_base64: it is no base64"),
            ({**WANTED, "value": "a", "value_base64": "YQ=="}, "value and value_base64 are both"),
            ({**WANTED, "headers": []}, "headers: give an object"),
            ({**WANTED, "headers": {"a": 1}}, "headers: a value is a text"),
            ({**WANTED, "headers": {"a\0": "1"}}, "headers: a name holds a NUL"),
            ({**WANTED, "window": 5}, "window: give a text"),
            ({**WANTED, "window": "soon"}, "window: 'soon' is no duration"),
            ({**WANTED, "expires": "soon"}, "expires: give ISO 8601"),
            ({**WANTED, "expires": True}, "expires: give milliseconds"),
            ({**WANTED, "cron": "* * *"}, "cron can't be read: it has 3 fields"),
            ({**WANTED, "cron": "* * * * *", "every": "5m"}, "cron and every exclude each other"),
            ({**WANTED, "every": "500ms"}, "every can't be read: '500ms' is less than a second"),
            ({"to": "o", "every": "999999w"}, "every: that is later than the year 9999"),
            ({**WANTED, "timezone": "Europe/London"}, "timezone needs cron or every beside it"),
            ({**WANTED, "cron": "0 9 * * *", "timezone": "Nowhere"}, "timezone can't be read"),
            ({**WANTED, "every": "5m", "until": "tomorrow"}, "until: give ISO 8601"),
            ({**WANTED, "every": "5m", "until": 1}, "it never comes: every and until leave no"),
            ({**WANTED, "every": "5m", "count": 0}, "count: give a whole number from 1"),
            ({**WANTED, "every": "5m", "count": "3"}, "count: give a whole number from 1"),
            ({**WANTED, "every": "5m", "missed": "some"}, "missed can't be read: 'some' is none"),
            ({**WANTED, "every": "5m", "in": "5m"}, "Give one of at, a time, and in"),
            ({**WANTED, "topic": "other"}, "topic is 'other': the schedule topics are schedules"),
        ],
    )
    def test_a_body_that_makes_no_sense(self, open_site: Site, body: object, sentence: str) -> None:
        answer = post(open_site, body)
        assert answer.status == 400
        assert sentence in answer.json["error"]

    def test_what_is_no_json_or_has_parameters(self, open_site: Site) -> None:
        form = {**ALLOWED, "Content-Type": "application/x-www-form-urlencoded"}
        assert post(open_site, WANTED, form).status == 415
        answer = open_site.get("/schedules?x=1", "POST", data=b"{}", headers=ALLOWED)
        assert answer.json["error"].startswith("This takes no parameters")

    def test_a_body_whose_length_is_wrong(self, open_site: Site) -> None:
        assert post(open_site, b"x" * (BODY_BYTES + 1)).status == 413
        head = "".join(f"{name}: {value}\r\n" for name, value in ALLOWED.items())
        for line, code in (
            ("", 411),
            ("Transfer-Encoding: chunked\r\n", 411),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length: 2\r\nContent-Length: 2\r\n", 400),
            ("Content-Length: 3\r\n", 400),
            ("Content-Length: 99999999999\r\n", 413),
            ("Content-Length: 2\r\n", 400),
        ):
            request = f"POST /schedules HTTP/1.1\r\n{head}{line}\r\n{{}}".encode()
            assert status(answered(open_site.server.port, request)) == code, line

    def test_an_id_that_is_none(self, open_site: Site) -> None:
        answer = open_site.get("/schedules/", "DELETE", headers=ALLOWED)
        assert (answer.status, answer.json["error"]) == (400, "The path has no id.")
        answer = open_site.get("/schedules/x?limit=1", "DELETE", headers=ALLOWED)
        assert answer.json["error"] == "'limit' is no parameter: there are topic."

    def test_several_topics_have_to_be_told_apart(self, tmp_path: Path) -> None:
        topics = ("a", "b")
        with served(tmp_path, kms_http_token=SecretStr(TOKEN), schedule_topics=topics) as site:
            for answer in (
                post(site, WANTED),
                site.get("/schedules/x", "DELETE", headers=ALLOWED),
            ):
                assert answer.status == 400
                assert answer.json["error"] == "topic is missing: the schedule topics are a, b."


class TestWhatIsMeant:
    def test_text_and_bytes(self) -> None:
        found = ordered(
            json.dumps(
                {
                    **WANTED,
                    "key": "é",
                    "value_base64": base64.b64encode(b"\xff").decode(),
                    "headers": {"a": "é", "b": {"base64": "/w=="}},
                    "id": "x",
                    "topic": "schedules",
                }
            ).encode()
        )
        headers = (("a", "é".encode()), ("b", b"\xff"))
        wanted = Schedule(1_893_456_000_000, "orders", "é".encode(), b"\xff", headers)
        assert found == ("x", "schedules", wanted, (), 1_893_456_000_000)

    def test_what_is_left_out_or_null(self) -> None:
        for more in ({}, {"key": None, "value": None, "headers": None}):
            found = ordered(json.dumps({**WANTED, **more}).encode())
            assert found.schedule == Schedule(1_893_456_000_000, "orders", b"", None)
            assert found.topic is None
            assert len(found.id) == 36

    def test_kinds_become_headers_of_the_record(self) -> None:
        asked = {
            "window": "10m",
            "expires": "1h",
            "cron": "0 9 * * *",
            "timezone": "Europe/London",
            "until": "2031-01-01T00:00:00Z",
            "count": 3,
            "missed": "all",
        }
        found = ordered(json.dumps({**WANTED, **asked}).encode())
        assert dict(found.kind) == {
            "kms-window": b"10m",
            "kms-expires": b"1h",
            "kms-cron": b"0 9 * * *",
            "kms-timezone": b"Europe/London",
            "kms-until": b"1924992000000",
            "kms-count": b"3",
            "kms-missed": b"all",
        }
        nine_ms = WANTED_MS + 9 * 3_600_000
        assert nine_ms <= found.due_ms < nine_ms + 600_000
        assert found.schedule.due_ms == WANTED_MS

    @pytest.mark.parametrize(
        ("expires", "header"),
        [
            ("PT5M", b"PT5M"),
            (WANTED_MS, b"1893456000000"),
            ("2030-01-01T01:00:00+01:00", b"1893456000000"),
            ("1969-12-31T23:59:59Z", b"1969-12-31T23:59:59.000Z"),
        ],
    )
    def test_an_expiry_is_a_time_or_a_duration(self, expires: object, header: bytes) -> None:
        found = ordered(json.dumps({**WANTED, "expires": expires}).encode())
        assert found.kind == (("kms-expires", header),)

    def test_the_first_time_of_what_recurs(self) -> None:
        before_ms = now_ms()
        every = ordered(b'{"to": "o", "every": "90m"}')
        assert before_ms <= every.due_ms - 5_400_000 <= now_ms()
        assert every.kind == (("kms-every", b"1h30m"),)
        minute = ordered(b'{"to": "o", "cron": "* * * * *"}')
        assert before_ms <= minute.due_ms <= now_ms() + 60_000
        assert minute.due_ms % 60_000 == 0
        later = ordered(b'{"to": "o", "every": "5m", "at": 1893456000000}')
        assert later.due_ms == WANTED_MS

    def test_times(self) -> None:
        zoned = ordered(b'{"to": "o", "at": "2030-01-01T01:00:00+01:00"}')
        assert zoned.schedule.due_ms == 1_893_456_000_000
        before_ms = now_ms()
        soon = ordered(b'{"to": "o", "in": "1h30m"}').schedule.due_ms
        assert before_ms + 5_400_000 <= soon <= now_ms() + 5_400_000

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
            lambda inner: (
                st.lists(inner) | st.dictionaries(st.sampled_from(order.NAMES) | st.text(), inner)
            ),
        )
    )
    def test_whatever_comes_is_an_order_or_a_sentence(self, body: Any) -> None:
        try:
            found = ordered(json.dumps(body).encode())
        except QuestionError as error:
            assert str(error).endswith(".")  # noqa: PT017
        else:
            assert found.schedule.topic == body["to"]


class TestTheDocument:
    def test_it_has_every_path(self, open_site: Site) -> None:
        paths = open_site.get("/openapi.json").json["paths"]
        html = {"/"}
        gets = {path.replace("{id}", "") for path, it in paths.items() if "get" in it}
        assert gets == open_site.pages.keys() - html
        for method, changes in open_site.writing.changes().items():
            described = {
                path.replace("{id}", "") for path, it in paths.items() if method.lower() in it
            }
            assert described == changes.keys()

    def test_it_leaves_out_what_is_off(self, tmp_path: Path) -> None:
        with served(tmp_path, kms_http_pages="metrics") as site:
            paths = site.get("/openapi.json").json["paths"]
        assert set(paths) == {"/openapi.json", "/metrics", "/health/live", "/health/ready"}

    def test_it_has_every_field_and_parameter(self) -> None:
        settings = Settings(schedule_topics=("a",), kms_http_token=SecretStr(TOKEN))
        paths = openapi.document(settings)["paths"]
        body = paths["/schedules"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert {name for it in body["oneOf"] for name in it["properties"]} == set(order.NAMES)
        names = [it["name"] for it in paths["/schedules"]["get"]["parameters"]]
        assert sorted(names) == sorted(question.NAMES)
