"""Which page is where, and how each is answered."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from kms.http_port import Page, Pages, Request
from kms.web import answers
from kms.web.health import Health
from kms.web.json_pages import complaint, guarded, json_page
from kms.web.openapi import document
from kms.web.page import HtmlPage
from kms.web.question import asked
from kms.web.view import View


def pages(view: View, metrics: Callable[[Request], Page]) -> Pages:
    """All pages by their path; without those that show schedules if the settings want it so."""
    found: dict[str, Callable[[Request], Page]] = {
        "/metrics": metrics,
        "/health/live": lambda _: _health("live", view.live(), threads=_ages(view)),
        "/health/ready": lambda _: _health("ready", view.ready()),
        "/openapi.json": lambda _: json_page(document(view.settings)),
    }
    if view.settings.kms_http_pages == "all":
        found |= {
            "/": guarded(HtmlPage(view)),
            "/info": guarded(lambda _: json_page(answers.info(view))),
            "/schedules": guarded(lambda it: json_page(answers.schedules(view, asked(it.query)))),
            "/schedules/": guarded(lambda it: _schedule(view, it)),
        }
    return found


def _schedule(view: View, request: Request) -> Page:
    if request.query:
        return complaint(HTTPStatus.BAD_REQUEST, "A single schedule has no parameters.")
    found = answers.schedule(view, request.rest)
    if found is not None:
        return json_page(found)
    return complaint(
        HTTPStatus.NOT_FOUND,
        "No schedule with this id is pending on the partitions of this instance: it has fired, "
        "was cancelled, was never there, or is with another instance.",
    )


def _health(name: str, health: Health, **more: object) -> Page:
    status = HTTPStatus.OK if health.good else HTTPStatus.SERVICE_UNAVAILABLE
    return json_page({name: health.good, "why": health.why, **more}, status)


def _ages(view: View) -> dict[str, float]:
    return {name: round(age, 3) for name, age in view.ages_seconds().items()}
