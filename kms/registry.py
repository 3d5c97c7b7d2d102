"""The schemas of this process, if any topic of it has them in a registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from kms.errors import CacheError
from kms.formats import AwaitedSchemas, InTime, Schemas, SchemaSource, Texts
from kms.settings import Settings
from kms.store import Reader

_LOOK_SECONDS = 3.0  # somebody waits for it


def schemas_of(settings: Settings, known: Mapping[int, Texts] | None = None) -> Schemas | None:
    """None if no topic needs any; ``known`` are those that need not be asked for.

    Raises SettingsError where what the settings say of the registry can't be used.
    """
    source = _source(settings)
    return None if source is None else Schemas(source, known)


def schemas_in_time(settings: Settings, seconds: float) -> Schemas | None:
    """The same for who writes and can't wait: what to write with is there in so many seconds."""
    urls = len((settings.kms_schema_registry_url or "").split(","))
    # It takes two questions at most, and one that does not answer shall leave time for the next.
    source = _source(settings, seconds / (2 * urls))
    return None if source is None else Schemas(InTime(source, seconds))


@contextmanager
def schemas_to_write(settings: Settings) -> Iterator[AwaitedSchemas | None]:
    """For one record to write; None if no topic needs any. Raises SettingsError."""
    source = _source(settings)
    if source is None:
        yield None
        return
    with closing(AwaitedSchemas(source)) as schemas:
        yield schemas


@contextmanager
def schemas_to_look(settings: Settings) -> Iterator[AwaitedSchemas | None]:
    """For one look at topics or cache; None if no topic needs any. Raises SettingsError.

    Those that the cache remembers are not asked for.
    """
    source = _source(settings, _LOOK_SECONDS)
    if source is None:
        yield None
        return
    with closing(AwaitedSchemas(source, remembered(settings))) as schemas:
        yield schemas


def remembered(settings: Settings) -> dict[int, Texts]:
    """The schemas of this registry that the cache has; none where there is no cache."""
    try:
        with closing(Reader(settings.kms_cache)) as reader:
            return reader.schemas(settings.kms_schema_registry_url or "")
    except CacheError:
        return {}


def _source(settings: Settings, *timeout_seconds: float) -> SchemaSource | None:
    if "registry" not in settings.formats.values():
        return None
    # Here: what the client imports takes a quarter of a second.
    from kms.kafka.registry import SchemaRegistry

    return SchemaRegistry(settings, *timeout_seconds)
