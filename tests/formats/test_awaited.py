"""Schemas for who looks once: asked for once, and never of a registry that did not answer."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from kms.errors import FormatError, RegistryAwayError, RegistryRefusedError
from kms.formats import AwaitedSchemas, schema_json
from kms.kafka.registry import SchemaRegistry
from kms.settings import Settings
from kms.times import now_ms


@contextmanager
def served(status: int, answer: object) -> Iterator[tuple[str, list[str]]]:
    """A server with one answer to all, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def schemas(url: str) -> AwaitedSchemas:
    settings = Settings(registry_schedule_topics=("a",), kms_schema_registry_url=url)
    return AwaitedSchemas(SchemaRegistry(settings), {7: (schema_json(),)})


def test_what_is_remembered_is_not_asked_for_and_the_rest_once() -> None:
    with served(200, {"schema": schema_json()}) as (url, asked), closing(schemas(url)) as found:
        assert found.newest_id == 7
        assert found.resolution(7, 0) is found.resolution(7, 0)
        assert asked == []
        assert found.resolution(8, 0) is found.resolution(8, 0)
        assert len(asked) == 1
        assert found.away is None


def test_an_id_that_nobody_gave_may_be_new() -> None:
    answer = {"error_code": 40403, "message": "Schema not found"}
    with served(404, answer) as (url, asked), closing(schemas(url)) as found:
        with pytest.raises(RegistryAwayError, match="schema 8 is not known yet"):
            found.resolution(8, now_ms())
        with pytest.raises(FormatError, match="knows no schema 8"):
            found.resolution(8, 0)
        assert len(asked) == 1
        assert found.away is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, RegistryAwayError), (401, RegistryRefusedError), (403, RegistryRefusedError)],
)
def test_a_registry_that_does_not_answer_is_asked_no_more(
    status: int, kind: type[RegistryAwayError]
) -> None:
    answer = {"error_code": status, "message": "no"}
    with served(status, answer) as (url, asked), closing(schemas(url)) as found:
        for schema_id in (8, 9, 8):
            with pytest.raises(RegistryAwayError, match=f"schema {schema_id} is not known"):
                found.resolution(schema_id, 0)
        assert len(asked) == 1
        assert found.away is not None
        assert found.resolution(7, 0)
        with pytest.raises(RegistryAwayError) as caught:
            found.source.schema(8)
        assert type(caught.value) is kind
