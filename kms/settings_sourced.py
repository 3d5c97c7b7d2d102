"""Settings that know where each of their values came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import PrivateAttr, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, SettingsConfigDict

from kms.settings_sources import Source, given


class SourcedSettings(BaseSettings):
    """What is common to all settings; the first of the sources that has one gives its value."""

    model_config = SettingsConfigDict(
        frozen=True,
        case_sensitive=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        validate_default=False,
    )

    # Where each value came from, by setting, and by kafka.NAME for each of Kafka's properties.
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _ignored_variables: tuple[str, ...] = PrivateAttr(default=())

    def __init__(self, sources: Sequence[Source], values: dict[str, Any]) -> None:
        own = InitSettingsSource(type(self), values)
        super().__init__(_build_sources=((own, *sources), {}))
        self._origins = {name: origin for name, (_, origin) in given(sources).items()}
        self._ignored_variables = tuple(
            variable for source in sources for variable in source.ignored
        )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object) -> object:
        if isinstance(value, bool):  # TOML's true would pass for the number 1
            raise ValueError(f"is {str(value).lower()}")
        return value

    def source(self, name: str) -> str:
        """Where a setting came from, in the same form; "the default" if nobody gave it."""
        return self._origins.get(name, "the default")

    @property
    def ignored_variables(self) -> tuple[str, ...]:
        """Environment variables that look as if they were meant for kms, and were passed over.

        Those are Kubernetes' service links, and names with KMS_ that are no setting.
        """
        return self._ignored_variables
