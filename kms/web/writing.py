"""``POST /schedules`` and ``DELETE /schedules/{id}``: each writes one record, and nothing else."""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from http import HTTPStatus
from urllib.parse import quote_from_bytes, unquote_to_bytes

from kms.errors import KafkaError, KmsError, RegistryAwayError, UndeliverableError
from kms.formats import formats_of
from kms.http_limits import CONNECTIONS, BodyError
from kms.http_port import NO_CHANGES, Change, Changes, Page, Request
from kms.kafka import Admin, Sender, TopicPartition
from kms.registry import schemas_in_time
from kms.repeats import Repeats, more
from kms.schedule import Header
from kms.settings import Settings
from kms.times import iso_time
from kms.topics import missing_text
from kms.web.json_pages import complaint, exact, guarded, json_page
from kms.web.order import ordered
from kms.web.question import QuestionError, asked_topic
from kms.web.view import BusyError, View

# Together shorter than the port keeps a connection: the answer shall still arrive. That a record
# is given up is noticed a second late.
_REGISTRY_SECONDS = 2.0
_LOOK_SECONDS = 2.0
_SEND_SECONDS = 4.5
# While Kafka is away each of them takes these seconds: there is still room for who asks for health.
_AT_ONCE = CONNECTIONS // 2
_ANY_PARTITION = -1

_log = logging.getLogger(__name__)


class Writing:
    """What writes schedule records for whoever has the token; safe from any thread.

    Its producer is made with the first record. ``close`` ends it.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._settings: Settings = view.settings
        may_write = self._settings.kms_http_token is not None
        # Not the service's, which is more patient.
        self._schemas = schemas_in_time(self._settings, _REGISTRY_SECONDS) if may_write else None
        self._forms = formats_of(self._settings.formats, self._schemas)
        self._there: set[str] = set()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._making = threading.Lock()
        self._sender: Sender | None = None
        self._repeats = Repeats()

    def changes(self) -> Changes:
        """None without a token."""
        if self._settings.kms_http_token is None:
            return NO_CHANGES
        post, delete = self._answering(self._post), self._answering(self._delete)
        return {
            "POST": {"/schedules": Change(self._refused_body, _unread, post)},
            "DELETE": {"/schedules/": Change(self._refused, _unread, delete)},
        }

    def close(self) -> None:
        """Wait for what is on its way."""
        with self._making:
            if self._sender is not None:
                self._sender.close()
        if self._schemas is not None:
            self._schemas.close()

    def _refused(self, request: Request) -> Page | None:
        token = self._settings.kms_http_token
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        wanted = token.get_secret_value() if token is not None else ""
        if scheme.lower() == "bearer" and _is_same(given.strip(), wanted):
            return None
        # RFC 6750: without any credentials no error, for that would be a hint.
        wrong = ', error="invalid_token"' if scheme else ""
        page = complaint(
            HTTPStatus.UNAUTHORIZED,
            "This needs the header Authorization: Bearer with the token of KMS_HTTP_TOKEN.",
        )
        challenge = {"WWW-Authenticate": f'Bearer realm="kms"{wrong}'}
        return page._replace(headers={**page.headers, **challenge})

    def _refused_body(self, request: Request) -> Page | None:
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        refusal = self._refused(request)
        if refusal is None and kind != "application/json":
            return complaint(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send Content-Type: application/json."
            )
        return refusal

    def _answering(self, change: Callable[[Request], Page]) -> Callable[[Request], Page]:
        def answering(request: Request) -> Page:
            if not self._room.acquire(blocking=False):
                raise BusyError
            try:
                return change(request)
            except (KafkaError, RegistryAwayError) as error:
                if isinstance(error, UndeliverableError) and error.reason == "too-large":
                    return complaint(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{error}.")
                return self._unwritten(error)
            finally:
                self._room.release()

        return guarded(answering)

    def _post(self, request: Request) -> Page:
        if request.query:
            raise QuestionError("This takes no parameters: all is in the body.")
        order = ordered(request.body)
        topic = self._topic(order.topic)
        record, due_ms = order.record(topic, self._forms[topic])
        where = self._sent(topic, record.id, record.value, headers=record.headers)
        page = json_page(
            {
                "id": order.id,
                "schedule_topic": where.topic,
                "partition": where.partition,
                "due": iso_time(due_ms),
                "due_ms": due_ms,
            },
            HTTPStatus.CREATED,
        )
        location = f"/schedules/{quote_from_bytes(order.id.encode(), safe='')}"
        return page._replace(headers={**page.headers, "Location": location})

    def _delete(self, request: Request) -> Page:
        schedule_id = unquote_to_bytes(request.rest)
        if not schedule_id:
            raise QuestionError("The path has no id.")
        said = asked_topic(request.query)
        # Where it is pending, as far as this instance knows: other clients may have partitioned
        # otherwise. What it does not know lies where kms and Java's clients put it.
        with self._view.reading() as reader:
            owned = self._view.owned()
            found = {owned[it.place.number] for it in reader.named(owned, schedule_id)}
        found = {where for where in found if said in (None, where.topic)}
        if len({where.topic for where in found}) == 1:
            places = sorted(found)
        else:
            places = [TopicPartition(self._topic(said), _ANY_PARTITION)]
        for topic, partition in places:
            where = self._sent(topic, schedule_id, None, partition)
        return json_page(
            {
                "id": exact(schedule_id),
                "schedule_topic": where.topic,
                "partition": where.partition,
                "was_pending": bool(found),
            }
        )

    def _topic(self, said: str | None) -> str:
        topics = self._settings.topics
        if said is None and len(topics) == 1:
            return topics[0]
        if said is None or said not in topics:
            what = "is missing" if said is None else f"is {said[:60]!a}"
            raise QuestionError(f"topic {what}: the schedule topics are {', '.join(topics)}.")
        return said

    def _sent(
        self,
        topic: str,
        schedule_id: bytes,
        value: bytes | None,
        partition: int = _ANY_PARTITION,
        headers: Sequence[Header] = (),
    ) -> TopicPartition:
        self._check(topic)
        return self._producer().send(topic, schedule_id, value, partition, headers)

    def _check(self, topic: str) -> None:
        """Just to produce to it could create it, with a configuration that loses schedules."""
        if topic in self._there:
            return
        owned = {where.topic for where in self._view.owned().values()}
        if topic not in owned and self._admin.topics([topic])[topic] is None:
            raise KafkaError(missing_text(topic))
        self._there.add(topic)

    @cached_property
    def _admin(self) -> Admin:
        return Admin(self._settings, _LOOK_SECONDS)

    def _producer(self) -> Sender:
        broken = None
        with self._making:
            if self._sender is not None and self._sender.is_broken:
                broken, self._sender = self._sender, None
            if self._sender is None:
                self._sender = Sender(self._settings, _SEND_SECONDS)
            sender = self._sender
        if broken is not None:
            # Others still wait for what it says of theirs; this request and its lock don't.
            threading.Thread(target=broken.close, name="broken-producer", daemon=True).start()
        return sender

    def _unwritten(self, error: KmsError) -> Page:
        text = str(error).rstrip(".")
        unsaid = self._repeats.unsaid(type(error).__name__)
        if unsaid is not None:
            _log.warning("A schedule that came by HTTP was not written: %s.%s", text, more(unsaid))
        page = complaint(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"{text}. Try again, with the same id, so that there is one.",
        )
        return page._replace(headers={**page.headers, "Retry-After": "1"})


def _unread(error: BodyError) -> Page:
    return complaint(error.status, str(error))


def _is_same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("latin-1", errors="replace"), token.encode())
