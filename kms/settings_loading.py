"""Loads the settings: a flag beats a variable beats the file, and all that is wrong is said."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import ValidationError

from kms.errors import SettingsError
from kms.settings import Settings
from kms.settings_problems import missing, sentences
from kms.settings_sources import (
    EnvironmentSource,
    FileSource,
    FlagSource,
    Source,
    given,
    owned_properties,
    variable_of,
)
from kms.settings_values import FORMAT_OF


def load_settings(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    required: Collection[str] = (),
    only: Collection[str] | None = None,
) -> Settings:
    """The settings from flags (by setting name; None is not given), environment and file.

    ``required`` names settings that have no default and are needed here; where ``only`` names some,
    the others keep their defaults, whatever is given. Raises one SettingsError with a line for
    each problem, which names the setting in the form in which it was given.
    """
    flags = dict(flags or {})
    environment = os.environ if environment is None else environment
    file_flag, file_variable = flags.pop("config", None), environment.get(variable_of("config"))
    problems: list[str] = []
    sources: list[Source] = [
        FlagSource(Settings, flags),
        EnvironmentSource(Settings, environment if only is None else _those(environment, only)),
    ]
    path = (file_variable or None) if file_flag is None else str(file_flag)
    origin = sources[1 if file_flag is None else 0].origin("config")
    try:
        if path is not None:
            sources.append(FileSource(Settings, Path(path), origin, only))
    except SettingsError as error:
        problems.append(str(error))
        required = ()  # what seems to be missing may be in the file
    origins = given(sources)
    problems += [problem for source in sources for problem in source.problems]
    problems += owned_properties(sources)
    fields = Settings.model_fields
    problems += [missing(name, fields[name]) for name in required if not _is_given(name, origins)]
    try:
        settings = Settings(sources)
    except ValidationError as error:
        problems += sentences(error, origins, fields)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _is_given(name: str, origins: Mapping[str, object]) -> bool:
    names = FORMAT_OF if name in FORMAT_OF else [name]
    return any(each in origins for each in names)


def _those(environment: Mapping[str, str], only: Collection[str]) -> dict[str, str]:
    """The variables of some settings."""
    names = {variable_of(name) for name in only}
    return {it: text for it, text in environment.items() if it.removesuffix("_FILE") in names}
