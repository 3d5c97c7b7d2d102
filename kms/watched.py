"""What a running service does, seen from outside: its metrics where they answer, else the cache."""

from __future__ import annotations

import http.client
import time
import urllib.request
from collections import deque
from itertools import islice
from typing import NamedTuple, TypeVar

from kms import times
from kms.errors import CacheError
from kms.formats import Schemas, formats_of
from kms.metrics import Scraped, scraped
from kms.registry import remembered, schemas_of
from kms.settings import Settings
from kms.store import Filter, Pending, Reader

_ANSWER_SECONDS = 2.0
_LARGEST_ANSWER = 10_000_000  # bytes
_WINDOW_SECONDS = 5.0  # of rates
_COUNT_SHARE = 20  # counting takes no more than this part of the time
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


_RATE = 2  # looks make a rate
_MOST = 0.99
_LOOKED_AT = 5_000  # schedules, to find some that have not failed
_FIRST = (-(2**63), -1)  # before every schedule
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine

T = TypeVar("T")


class Sight(NamedTuple):
    """What was seen at one moment; None is what could not be known.

    Rates and lateness are those of the last seconds; ``fired`` and ``late_seconds``, the mean and
    what 99 in 100 kept to, are known from metrics alone. ``received`` counts offsets where only
    the cache was seen. ``overdue_ms`` is how long the first schedule's time has passed.
    """

    at_ms: int
    metrics_url: str | None
    pending: int | None
    failed: int | None
    partitions: str
    received: float | None
    fired: float | None
    fired_ever: int | None
    late_seconds: tuple[float, float] | None
    overdue_ms: int | None
    next: list[Pending]


class Watcher:
    """Looks at the service and at its cache, one look at a time; either may be missing.

    Raises CacheError if neither is there. The filter is for what is due next alone. A look never
    waits for the schema registry: what that says is there at one of the next.
    """

    def __init__(self, settings: Settings, wanted: Filter, limit: int) -> None:
        self._settings = settings
        self._wanted = wanted
        self._limit = limit
        self._url = _metrics_url(settings)
        self._reader: Reader | None = None
        self._schemas: Schemas | None = None
        self._scrapes: deque[tuple[float, Scraped]] = deque()
        self._offsets: deque[tuple[float, int]] = deque()
        self._counts: tuple[int, int] = 0, 0
        self._count_at = float("-inf")

    def look(self) -> Sight:
        """See how it is now; takes what a scrape and a look at the cache take."""
        found = None if self._url is None else _scrape(self._url)
        try:
            self._reader = self._reader or self._opened()
        except CacheError:
            if found is None:
                raise
        now_ms = times.now_ms()
        cached = self._look_at_cache(self._reader, now_ms, found)
        if found is None:
            self._scrapes.clear()
            return cached
        before = self._scrapes[-1][1] if self._scrapes else found
        if found.fired < before.fired or found.received < before.received:
            self._scrapes.clear()  # it was started anew
        _remember(self._scrapes, found)
        (first_at, first), (last_at, last) = self._scrapes[0], self._scrapes[-1]
        seconds = last_at - first_at
        return cached._replace(
            metrics_url=self._url,
            pending=sum(found.pending.values()),
            failed=int(found.failed),
            partitions=_partitions(found),
            received=(last.received - first.received) / seconds if seconds else None,
            fired=(last.fired - first.fired) / seconds if seconds else None,
            fired_ever=int(found.fired),
            late_seconds=_lateness(first, last),
        )

    def close(self) -> None:
        """Close the cache, and ask the schema registry no more."""
        if self._reader is not None:
            self._reader.close()
        if self._schemas is not None:
            self._schemas.close()

    def _opened(self) -> Reader:
        if self._schemas is None:
            self._schemas = schemas_of(self._settings, remembered(self._settings))
        forms = formats_of(self._settings.formats, self._schemas)
        return Reader(self._settings.kms_cache, forms)

    def _look_at_cache(self, reader: Reader | None, now_ms: int, found: Scraped | None) -> Sight:
        empty = Sight(now_ms, None, None, None, "", None, None, None, None, None, [])
        if reader is None:
            return empty
        with reader.snapshot():
            found_next = reader.pending(self._wanted, _LOOKED_AT)
            if not self._wanted.failed:
                found_next = (each for each in found_next if each.failed is None)
            upcoming = list(islice(found_next, self._limit))
            known = [checkpoint for checkpoint, _ in reader.checkpoints()]
            if found is None and time.monotonic() >= self._count_at:
                began = time.monotonic()
                self._counts = reader.count(Filter()), reader.count(Filter(failed=True))
                ended = time.monotonic()
                self._count_at = ended + _COUNT_SHARE * (ended - began)
            dues = [reader.next_due_ms(each.number, _FIRST) for each in known]
        first_due_ms = min((due_ms for due_ms in dues if due_ms is not None), default=None)
        _remember(self._offsets, sum(each.next_offset for each in known))
        (first_at, before), (last_at, after) = self._offsets[0], self._offsets[-1]
        seconds = last_at - first_at
        return empty._replace(
            pending=self._counts[0],
            failed=self._counts[1],
            partitions=f"{len(known)} in the cache",
            received=max(after - before, 0) / seconds if seconds else None,
            overdue_ms=None if first_due_ms is None else max(now_ms - first_due_ms, 0),
            next=upcoming,
        )


def _remember(seen: deque[tuple[float, T]], value: T) -> None:
    now = time.monotonic()
    seen.append((now, value))
    while now - seen[0][0] > _WINDOW_SECONDS and len(seen) > _RATE:
        seen.popleft()


def _metrics_url(settings: Settings) -> str | None:
    """Where the service with these settings has its metrics; None if that is any free port."""
    port = settings.prometheus_scraping_endpoint_port
    host = _ANYWHERE.get(settings.kms_http_address, settings.kms_http_address)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/metrics" if port else None


def _scrape(url: str) -> Scraped | None:
    """What it answers now; None for whoever is not there, or is not kms."""
    try:
        with _opener.open(url, timeout=_ANSWER_SECONDS) as answer:
            return scraped(answer.read(_LARGEST_ANSWER).decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return None


def _partitions(found: Scraped) -> str:
    text = f"{found.firing} of {found.assigned} firing"
    return f"{text}, {found.to_load} records to load" if found.to_load else text


def _lateness(first: Scraped, last: Scraped) -> tuple[float, float] | None:
    counts = {le: count - first.lateness.get(le, 0.0) for le, count in last.lateness.items()}
    total = max(counts.values(), default=0.0)
    if total <= 0:
        return None
    mean = (last.lateness_sum_seconds - first.lateness_sum_seconds) / total
    return mean, min(le for le, count in counts.items() if count >= _MOST * total)
