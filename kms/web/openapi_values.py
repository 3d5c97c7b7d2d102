"""What several parts of the OpenAPI document share."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TIME: Json = {"type": "string", "format": "date-time"}
DURATION: Json = {
    "type": "string",
    "minLength": 2,
    "pattern": "^([0-9]{1,4}w)?([0-9]{1,5}d)?([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?"
    "([0-9]{1,9}ms)?$",
    "examples": ["10s", "2h30m"],
}
BASE64: Json = {
    "type": "string",
    "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
