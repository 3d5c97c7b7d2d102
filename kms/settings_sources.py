"""Where settings come from: flags, environment variables, a TOML file; each names what it gave.

Calling a source gives its values by setting name. Kafka's properties are in ``kafka``, every one a
``SecretStr``, because pydantic-settings can be told to log what sources give. ``problems`` has a
sentence for everything that can't even be a value, ``ignored`` the names of what looks as if it
were meant for kms and is not. ``origin`` and ``kafka_origin`` name a setting or a property in the
form in which this source gives it, as part of a sentence. A secret is given as itself or as
NAME_FILE, the path of a file that holds it; as a flag only the latter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    TomlConfigSettingsSource,
)

from kms.errors import SettingsError
from kms.kafka_properties import (
    VARIABLE_PREFIX,
    flattened,
    is_owned,
    is_property_name,
    is_secret,
    is_service_link,
    may_come_from_file,
    property_of_variable,
    setting_instead_of,
    variable_of_property,
)
from kms.settings_secrets import take_secrets
from kms.settings_values import is_secret_setting, quoted


class FlagSource(InitSettingsSource):
    """Flags that a command line parser has already split; None means that it was not given.

    ``kafka`` is a sequence of ``name=value``; of one name, the last counts.
    """

    def __init__(self, settings_class: type[BaseSettings], flags: Mapping[str, object]) -> None:
        self.problems: list[str] = []
        self.ignored: list[str] = []
        values = {name: value for name, value in flags.items() if value is not None}
        assignments = values.pop("kafka", ())
        self._read = _Secrets(self, settings_class)
        self._read.settings(values)
        super().__init__(settings_class, values)
        if not isinstance(assignments, Iterable):
            raise TypeError("kafka takes a sequence of name=value")
        if properties := self._properties(assignments):
            self.init_kwargs["kafka"] = properties

    def origin(self, setting: str) -> str:
        return "the flag " + flag_of(self._read.given_as(setting))

    def kafka_origin(self, name: str) -> str:
        return f"the flag --kafka {self._read.property_given_as(name)}"

    def _properties(self, assignments: Iterable[str]) -> dict[str, SecretStr]:
        properties = {}
        for number, assignment in enumerate(assignments, start=1):
            name, equals, value = assignment.partition("=")
            # What has no such form may be a secret in the wrong place: count, don't quote.
            if not equals or not is_property_name(name.strip()):
                self.problems.append(
                    f"The flag --kafka must be name=value, but number {number} of them is not."
                )
            elif is_secret(name.strip()):
                variable = variable_of_property(name.strip())
                self.problems.append(
                    f"The flag --kafka {name.strip()} would show a secret to every user of this "
                    f"machine: use the environment variable {variable}, or {variable}_FILE for "
                    "the path of a file that holds it."
                )
            else:
                properties[name.strip()] = SecretStr(value)
        return self._read.properties(properties)


class EnvironmentSource(EnvSettingsSource):
    """Environment variables; an empty one counts as unset.

    ``ignored`` names those that look as if they were for kms and are not: what Kubernetes adds,
    and what starts with KMS_ and is no setting.
    """

    def __init__(self, settings_class: type[BaseSettings], environment: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self.ignored: list[str] = []
        self._environment = {name: value for name, value in environment.items() if value}
        self._read = _Secrets(self, settings_class)
        super().__init__(settings_class)
        self._properties = self._read.properties(self._sorted_out())
        self._secrets: dict[str, Any] = {
            name: self._environment[variable_of(name)]
            for name in self._read.names
            if variable_of(name) in self._environment
        }
        self._read.settings(self._secrets)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # pydantic-settings looks them up by field name, and only upper case is ours.
        return {
            name.lower(): value for name, value in self._environment.items() if name == name.upper()
        }

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        values.pop("kafka", None)  # a variable called just KAFKA is nobody's
        values = {name: value for name, value in values.items() if name not in self._read.names}
        values |= self._secrets
        return values | ({"kafka": self._properties} if self._properties else {})

    def origin(self, setting: str) -> str:
        return "the environment variable " + variable_of(self._read.given_as(setting))

    def kafka_origin(self, name: str) -> str:
        name = self._read.property_given_as(name)
        return "the environment variable " + variable_of_property(name)

    def _sorted_out(self) -> dict[str, SecretStr]:
        settings = {variable_of(name) for name in self.settings_cls.model_fields}
        settings |= {variable_of(name) for name in self._read.names}
        properties = {}
        for variable, value in sorted(self._environment.items()):
            if variable in settings or variable == variable_of("config"):
                continue
            if is_service_link(variable) or variable.startswith("KMS_"):
                self.ignored.append(variable)
            elif variable.startswith(VARIABLE_PREFIX):
                name = property_of_variable(variable)
                if variable_of_property(name) == variable and is_property_name(name):
                    properties[name] = SecretStr(value)
                else:
                    self.problems.append(
                        f"The environment variable {variable} must be {VARIABLE_PREFIX} and the "
                        "name of one of librdkafka's properties in upper case, '_' for '.'."
                    )
        return properties


class FileSource(TomlConfigSettingsSource):
    """A TOML file: settings by name, and a table ``[kafka]`` of librdkafka's properties.

    ``file_origin`` says who named the file; of ``only`` some settings nothing else is looked at.
    Raises SettingsError if it can't be read.
    """

    def __init__(
        self,
        settings_class: type[BaseSettings],
        path: Path,
        file_origin: str,
        only: Collection[str] | None = None,
    ) -> None:
        self.problems: list[str] = []
        self.ignored: list[str] = []
        self._path = path
        self._read = _Secrets(self, settings_class)
        complaint = f"{sentence_start(file_origin)} names {quoted(str(path))}, "
        try:
            if not path.is_file():  # pydantic-settings passes over a missing file
                raise SettingsError(complaint + "which is no file.")
            super().__init__(settings_class, path)
        except OSError as error:
            raise SettingsError(f"{complaint}which can't be read: {error.strerror}.") from None
        except ValueError as error:  # TOMLDecodeError, which has the line, or UnicodeDecodeError
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise SettingsError(f"{complaint}which is no TOML: {reason}.") from None
        if only is not None:
            self.init_kwargs = {
                name: value
                for name, value in self.init_kwargs.items()
                if name.removesuffix("_file") in only
            }
        self._read.settings(self.init_kwargs)
        if "kafka" in self.init_kwargs:
            self.init_kwargs["kafka"] = self._properties(self.init_kwargs["kafka"])

    def origin(self, setting: str) -> str:
        setting = self._read.given_as(setting)
        key = setting if is_property_name(setting) else quoted(setting)
        return f"the key {key} in {self._path}"

    def kafka_origin(self, name: str) -> str:
        return self.origin(f"kafka.{self._read.property_given_as(name)}")

    def _properties(self, table: object) -> dict[str, SecretStr]:
        if not isinstance(table, Mapping):
            self.problems.append(
                f"{sentence_start(self.origin('kafka'))} must be a table of librdkafka's "
                "properties, but is none."
            )
            return {}
        properties: dict[str, SecretStr] = {}
        for name, value in flattened(table):
            start = sentence_start(self.kafka_origin(name))
            if not is_property_name(name):
                self.problems.append(
                    f"{sentence_start(self.origin('kafka'))} must be a table of librdkafka's "
                    f"properties, but {quoted(name)} is no name of one."
                )
            elif name in properties:
                self.problems.append(f"{start} must be there once, but is there twice.")
            elif not isinstance(value, str | int | float):
                self.problems.append(f"{start} must be a text, a number, true or false.")
            else:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                properties[name] = SecretStr(text)
        return self._read.properties(properties)


class _Secrets:
    """The secrets of one source, and which of them came from files."""

    def __init__(self, source: Source, settings_class: type[BaseSettings]) -> None:
        self._source = source
        self._settings = {
            name for name, field in settings_class.model_fields.items() if is_secret_setting(field)
        }
        self.names = self._settings | {f"{name}_file" for name in self._settings}
        self._from_files: set[str] = set()
        self._properties_from_files: set[str] = set()

    def settings(self, values: dict[str, Any]) -> None:
        """Replace each ``name_file`` in values by the secret itself."""
        found, problems = take_secrets(
            values, "_file", self._settings.__contains__, self._source.origin
        )
        self._from_files |= found
        self._source.problems.extend(problems)

    def properties(self, values: dict[str, SecretStr]) -> dict[str, SecretStr]:
        """The same for Kafka's properties; answers them."""
        found, problems = take_secrets(
            values, ".file", may_come_from_file, self._source.kafka_origin
        )
        self._properties_from_files |= found
        self._source.problems.extend(problems)
        return values

    def given_as(self, name: str) -> str:
        """The name under which a setting was given: its own, or that of a file."""
        return f"{name}_file" if name in self._from_files else name

    def property_given_as(self, name: str) -> str:
        return f"{name}.file" if name in self._properties_from_files else name


