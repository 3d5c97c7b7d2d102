"""Gives commands the settings as flags, and the process its exit code."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Concatenate, NoReturn, TypeVar

import typer

from kms.errors import KmsError
from kms.settings import Settings
from kms.settings_loading import load_settings
from kms.settings_table import Definition, definitions

Result = TypeVar("Result")

# Every command takes these two.
_METAVARS = {"config": "FILE", "kafka": "NAME=VALUE"}
# Shorter names for flags that are typed by hand.
_ALIASES = {"kms_log_format": "--log-format", "kms_log_level": "--log-level"}


def with_settings(
    names: Collection[str] | None = None, required: Collection[str] = ()
) -> Callable[[Callable[Concatenate[Settings, ...], Result]], Callable[..., Result]]:
    """Makes a command of a function whose first parameter is the settings; goes below @app.command.

    The command has the function's other parameters, and a flag for each setting in ``names`` (all
    of them by default), for the settings file and for Kafka's properties. A setting without a flag
    still comes from environment and file. ``required`` settings have no default.
    """
    shown = [
        definition
        for definition in definitions()
        if names is None or definition.name in names or definition.name in _METAVARS
    ]
    if unknown := {*(names or ()), *required} - {definition.name for definition in definitions()}:
        raise ValueError(f"no such settings: {', '.join(sorted(unknown))}")

    def decorate(
        function: Callable[Concatenate[Settings, ...], Result],
    ) -> Callable[..., Result]:
        @functools.wraps(function)
        def command(**arguments: Any) -> Result:
            flags = {name: arguments.pop(name) for name in map(_parameter, shown)}
            return function(load_settings(flags, required=required), **arguments)

        _set_parameters(command, function, [_option(definition) for definition in shown])
        return command

    return decorate


def run_app(app: typer.Typer, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command line and ends the process.

    An error that kms raised on purpose becomes plain sentences on stderr and its exit code; every
    other error keeps its traceback.
    """
    try:
        app(arguments)
    except KmsError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    sys.exit()


def _set_parameters(
    command: Callable[..., object],
    function: Callable[..., object],
    options: Sequence[inspect.Parameter],
) -> None:
    # eval_str, because typer takes annotations of a __signature__ as they are, also if strings.
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())[1:]
    parameters = [
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
        *options,
    ]
    vars(command)["__signature__"] = signature.replace(parameters=parameters)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def _option(definition: Definition) -> inspect.Parameter:
    default = "" if definition.default_text == "none" else f"; default {definition.default_text}"
    option = typer.Option(
        *filter(None, [_ALIASES.get(definition.name), definition.flag]),
        help=f"{definition.help} ({definition.type_text}; variable {definition.env}{default})",
        metavar=_METAVARS.get(definition.name, "TEXT"),
        rich_help_panel="Settings",
        show_default=False,
    )
    value_type: Any = list[str] | None if definition.name == "kafka" else str | None
    return inspect.Parameter(
        _parameter(definition),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[value_type, option],
    )


def _parameter(definition: Definition) -> str:
    """What the flag gives: the setting, or the path of a file with it."""
    return definition.flag.removeprefix("--").replace("-", "_")
