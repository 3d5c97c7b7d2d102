"""Every setting as people see it: in the help, the README and the example file."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic.fields import FieldInfo

from kms.settings import Settings
from kms.settings_sources import flag_of, variable_of
from kms.settings_values import is_secret_setting, text_of, type_text


@dataclass(frozen=True)
class Definition:
    """One setting as people see it; all of it is derived from a field of ``Settings``.

    Only the path of a file with a secret is a flag: others can read a process's flags.
    """

    name: str
    env: str
    flag: str
    file_key: str
    type_text: str
    default_text: str
    help: str


def definitions() -> tuple[Definition, ...]:
    """Every setting in the order in which to show them, the settings file first."""
    file = Definition(
        "config",
        variable_of("config"),
        flag_of("config"),
        "",
        "the path of a TOML file",
        "none",
        "The settings file.",
    )
    return file, *(_definition(name, field) for name, field in Settings.model_fields.items())


def settings_table() -> str:
    """The README's table of all settings, in Markdown."""
    rows = ["| Environment | Flag | File | Value | Default | Meaning |", "|" + " --- |" * 6]
    for setting in definitions():
        environment, flag, key = (
            f"`{code}`" if code else "" for code in (setting.env, setting.flag, setting.file_key)
        )
        default = (
            setting.default_text if setting.default_text == "none" else f"`{setting.default_text}`"
        )
        rows.append(
            f"| {environment} | {flag} | {key} | {setting.type_text} | {default} | {setting.help} |"
        )
    return "\n".join(rows) + "\n"


def _definition(name: str, field: FieldInfo) -> Definition:
    kafka = name == "kafka"
    return Definition(
        name=name,
        env="KAFKA_*" if kafka else variable_of(name),
        flag=flag_of(f"{name}_file" if is_secret_setting(field) else name),
        file_key="[kafka]" if kafka else name,
        type_text=type_text(field),
        default_text=text_of(field.default),
        help=field.description or "",
    )
