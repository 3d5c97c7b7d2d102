"""The client of the schema registry: confluent-kafka's own, asked once for each call."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from kms.errors import (
    FormatError,
    RegistryAwayError,
    RegistryRefusedError,
    SettingsError,
)
from kms.settings import Settings
from kms.settings_sources import sentence_start

_TIMEOUT_SECONDS = 5.0
_NO_SCHEMA, _NO_SUBJECT, _NO_VERSION = 40403, 40401, 40402
_REFUSED = (401, 403)

logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for each request
logging.getLogger("httpx").setLevel(logging.WARNING)


class SchemaRegistry:
    """The registry that the settings name; for any thread.

    Whatever keeps it from answering is a RegistryAwayError, a wrong password and a wrong path
    included: somebody can mend those, and nothing may be given up for them.
    """

    def __init__(self, settings: Settings, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        """Raises SettingsError if they name none, or a file of certificates that can't be used.

        A question to each of its URLs takes no longer than ``timeout_seconds``.
        """
        if settings.kms_schema_registry_url is None:
            raise SettingsError(
                f"{sentence_start(settings.source('registry_schedule_topics'))} names topics, so "
                "KMS_SCHEMA_REGISTRY_URL must say where their schemas are."
            )
        self._url = settings.kms_schema_registry_url
        config: dict[str, object] = {
            "url": self._url,
            "timeout": timeout_seconds,
            "max.retries": 0,  # whoever asks decides
        }
        password = settings.kms_schema_registry_password
        if settings.kms_schema_registry_user is None and password is not None:
            raise SettingsError(
                f"{sentence_start(settings.source('kms_schema_registry_password'))} is of no use "
                "without KMS_SCHEMA_REGISTRY_USER."
            )
        if settings.kms_schema_registry_user is not None:
            text = "" if password is None else password.get_secret_value()
            config["basic.auth.user.info"] = f"{settings.kms_schema_registry_user}:{text}"
        if settings.kms_schema_registry_ca is not None:
            config["ssl.ca.location"] = str(settings.kms_schema_registry_ca)
        try:
            self._client = SchemaRegistryClient(config)
        except OSError as error:  # ssl's errors are some
            source = sentence_start(settings.source("kms_schema_registry_ca"))
            raise SettingsError(
                f"{source} names {settings.kms_schema_registry_ca}, which holds no certificates "
                f"in PEM that can be read ({error})."
            ) from None

    def schema(self, schema_id: int) -> tuple[str, ...] | None:
        """The Avro schema behind those that it refers to; None if the registry knows none.

        Raises FormatError if it is a schema of another kind, RegistryAwayError.
        """
        with self._errors():
            try:
                found = self._client.get_schema(schema_id)
            except SchemaRegistryError as error:
                if error.error_code == _NO_SCHEMA:
                    return None
                raise
            return self._texts(found, schema_id)

    def to_write(self, subject: str, ours: str) -> tuple[int, tuple[str, ...]]:
        """The id of the newest schema of a subject, and that; of ours where there is none yet."""
        found = self.newest(subject)
        if found is not None:
            return found
        with self._errors():
            self._client.clear_caches()  # it may remember an id of a subject that was deleted
            return self._client.register_schema(subject, Schema(ours, "AVRO")), (ours,)

    def newest(self, subject: str) -> tuple[int, tuple[str, ...]] | None:
        """The id of the newest schema of a subject, and that; None where there is none yet.

        Raises FormatError if it is a schema of another kind, RegistryAwayError.
        """
        with self._errors():
            try:
                # Its get_latest_version remembers the first answer for as long as it lives.
                found = self._client.get_version(subject, "latest")
            except SchemaRegistryError as error:
                if error.error_code not in (_NO_SUBJECT, _NO_VERSION):
                    raise
                return None
            schema_id = found.schema_id or 0
            return schema_id, self._texts(found.schema, schema_id)

    def close(self) -> None:
        """Every further question is a RegistryAwayError."""
        self._client.close()

    def _texts(self, schema: Schema, schema_id: int) -> tuple[str, ...]:
        if schema.schema_type not in (None, "AVRO"):
            raise FormatError(f"schema {schema_id} is {schema.schema_type}, not Avro")
        texts: list[str] = []
        for reference in schema.references or ():
            subject, version = reference.subject or "", reference.version or 0
            # As ids do, references outlive a subject that was deleted, unless for good.
            found = self._client.get_version(subject, version, deleted=True)
            texts += self._texts(found.schema, schema_id)
        return *dict.fromkeys(texts), schema.schema_str or ""

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FormatError:
            raise
        except Exception as error:
            # Its HTTP library has a tree of errors of its own, and so has each layer below.
            refused = getattr(error, "http_status_code", None) in _REFUSED
            raise (RegistryRefusedError if refused else RegistryAwayError)(
                f"the schema registry at {self._url} does not answer as it should "
                f"({type(error).__name__}: {error})"
            ) from error
