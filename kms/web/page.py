"""``/``: one page for people, made here, with nothing to load and nothing to run.

What schedules hold is anybody's: all of it is text to the template, which escapes it, and what
could turn the text around or can't be printed is written out.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kms import __version__, times
from kms.figures import Fired
from kms.http_port import Page, Request
from kms.kind_texts import mark_of
from kms.pauses import ALL
from kms.store import PageReader, Waiting
from kms.texts import shown
from kms.web import answers
from kms.web.picture import picture
from kms.web.question import Question
from kms.web.view import Counts, View

_FOLDER = Path(__file__).parent
_ROWS = 15
_PARTITIONS = 50
_LONGEST = 80  # characters of an id or a name
_LONGEST_MESSAGE = 300
_RELOAD_SECONDS = 10

Row = dict[str, Any]


class HtmlPage:
    """Makes the page anew for each request."""

    def __init__(self, view: View) -> None:
        self._view = view
        environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["number"] = lambda value: f"{value:,}"
        self._template = environment.get_template("page.html")
        self._style = (_FOLDER / "page.css").read_text(encoding="utf-8")
        self._headers = _headers(self._style)

    def __call__(self, request: Request) -> Page:  # noqa: ARG002
        """Raises BusyError if too many ask at once."""
        view = self._view
        with view.reading() as reader:
            counts = view.counts(reader)
            failed = _failed(view, reader)
            coming = _coming(view, reader)
        recent = view.producer.recent
        text = self._template.render(
            style=self._style,
            reload_seconds=_RELOAD_SECONDS,
            made=_moment(times.now_ms()),
            live=view.live(),
            ready=view.ready(),
            **_identity(view),
            **_figures(view, counts, recent),
            pictures=_pictures(counts),
            coming=coming,
            fired=[_fired(each) for each in recent[::-1]],
            failed=failed,
            **_targets(view, counts),
            **_partitions(view, counts),
        )
        return Page(text.encode(errors="backslashreplace"), self._headers)


def _headers(style: str) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{digest}'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Frame-Options": "DENY",  # for browsers that don't know frame-ancestors
        "Cache-Control": "no-store",
    }


def _identity(view: View) -> Row:
    settings = view.settings
    return {
        "version": __version__,
        "instance": _cut(view.instance.encode()),
        "group": _cut(settings.consumer_group_id.encode(errors="replace")),
        "topics": ", ".join(settings.topics),
        "delivery": settings.kms_delivery,
        "uptime": _rough(int(view.uptime_seconds() * 1000)),
    }


def _figures(view: View, counts: Counts, recent: Sequence[Fired]) -> Row:
    late_ms = median(each.late_ms for each in recent) if recent else None
    return {
        "pending": sum(counts.pending.values()),
        "overdue": view.overdue(counts),
        "failed_count": counts.failed,
        "within_hour": sum(counts.hour),
        "within_day": sum(counts.day),
        "fired_count": view.producer.fired.total(),
        "lateness": None if late_ms is None else _late(late_ms),
        "to_load": view.consumer.left_to_load,
    }


def _pictures(counts: Counts) -> list[Row]:
    return [
        {
            "title": title,
            "bars": picture(values, counts.at_ms, span_ms // len(values)),
            "total": sum(values),
            "most": max(values),
            "each": each,
            "ticks": ticks,
        }
        for title, values, span_ms, each, ticks in (
            (
                "Due over the next hour",
                counts.hour,
                3_600_000,
                "a minute",
                ("now", "+15m", "+30m", "+45m", "+1h"),
            ),
            (
                "Due over the next day",
                counts.day,
                86_400_000,
                "in half an hour",
                ("now", "+6h", "+12h", "+18h", "+1d"),
            ),
        )
    ]


def _coming(view: View, reader: PageReader) -> list[Row]:
    found = answers.page_of(view, reader, view.owned(), Question(_ROWS, failed=False)).found
    return [_row(view, each) for each in found]


def _failed(view: View, reader: PageReader) -> list[Row]:
    found = answers.page_of(view, reader, view.owned(), Question(_ROWS, failed=True)).found
    return [
        _row(view, each)
        | {
            "reason": _cut(each.failed.reason.encode(errors="replace")),
            "message": _cut(each.failed.text.encode(errors="replace"), _LONGEST_MESSAGE),
            "attempts": each.failed.attempts,
            "next": "at once" if each.failed.next_ms == 0 else _relative(each.failed.next_ms),
        }
        for each in found
        if each.failed is not None
    ]


def _row(view: View, found: Waiting) -> Row:
    schedule = view.read(found)
    where = view.owned().get(found.place.number)
    return {
        "id": _cut(found.id),
        "path": answers.path_of(found.id),
        "kind": _cut(mark_of(found.headers).encode()),
        "due": "no schedule" if schedule is None else _moment(found.place.due_ms),
        "relative": "" if schedule is None else _relative(found.place.due_ms),
        "target": "" if schedule is None else _cut(schedule.topic.encode(errors="replace")),
        "record": f"{where or 'given up'} @ {found.place.offset}",
    }


def _fired(fired: Fired) -> Row:
    return {
        "id": _cut(fired.id),
        "target": _cut(fired.target.encode(errors="replace")),
        "due": _moment(fired.due_ms),
        "late": _late(fired.late_ms),
    }


def _targets(view: View, counts: Counts) -> Row:
    found = [
        {
            "topic": "all of them" if each.topic == ALL else _cut(each.topic.encode()),
            "paused": each.paused_since_ms is not None,
            "since": "" if each.paused_since_ms is None else _moment(each.paused_since_ms),
            "limit": "" if each.limit is None else f"{each.limit:,.10g}",
            "waiting": each.waiting,
        }
        for each in view.targets(counts)
    ]
    found.sort(key=lambda row: not row["paused"])
    count = sum(bool(row["paused"]) for row in found)
    said = f"{count} target{'s' * (count > 1)} paused" if count else ""
    return {
        "targets": found[:_ROWS],
        "more_targets": len(found[_ROWS:]),
        "paused": "all targets paused" if view.is_all_paused() else said,
    }


def _partitions(view: View, counts: Counts) -> Row:
    found = view.partitions(counts)
    found.sort(key=lambda each: each.firing)  # what is not as it should be comes first
    return {"partitions": found[:_PARTITIONS], "more_partitions": len(found[_PARTITIONS:])}


def _cut(data: bytes, longest: int = _LONGEST) -> str:
    text = shown(data[: 4 * longest])  # a character has up to four bytes
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _moment(epoch_ms: int) -> str:
    """To the second; what no calendar has is shown as the number it is."""
    text = times.iso_time(epoch_ms)
    return f"{epoch_ms} ms" if text is None else text[:19].replace("T", " ") + "Z"


def _relative(epoch_ms: int) -> str:
    distance_ms = epoch_ms - times.now_ms()
    return f"in {_rough(distance_ms)}" if distance_ms >= 0 else f"{_rough(-distance_ms)} ago"


def _late(late_ms: float) -> str:
    """As exact as it matters, and never long: what was due in 1970 is late by years."""
    if late_ms < 1_000:
        return f"{max(late_ms, 0):.0f} ms"
    return f"{late_ms / 1_000:.1f} s" if late_ms < 60_000 else _rough(int(late_ms))


def _rough(duration_ms: int) -> str:
    """In its two largest units."""
    days, rest_ms = divmod(duration_ms, 86_400_000)
    minutes, seconds = divmod(rest_ms // 1_000, 60)
    hours, minutes = divmod(minutes, 60)
    if days >= 1_000:
        return f"{days // 365:,} years"
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"
