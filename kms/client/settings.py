"""The settings of a client: kms's own, or properties of librdkafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from kms.client.requests import Requests
from kms.errors import SettingsError
from kms.kafka_properties import KafkaProperties, is_owned, setting_instead_of
from kms.settings import Settings
from kms.settings_loading import load_settings
from kms.settings_values import FORMAT_OF, REGISTRY

_SETTINGS = ("kafka_brokers", "security_protocol")  # which have properties of their own
_USUAL_FORMAT = "avro"
_ALL = ("all", "-1")
# What kms decides on, and a program may say as well.
_SAME: Mapping[str, tuple[str, ...]] = {
    "acks": _ALL,
    "request.required.acks": _ALL,
    "enable.idempotence": ("true",),
    "partitioner": ("murmur2_random",),
    "delivery.report.only.error": ("false",),
}


def settings_of(config: Mapping[str, object] | None) -> Settings:
    """Those of the environment and the settings file; of ``config`` and nothing else if given.

    Raises SettingsError.
    """
    return load_settings() if config is None else _settings(config)


def settings_to_join(topic: str, wanted: str | None) -> Settings:
    """Those to write to a topic with somebody else's producer, out of environment and file.

    That is its format, if none is wanted, and the registry where it is that: nothing else is read,
    nor can it be wrong. Raises SettingsError.
    """
    settings = Settings() if wanted is not None else load_settings(only=FORMAT_OF)
    if "registry" not in (wanted, settings.formats.get(topic)):
        return settings
    return load_settings(only=(*REGISTRY, *(FORMAT_OF if wanted is None else ())))


def requests_of(topic: str, wanted: str | None, settings: Settings) -> Requests:
    """Those to write to a topic, in the format that is wanted, or else as the settings say.

    Raises SettingsError where both speak of it and differ: the service would not read it.
    """
    form = _format_of(topic, wanted, settings)
    if form != "registry":
        return Requests(topic, form)
    if settings.kms_schema_registry_url is None:
        raise SettingsError(
            f"The schemas of {topic} are in a registry, and KMS_SCHEMA_REGISTRY_URL must say "
            "which: a config of librdkafka can't."
        )
    # Here: what it imports takes a quarter of a second.
    from kms.kafka.registry import SchemaRegistry

    return Requests(topic, form, SchemaRegistry(settings))


def _format_of(topic: str, wanted: str | None, settings: Settings) -> str:
    said = settings.formats.get(topic)
    if wanted is None or said is None or wanted == said:
        return wanted or said or _USUAL_FORMAT
    name = next(name for name, form in FORMAT_OF.items() if form == said)
    raise SettingsError(
        f"The format of {topic} is {said} by {settings.source(name)}, and {wanted!r} is asked for: "
        "leave format out, or give the client a config."
    )


def _settings(config: Mapping[str, object]) -> Settings:
    """From librdkafka's properties, as a confluent-kafka producer takes them."""
    values: dict[str, Any] = {}
    properties: dict[str, str] = {}
    oauth_cb: Callable[[str], object] | None = None
    for name, value in config.items():
        setting = setting_instead_of(name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if value is None or text in _SAME.get(name, ()):
            continue
        if setting in _SETTINGS:
            values[setting] = text
        elif name == "oauth_cb" and callable(value):
            oauth_cb = value
        elif is_owned(name):
            raise SettingsError(f"{name} can't be set: kms decides on it.")
        else:
            properties[name] = text
    try:
        return Settings(**values, kafka=KafkaProperties(properties, oauth_cb))
    except ValidationError as error:
        # Without the values: one might be a secret.
        wrong = "; ".join(f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in error.errors())
        raise SettingsError(f"The config makes no sense: {wrong}.") from None