Source = FlagSource | EnvironmentSource | FileSource


def given(sources: Sequence[Source]) -> dict[str, tuple[object, str]]:
    """What was given and where: (value, origin) by setting, and by kafka.NAME for properties.

    The first source that has it counts, as in pydantic-settings.
    """
    result: dict[str, tuple[object, str]] = {}
    for source in sources:
        for name, value in source().items():
            if name == "kafka":
                for key, secret in value.items():
                    result.setdefault(f"kafka.{key}", (secret, source.kafka_origin(key)))
            else:
                result.setdefault(name, (value, source.origin(name)))
    return result


def owned_properties(sources: Sequence[Source]) -> Iterator[str]:
    """A sentence for each Kafka property that only kms may set, wherever it was given."""
    for source in sources:
        for name in filter(is_owned, source().get("kafka", {})):
            setting = setting_instead_of(name)
            advice = f"use {source.origin(setting)} instead" if setting else "kms decides on it"
            yield f"{sentence_start(source.kafka_origin(name))} can't be set: {advice}."


def variable_of(setting: str) -> str:
    """The environment variable of a setting."""
    return "KMS_CONFIG" if setting == "config" else setting.upper()


def flag_of(setting: str) -> str:
    """The command line flag of a setting."""
    return "--" + setting.replace("_", "-")


def sentence_start(origin: str) -> str:
    """An origin at the start of a sentence."""
    return origin[:1].upper() + origin[1:]
