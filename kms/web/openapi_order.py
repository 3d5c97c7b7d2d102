"""The body of ``POST /schedules`` in the OpenAPI document: once, by cron, or again and again."""

from __future__ import annotations

from kms.kinds import CONTROL
from kms.settings import Settings
from kms.settings_values import TOPIC_NAME
from kms.web.openapi_values import BASE64, DURATION, TIME, Json
from kms.web.order import LATEST_MS, LONGEST_ID, MOST_COUNT, NO_IDS

_TEXT: Json = {"type": ["string", "null"]}
_BYTES: Json = {"anyOf": [BASE64, {"type": "null"}]}
_MOMENT: Json = {"anyOf": [TIME, {"type": "integer", "minimum": 0, "maximum": LATEST_MS}]}
_IN_BASE64: Json = {
    "type": "object",
    "required": ["base64"],
    "properties": {"base64": BASE64},
    "additionalProperties": False,
}
_MESSAGE: Json = {
    "to": {"type": "string", "pattern": f"^{TOPIC_NAME.pattern}$"},
    "at": _MOMENT,
    "in": DURATION,
    "key": _TEXT,
    "key_base64": _BYTES,
    "value": _TEXT,
    "value_base64": _BYTES,
    "headers": {
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[^\\u0000]*$", "not": {"enum": sorted(CONTROL)}},
        "additionalProperties": {"anyOf": [{"type": "string"}, _IN_BASE64]},
    },
    "id": {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_ID,
        "not": {"enum": list(NO_IDS)},
    },
    "window": {**DURATION, "description": "Fire within this time after it is due."},
    "expires": {
        "description": "Do not fire later than this, a time from then on when it is due, or how "
        "long after that.",
        "anyOf": [*_MOMENT["anyOf"], DURATION],
    },
}
_CRON: Json = {
    "type": "string",
    "format": "cron",
    "description": "When it comes again: five fields, or six with seconds in front.",
    "examples": ["0 9 * * mon-fri"],
}
_EVERY: Json = {
    "type": "string",
    "pattern": "^[1-9][0-9]{0,3}(s|m|h|d)([1-9][0-9]{0,2}ms)?$",
    "description": "How long apart, a second or more; a duration as in has.",
    "examples": ["5m"],
}
_AGAIN: Json = {
    "timezone": {
        "type": "string",
        "format": "iana-time-zone",
        "description": "Of cron; UTC without it.",
        "examples": ["Europe/London"],
    },
    "until": {**_MOMENT, "description": "The last time it may come."},
    "count": {"type": "integer", "minimum": 1, "maximum": MOST_COUNT},
    "missed": {"type": "string", "enum": ["all", "one", "none"]},
}
_NOT_BOTH = ("key", "key_base64"), ("value", "value_base64"), ("at", "in")


def order(settings: Settings) -> Json:
    """What a body may be. Of what recurs, at or in is when the first may come."""
    return {
        "oneOf": [
            {
                **_variant(settings, "Once", {}),
                "anyOf": [{"required": ["at"]}, {"required": ["in"]}],
            },
            _variant(settings, "By a cron expression", {"cron": _CRON, **_AGAIN}, "cron"),
            _variant(settings, "Again and again", {"every": _EVERY, **_AGAIN}, "every"),
        ]
    }


def _variant(settings: Settings, title: str, more: Json, *required: str) -> Json:
    topic: Json = {"type": "string", "enum": list(settings.topics)}
    topics = ["topic"] if len(settings.topics) > 1 else []
    return {
        "type": "object",
        "title": title,
        "required": ["to", *topics, *required],
        "properties": {**_MESSAGE, **more, "topic": topic},
        "additionalProperties": False,
        "not": {"anyOf": [{"required": list(both)} for both in _NOT_BOTH]},
    }
