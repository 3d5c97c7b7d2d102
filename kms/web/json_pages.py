"""Pages in JSON, with the headers that keep a browser from making more of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from kms.http_port import Page, Request
from kms.web.question import QuestionError
from kms.web.view import BusyError

Json = dict[str, Any]

_JSON = {
    "Content-Type": "application/json",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def json_page(answer: Any, status: HTTPStatus = HTTPStatus.OK) -> Page:
    """An answer in JSON."""
    # In ASCII, so that nothing in it can turn a terminal's text around or clear its screen.
    return Page(json.dumps(answer, indent=1).encode() + b"\n", _JSON, status)


def complaint(status: HTTPStatus, sentence: str) -> Page:
    """What is wrong, in a sentence."""
    return json_page({"error": sentence}, status)


def guarded(answer: Callable[[Request], Page]) -> Callable[[Request], Page]:
    """The same, with a page for what is asked wrongly and for when too many ask."""

    def guard(request: Request) -> Page:
        try:
            return answer(request)
        except QuestionError as error:
            return complaint(HTTPStatus.BAD_REQUEST, str(error))
        except BusyError:
            page = complaint(HTTPStatus.SERVICE_UNAVAILABLE, "Too many ask at once: try again.")
            return page._replace(headers={**page.headers, "Retry-After": "1"})

    return guard


def exact(data: bytes) -> Json:
    """Text where it is UTF-8, else base64."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
