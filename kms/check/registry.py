"""The schema registry: it answers, to us, and what it has can be read."""

from __future__ import annotations

from collections.abc import Iterator

from kms.check.finding import Finding, error, ok, warning
from kms.errors import FormatError, RegistryAwayError, RegistryRefusedError
from kms.formats import AwaitedSchemas
from kms.settings import Settings
from kms.times import now_ms

_ANY_ID = 1  # the answer that it is not known is one, too


def check_registry(settings: Settings, schemas: AwaitedSchemas) -> Iterator[Finding]:
    """Whether it says what a schema is, as the service asks; and the newest one of each topic.

    Nothing is registered. After a question that is not answered nothing more is asked.
    """
    subject = f"schema registry {settings.kms_schema_registry_url}"
    try:
        schemas.source.schema(schemas.newest_id or _ANY_ID)
    except FormatError:
        pass  # of another kind: it said so
    except RegistryAwayError as problem:
        schemas.away = str(problem)
        yield _unanswered(subject, problem)
        return
    yield ok("schema-registry", subject, "it answers, and we may ask for schemas")
    for topic, form in settings.formats.items():
        if form == "registry":
            yield _newest(f"{topic}-value", schemas)


def _unanswered(subject: str, problem: RegistryAwayError) -> Finding:
    held = "Records with a schema that the cache does not remember hold their partition until then."
    if isinstance(problem, RegistryRefusedError):
        return error(
            *("schema-registry", subject, str(problem)),
            "Mend KMS_SCHEMA_REGISTRY_USER and KMS_SCHEMA_REGISTRY_PASSWORD_FILE, or allow that "
            f"user to read schemas by their id. {held}",
        )
    return error(
        *("schema-registry", subject, str(problem)),
        "Start it, or mend KMS_SCHEMA_REGISTRY_URL, which is the path of Confluent's API, and "
        f"KMS_SCHEMA_REGISTRY_CA. {held}",
    )


def _newest(name: str, schemas: AwaitedSchemas) -> Finding:
    subject = f"schema subject {name}"
    try:
        found = schemas.source.newest(name)
        if found is None:
            return ok("schema", subject, "none yet: kms schedule registers ours with the first")
        schemas.resolution(found[0], now_ms())
    except FormatError as problem:
        return warning(
            *("schema", subject, f"its newest schema is of no use: {problem}"),
            "What is written with it can't be fired: register one with the fields of "
            "python kms.py schema.",
        )
    except RegistryAwayError as problem:
        return warning(
            *("schema", subject, f"its newest schema can't be read: {problem}"),
            "Only kms schedule and POST /schedules need that: allow to read the subject.",
        )
    return ok("schema", subject, f"schema {found[0]} is the newest, and can be read")
