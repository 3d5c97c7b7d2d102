"""The OpenAPI document of the HTTP port, written by hand; tests hold it to what is served."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from kms import __version__
from kms.kind_texts import NAMES
from kms.settings import Settings
from kms.web.openapi_order import order
from kms.web.openapi_values import BASE64, DURATION, TIME
from kms.web.question import DEFAULT_LIMIT, MOST

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_EPOCH_MS: Json = {"type": "string", "pattern": "^0*[0-9]{1,14}$"}
_BYTES: Json = {
    "type": ["object", "null"],
    "description": "Bytes: text where they are UTF-8, else base64; cut where they are too many.",
    "properties": {"text": _TEXT, "base64": BASE64, "cut": {"type": "boolean"}, "bytes": _COUNT},
    "additionalProperties": False,
}
_KIND: Json = {
    "type": "object",
    "description": "What the record's headers kms-* ask for, as it is written; of what recurs "
    "occurrence says how often it was fired. Left out where there is none.",
    "properties": dict.fromkeys(NAMES, _TEXT),
    "additionalProperties": False,
    "minProperties": 1,
}
_SCHEDULE: Json = {
    "type": "object",
    "description": "One that is pending. due is null where the record is no schedule.",
    "required": ["id", "due", "due_ms", "schedule_topic", "partition", "offset", "failed"],
    "properties": {
        "id": _BYTES,
        "path": {"type": ["string", "null"]},
        "due": {"type": ["string", "null"]},
        "due_ms": {"type": ["integer", "null"]},
        "target": {"type": ["string", "null"]},
        "schedule_topic": {"type": ["string", "null"]},
        "partition": {"type": ["integer", "null"]},
        "offset": _COUNT,
        "failed": {"type": ["object", "null"]},
        "kind": _KIND,
        "key": _BYTES,
        "value": _BYTES,
        "headers": {"type": "array", "items": {"type": "object"}},
        "record": _BYTES,
    },
    "additionalProperties": False,
}
_ERROR: Json = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The schedule id, percent-encoded.",
    "schema": {"type": "string", "minLength": 1},
}
_LOCATION: Json = {
    "description": "The path of the schedule.",
    "required": True,
    "schema": {"type": "string", "pattern": "^/schedules/[^/]+$"},
}


def document(settings: Settings) -> Json:
    """What an instance with these settings serves."""
    paths: Json = {
        "/openapi.json": {"get": _get("openapi", "This document.", {"type": "object"})},
        "/metrics": {"get": _metrics()},
        "/health/live": {"get": _health("live")},
        "/health/ready": {"get": _health("ready")},
    }
    if settings.kms_http_pages == "all":
        paths["/info"] = {"get": _get("info", "What it is and does.", {"type": "object"}, 503)}
        paths["/schedules"] = {"get": _schedules()}
        paths["/schedules/{id}"] = {"get": _schedule()}
    if settings.kms_http_token is not None:
        paths.setdefault("/schedules", {})["post"] = _post(settings)
        paths.setdefault("/schedules/{id}", {})["delete"] = _delete(settings)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kafka Message Scheduler",
            "version": __version__,
            "description": "One instance: it answers for the partitions that it is assigned.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _get(name: str, summary: str, answer: Json, *errors: int, **more: Any) -> Json:
    return _operation(name, summary, {"200": answer}, *errors, **more)


def _operation(name: str, summary: str, answers: Json, *errors: int, **more: Any) -> Json:
    found = {status: _json(answer, int(status)) for status, answer in answers.items()}
    found |= {str(status): _json(_ERROR, status) for status in errors}
    return {"operationId": name, "summary": summary, "responses": found, **more}


def _json(schema: Json, status: int) -> Json:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {"application/json": {"schema": schema}},
    }


def _metrics() -> Json:
    kinds = ("text/plain", "application/openmetrics-text")
    return {
        "operationId": "metrics",
        "summary": "Prometheus metrics.",
        "responses": {
            "200": {"description": "OK", "content": {kind: {"schema": _TEXT} for kind in kinds}}
        },
    }


def _health(name: str) -> Json:
    answer: Json = {
        "type": "object",
        "required": [name, "why"],
        "properties": {name: {"type": "boolean"}, "why": _TEXT},
    }
    summary = f"Whether it is {name}, and why."
    return _operation(name, summary, {"200": answer, "503": answer})


def _schedules() -> Json:
    moment: Json = {"anyOf": [TIME, DURATION, _EPOCH_MS]}
    cursor = {"type": "string", "pattern": "^-?[0-9]{1,18}_[0-9]{1,18}_[0-9]{1,9}$"}
    schemas: Json = {
        "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT},
        "target": _TEXT,
        "topic": _TEXT,
        "prefix": _TEXT,
        "after": moment,
        "before": moment,
        "failed": {"type": "boolean"},
        "cursor": cursor,
    }
    answer: Json = {
        "type": "object",
        "required": ["schedules", "next"],
        "properties": {
            "schedules": {"type": "array", "items": _SCHEDULE},
            "next": {"anyOf": [cursor, {"type": "null"}]},
        },
    }
    parameters = [{"name": it, "in": "query", "schema": schemas[it]} for it in schemas]
    summary = "What is pending, soonest first."
    return _get("list", summary, answer, 400, 503, parameters=parameters)


def _schedule() -> Json:
    answer: Json = {
        "type": "object",
        "required": ["schedules"],
        "properties": {"schedules": {"type": "array", "items": _SCHEDULE, "minItems": 1}},
    }
    summary = "All there is of what is pending under an id."
    return _get("get", summary, answer, 400, 404, 503, parameters=[_ID])


def _post(settings: Settings) -> Json:
    post = _operation(
        "schedule",
        "Schedule a message; what is pending under the same id on the same topic is replaced.",
        {"201": _written({"due": _TEXT, "due_ms": {"type": "integer"}, "id": _TEXT})},
        *(400, 401, 411, 413, 415, 503),
        security=[{"token": []}],
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": order(settings)}},
        },
    )
    post["responses"]["201"]["headers"] = {"Location": _LOCATION}
    return post


def _delete(settings: Settings) -> Json:
    topic = {
        "name": "topic",
        "in": "query",
        "description": "The schedule topic, where there are several.",
        "required": len(settings.topics) > 1,
        "schema": {"type": "string", "enum": list(settings.topics)},
    }
    return _operation(
        "cancel",
        "Cancel what is pending under an id, whether this instance knows of it or not.",
        {"200": _written({"was_pending": {"type": "boolean"}, "id": _BYTES})},
        *(400, 401, 413, 503),
        security=[{"token": []}],
        parameters=[_ID, topic],
    )


def _written(more: Json) -> Json:
    found: Json = {**more, "schedule_topic": _TEXT, "partition": _COUNT}
    return {"type": "object", "required": list(found), "properties": found}
