"""The schemas of this process, if any topic of it has them in a registry."""

from __future__ import annotations

from collections.abc import Mapping

from kms.formats import Schemas, Texts
from kms.settings import Settings

# Those that say how to reach it.
SETTINGS = tuple(f"kms_schema_registry_{each}" for each in ("url", "user", "password", "ca"))


def schemas_of(settings: Settings, known: Mapping[int, Texts] | None = None) -> Schemas | None:
    """None if no topic needs any; ``known`` are those that need not be asked for.

    Raises SettingsError where what the settings say of the registry can't be used.
    """
    if "registry" not in settings.formats.values():
        return None
    # Here: what the client imports takes a quarter of a second.
    from kms.kafka.registry import SchemaRegistry

    return Schemas(SchemaRegistry(settings), known)
