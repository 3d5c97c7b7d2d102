"""Which page is where, and how each is answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from kms.http_port import Page, Pages, Request
from kms.web import answers
from kms.web.health import Health
from kms.web.page import HtmlPage
from kms.web.question import QuestionError, asked
from kms.web.view import BusyError, View

_JSON = {
    "Content-Type": "application/json",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def pages(view: View, metrics: Callable[[Request], Page]) -> Pages:
    """All pages by their path; without those that show schedules if the settings want it so."""
    found: dict[str, Callable[[Request], Page]] = {
        "/metrics": metrics,
        "/health/live": lambda _: _health("live", view.live(), threads=_ages(view)),
        "/health/ready": lambda _: _health("ready", view.ready()),
    }
    if view.settings.kms_http_pages == "all":
        found |= {
            "/": _guarded(HtmlPage(view)),
            "/info": _guarded(lambda _: _json(answers.info(view))),
            "/schedules": _guarded(lambda it: _json(answers.schedules(view, asked(it.query)))),
            "/schedules/": _guarded(lambda it: _schedule(view, it)),
        }
    return found


def _guarded(answer: Callable[[Request], Page]) -> Callable[[Request], Page]:
    def guarded(request: Request) -> Page:
        try:
            return answer(request)
        except QuestionError as error:
            return _complaint(HTTPStatus.BAD_REQUEST, str(error))
        except BusyError:
            page = _complaint(HTTPStatus.SERVICE_UNAVAILABLE, "Too many ask at once: try again.")
            return page._replace(headers={**page.headers, "Retry-After": "1"})

    return guarded


def _schedule(view: View, request: Request) -> Page:
    if request.query:
        return _complaint(HTTPStatus.BAD_REQUEST, "A single schedule has no parameters.")
    found = answers.schedule(view, request.rest)
    if found is not None:
        return _json(found)
    return _complaint(
        HTTPStatus.NOT_FOUND,
        "No schedule with this id is pending on the partitions of this instance: it has fired, "
        "was cancelled, was never there, or is with another instance.",
    )


def _health(name: str, health: Health, **more: object) -> Page:
    status = HTTPStatus.OK if health.good else HTTPStatus.SERVICE_UNAVAILABLE
    return _json({name: health.good, "why": health.why, **more}, status)


def _ages(view: View) -> dict[str, float]:
    return {name: round(age, 3) for name, age in view.ages_seconds().items()}


def _complaint(status: HTTPStatus, sentence: str) -> Page:
    return _json({"error": sentence}, status)


def _json(answer: Any, status: HTTPStatus = HTTPStatus.OK) -> Page:
    # In ASCII, so that nothing in it can turn a terminal's text around or clear its screen.
    return Page(json.dumps(answer, indent=1).encode() + b"\n", _JSON, status)
