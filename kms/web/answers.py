"""The answers in JSON: ``/info``, ``/schedules``, ``/schedules/{id}``, and of what size at most."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote_to_bytes

from kms import __version__
from kms.figures import LONGEST_NAME, ConsumerFigures, ProducerFigures
from kms.kafka import TopicPartition
from kms.kind_texts import texts_of
from kms.schedule import Header, Schedule
from kms.store import PageReader, Place, Waiting
from kms.times import iso_time
from kms.web.json_pages import Json, exact
from kms.web.question import Question, cursor
from kms.web.view import Target, View

# A page of schedules ends where one of these is reached, also where few or none were found.
_LOOKED_AT = 5_000
_BYTES_LOOKED_AT = 16_000_000
_BYTES_OF_IDS = 1_000_000
_WHOLE = 1_048_576  # bytes of one schedule's key, value and headers; the rest is cut off
_SAME_ID = 10  # schedules under one id: of as many topics
_LONGEST_PATH = 8_000  # a longer one is refused as a request
_LONGEST_TEXT = 1_000


class Page(NamedTuple):
    """Some schedules, and where the next page begins; None at the end."""

    found: list[Waiting]
    end: Place | None


def info(view: View) -> Json:
    """What this instance is and does. Never a secret: of the settings only names."""
    with view.reading() as reader:
        counts = view.counts(reader)
    settings, ready = view.settings, view.ready()
    return {
        "version": __version__,
        "instance": view.instance,
        "group": settings.consumer_group_id,
        "schedule_topics": list(settings.topics),
        "delivery": settings.kms_delivery,
        "dead_letter_topic": settings.kms_dead_letter_topic,
        "started": iso_time(view.started_ms),
        "uptime_seconds": round(view.uptime_seconds(), 3),
        "live": view.live().good,
        "ready": ready.good,
        "why": ready.why,
        "partitions": [
            {
                "schedule_topic": each.where.topic,
                "partition": each.where.partition,
                "offset": each.offset,
                "state": "firing" if each.firing else "loading",
                "pending": each.pending,
            }
            for each in view.partitions(counts)
        ],
        "targets": [_target(each) for each in view.targets(counts)],
        "pending": sum(counts.pending.values()),
        "overdue": view.overdue(counts),
        "failed": counts.failed,
        "to_load": view.consumer.left_to_load,
        "since_start": _since_start(view.consumer, view.producer),
    }


def schedules(view: View, question: Question) -> Json:
    """A page of pending schedules, without keys and values."""
    with view.reading() as reader:
        page = page_of(view, reader, _numbers(view, question.topic), question)
    owned = view.owned()
    return {
        "schedules": [_summary(view, each, owned) for each in page.found],
        "next": None if page.end is None else cursor(page.end),
    }


def schedule(view: View, encoded_id: str) -> Json | None:
    """All there is of the schedules with this id, percent-encoded; None where there is none.

    Those of different topics have nothing to do with each other.
    """
    with view.reading() as reader:
        found = reader.named(view.owned(), unquote_to_bytes(encoded_id))
    owned = view.owned()
    return (
        {"schedules": [_whole(view, each, owned) for each in found[:_SAME_ID]]} if found else None
    )


def page_of(
    view: View, reader: PageReader, numbers: dict[int, TopicPartition], question: Question
) -> Page:
    """What the question asks for, as far as one page goes; looks at so many and no more."""
    found: list[Waiting] = []
    looked_at = looked_at_bytes = bytes_of_ids = 0
    walk = reader.walk(numbers, question.start, question.before_ms, failed=question.failed)
    with closing(cast(Any, walk)):
        for each in walk:
            looked_at += 1
            looked_at_bytes += len(each.value) + len(each.id)
            if _is_wanted(view, each, question):
                found.append(each)
                bytes_of_ids += len(each.id)
            if (
                len(found) >= question.limit
                or looked_at >= _LOOKED_AT
                or looked_at_bytes >= _BYTES_LOOKED_AT
                or bytes_of_ids >= _BYTES_OF_IDS
            ):
                return Page(found, each.place)
    return Page(found, None)


def path_of(schedule_id: bytes) -> str | None:
    """Where the schedule is found; None if its id is too long for a request."""
    path = f"/schedules/{quote(schedule_id, safe='')}"
    return path if len(path) <= _LONGEST_PATH else None


def _target(target: Target) -> Json:
    since_ms = target.paused_since_ms
    return {
        "topic": target.topic[:_LONGEST_TEXT],
        "paused": since_ms is not None,
        "paused_since": None if since_ms is None else iso_time(since_ms),
        "limit_per_second": target.limit,
        "waiting": target.waiting,
    }


def _since_start(consumer: ConsumerFigures, producer: ProducerFigures) -> Json:
    return {
        "received": consumer.received.total(),
        "cancelled": consumer.cancelled.total(),
        "rejected": consumer.rejected.total(),
        "fired": producer.fired.total(),
        "dead_letters": producer.buried.total(),
        "republished": producer.republished,
        "aborted": producer.aborted,
    }


def _is_wanted(view: View, found: Waiting, question: Question) -> bool:
    if not found.id.startswith(question.prefix):
        return False
    if question.target is None:
        return True
    schedule = view.read(found)
    return schedule is not None and schedule.topic == question.target


def _numbers(view: View, topic: str | None) -> dict[int, TopicPartition]:
    return {n: where for n, where in view.owned().items() if topic in (None, where.topic)}


def _summary(view: View, found: Waiting, owned: dict[int, TopicPartition]) -> Json:
    schedule = view.read(found)
    target = None if schedule is None else schedule.topic
    return {
        "id": exact(found.id),
        "path": path_of(found.id),
        **_facts(found, owned, schedule),
        **_kind(found.headers, LONGEST_NAME),
        "target": target if target is None else target[:LONGEST_NAME],
    }


def _whole(view: View, found: Waiting, owned: dict[int, TopicPartition]) -> Json:
    schedule = view.read(found)
    room = _Room(_WHOLE)
    answer = {
        "id": exact(found.id),
        **_facts(found, owned, schedule),
        **_kind(found.headers, _LONGEST_TEXT),
    }
    if schedule is None:
        return answer | {"record": room.take(found.value)}
    return answer | {
        "target": schedule.topic[:_LONGEST_TEXT],
        "key": room.take(schedule.key),
        "value": room.take(schedule.value),
        "headers": list(_headers(schedule, room)),
    }


def _kind(headers: Sequence[Header], longest: int) -> Json:
    """Only where there is one."""
    texts = {
        name: text if len(text) <= longest else text[: longest - 1] + "…"
        for name, text in texts_of(headers).items()
    }
    return {"kind": texts} if texts else {}


def _headers(schedule: Schedule, room: _Room) -> Iterator[Json]:
    for name, value in schedule.headers:
        if room.left <= 0:
            yield {"cut": True}
            return
        yield {"name": name[:_LONGEST_TEXT], "value": room.take(value)}
        room.left -= len(name)


def _facts(found: Waiting, owned: dict[int, TopicPartition], schedule: Schedule | None) -> Json:
    where = owned.get(found.place.number)  # None if it was given up since
    failed = found.failed
    return {
        "due": None if schedule is None else iso_time(found.place.due_ms),
        "due_ms": None if schedule is None else found.place.due_ms,
        "schedule_topic": where and where.topic,
        "partition": where and where.partition,
        "offset": found.place.offset,
        "failed": failed
        and {
            "attempts": failed.attempts,
            "since": iso_time(failed.since_ms),
            "next_try": "at once" if failed.next_ms == 0 else iso_time(failed.next_ms),
            "reason": failed.reason,
            "message": failed.text[:_LONGEST_TEXT],
        },
    }


class _Room:
    """Bytes for one answer."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, data: bytes | None) -> Json | None:
        """The bytes, or as many of them as there is room for, said so."""
        if data is None:
            return None
        kept = data[: max(self.left, 0)]
        self.left -= len(kept)
        if len(kept) == len(data):
            return exact(data)
        return {"base64": base64.b64encode(kept).decode(), "cut": True, "bytes": len(data)}
