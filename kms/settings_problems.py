"""What is said of settings that are missing or wrong, a sentence each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from kms.settings_sources import flag_of, sentence_start, variable_of
from kms.settings_values import quoted, type_text


def missing(name: str, field: FieldInfo) -> str:
    """Of a setting that has no default and is needed."""
    return (
        f"{variable_of(name)} is missing: give it as that environment variable, as the flag "
        f"{flag_of(name)} or as the key {name} in the settings file; it must be "
        f"{type_text(field)}."
    )


def sentences(
    error: ValidationError,
    origins: Mapping[str, tuple[object, str]],
    fields: Mapping[str, FieldInfo],
) -> list[str]:
    """One for each setting that can't be what it was given; ``origins`` says where that was."""
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0])
        value, origin = origins[name]
        field = fields.get(name)
        if field is None:
            alike = difflib.get_close_matches(name.lower(), fields, n=1)
            advice = f"; did you mean {alike[0]}?" if alike else "."
            sentence = f"{sentence_start(origin)} is no setting{advice}"
        else:
            reason = problem.get("ctx", {}).get("error", f"is {quoted(value)}")
            sentence = f"{sentence_start(origin)} must be {type_text(field)}, but {reason}."
        found.setdefault(name, sentence)  # a list in the file can have several bad parts
    return list(found.values())
