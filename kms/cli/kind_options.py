"""The options of ``schedule`` that ask for a kind of schedule, one for each header."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeVar

import typer

from kms import times
from kms.errors import BadHeaderError
from kms.kind_texts import name_of, own_words
from kms.kinds import COUNT, CRON, EVERY, EXPIRES, MISSED, TIMEZONE, UNTIL, WINDOW, kind_of
from kms.schedule import Header

Result = TypeVar("Result")


def _option(metavar: str | None, text: str, kind: Any = str) -> Any:
    panel = "Kinds of schedule"
    option = typer.Option(metavar=metavar, help=text, rich_help_panel=panel, show_default=False)
    return Annotated[kind | None, option]


_OPTIONS: Mapping[str, Any] = {
    EVERY: _option(
        "DURATION",
        "Again and again, so long apart: 1s or more. The first time is --at or --in, or so long "
        "from now.",
    ),
    CRON: _option(
        "EXPRESSION",
        "Again and again, whenever it says: five fields, or six with seconds in front; from --at "
        "or --in on, or from now.",
    ),
    TIMEZONE: _option("NAME", "Of --cron, like Europe/London. Default: UTC."),
    UNTIL: _option("TIME", "The last time it may come; a time as --at has it."),
    COUNT: _option("NUMBER", "How often it is fired."),
    MISSED: _option(
        None,
        "What is fired of what was due while nobody ran: one for all of them, each, or none that "
        "is more than a minute late. Default: one.",
        Literal["one", "all", "none"],
    ),
    WINDOW: _option(
        "DURATION", "Fire within so long after it is due: each id at a spot of its own."
    ),
    EXPIRES: _option(
        "TIME|DURATION", "Don't fire later than this: a time, or how long after it is due."
    ),
}
_TIMES = (UNTIL, EXPIRES)


def with_kinds(function: Callable[..., Result]) -> Callable[..., Result]:
    """Makes a command of a function with a parameter ``kind``; goes below @with_settings.

    The command has an option for each kind instead, and the function gets the record's headers.
    """

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Result:
        texts = {header: options.pop(name_of(header)) for header in _OPTIONS}
        kind = tuple((it, _value(it, text)) for it, text in texts.items() if text is not None)
        return function(*arguments, kind=kind, **options)

    signature = inspect.signature(function, eval_str=True)
    own = [it for it in signature.parameters.values() if it.name != "kind"]
    vars(command)["__signature__"] = signature.replace(
        parameters=[*own, *(_parameter(header) for header in _OPTIONS)]
    )
    return command


def timed(kind: Sequence[Header], said_ms: int | None) -> int:
    """The time for the record to say, in epoch ms.

    ``said_ms`` is what was said, which may be nothing of what recurs. Raises BadParameter where
    that, or a kind, makes no sense.
    """
    with kind_errors():
        asked = kind_of(kind)
    if said_ms is not None:
        return said_ms
    if asked is None or asked.recurrence is None:
        raise typer.BadParameter("give exactly one of them.", param_hint="--at, --in")
    return times.now_ms() + (asked.recurrence.every_ms or 0)


@contextmanager
def kind_errors() -> Iterator[None]:
    """Say in the words of the options what is wrong with a kind."""
    try:
        yield
    except BadHeaderError as error:
        raise typer.BadParameter(f"{own_words(error, '--')}.") from None


def _parameter(header: str) -> inspect.Parameter:
    return inspect.Parameter(
        name_of(header),
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=_OPTIONS[header],
    )


def _value(header: str, text: str) -> bytes:
    return os.fsencode(_moment(text) if header in _TIMES else text)


def _moment(text: str) -> str:
    """A time as it is meant on this machine; another text is left to whom reads the header."""
    try:
        return times.iso_time(times.parse_time(text)) or text
    except ValueError:
        return text
