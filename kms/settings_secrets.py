"""Secrets among the settings: given as themselves, or as ``NAME_FILE``, the path of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from kms.errors import SettingsError
from kms.settings_values import quoted

_LONGEST = 1_000_000  # characters; a mistaken path may name a device that never ends


def take_secrets(
    values: dict[str, Any],
    suffix: str,
    is_secret: Callable[[str], bool],
    origin: Callable[[str], str],
) -> tuple[set[str], list[str]]:
    """Hide the secrets in ``values``, and replace each ``NAME + suffix`` by NAME with the content.

    Answers the names whose value a file gave, and a sentence for each problem; ``origin`` names
    what was given, as part of a sentence.
    """
    problems, from_files = [], set()
    for name in [name for name in values if is_secret(name.removesuffix(suffix))]:
        value = values.pop(name)
        secret = name.removesuffix(suffix)
        start = origin(name)[:1].upper() + origin(name)[1:]
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
            problems.append(f"{start} must be a text, but is none.")
        elif name == secret:
            values[name] = SecretStr(str(value))
        elif secret in values:
            problems.append(f"{start} and {origin(secret)} are both given: leave one out.")
        else:
            try:
                values[secret] = SecretStr(_content(Path(str(value))))
                from_files.add(secret)
            except SettingsError as error:
                problems.append(f"{start} names {quoted(str(value))}, {error}.")
    return from_files, problems


def _content(path: Path) -> str:
    """What the file holds, without one newline at its end."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(_LONGEST + 1)
    except OSError as error:
        raise SettingsError(f"which can't be read: {error.strerror}") from None
    except ValueError:  # also a NUL in the path
        raise SettingsError("which can't be read: it is not UTF-8") from None
    if len(text) > _LONGEST:
        raise SettingsError(f"which is longer than {_LONGEST} characters: that is no secret")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SettingsError("which is empty")
    return text
