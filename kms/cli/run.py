"""``run``: the service itself, for good or cron style."""

from __future__ import annotations

import logging
from typing import Annotated, NoReturn

import typer

from kms.cli import values
from kms.cli.options import with_settings
from kms.errors import CacheInUseError, ExitCode, KmsError
from kms.logs import set_up_logging
from kms.settings import Settings

_log = logging.getLogger(__name__)

_Once = Annotated[
    bool,
    typer.Option(
        "--once", help="Catch up, fire all that is due, print a line that sums it up, and end."
    ),
]
_Until = Annotated[
    int | None,
    typer.Option(
        parser=values.before_ms,
        metavar="TIME|DURATION",
        help="The same, but go on firing until then: ISO 8601, epoch milliseconds, or from now on "
        "5m, 2h30m, 3d.",
    ),
]
_Timeout = Annotated[
    int | None,
    typer.Option(
        parser=values.in_ms,
        metavar="DURATION",
        help="With --once or --until: give up this long after it should have ended, with exit "
        f"code {ExitCode.TIMED_OUT.value}, for example because Kafka is out of reach. Default: "
        "never.",
    ),
]
_Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="With --once or --until: wait while another process uses the cache, instead of "
        "leaving the work to it.",
    ),
]


@with_settings(required=["schedule_topics"])
def run(
    settings: Settings,
    once: _Once = False,
    until: _Until = None,
    timeout: _Timeout = None,
    wait: _Wait = False,
) -> None:
    """Run the scheduler until SIGTERM or Ctrl-C, or with --once or --until for cron.

    A second call with --once or --until on the same cache says so and does nothing.

    Example: `python kms.py run --kafka-brokers localhost:9092 --schedule-topics schedules`

    Example: `python kms.py run --config /etc/kms/kms.toml --log-format json`

    Example: `python kms.py run --once --timeout 50s`

    Example: `python kms.py run --until 5s --wait`
    """
    if once and until is not None:
        raise typer.BadParameter("give one of them.", param_hint="--once, --until")
    ends = once or until is not None
    if not ends and (wait or timeout is not None):
        raise typer.BadParameter("need --once or --until.", param_hint="--wait, --timeout")
    set_up_logging(settings.kms_log_level, settings.kms_log_format)
    try:
        if ends:
            _run_to_the_end(settings, until, timeout, wait=wait)
        _run(settings)
    except KmsError as error:
        if settings.kms_log_format != "json":
            raise
        _log.error("%s", error)
        raise typer.Exit(error.exit_code) from error


def _run(settings: Settings) -> NoReturn:
    from kms.ending import Ending
    from kms.service import run_service

    _say_settings(settings)
    raise typer.Exit(run_service(settings, Ending()))


def _run_to_the_end(
    settings: Settings, until_ms: int | None, timeout_ms: int | None, *, wait: bool
) -> NoReturn:
    from kms.ending import OnceFired
    from kms.service import run_service

    ending = OnceFired(until_ms, timeout_ms, wait=wait)
    _say_settings(settings)
    try:
        code = run_service(_without_port(settings), ending)
    except CacheInUseError:
        typer.echo(f"Nothing was done: another process is using the cache {settings.kms_cache}.")
        raise typer.Exit from None
    if ending.summary is not None:
        sentence = ending.summary.json if settings.kms_log_format == "json" else ending.summary.text
        typer.echo(sentence(ending.seconds))
    raise typer.Exit(code)


def _without_port(settings: Settings) -> Settings:
    """A port that nobody asked for would only be in the way of another run's."""
    name = "prometheus_scraping_endpoint_port"
    if settings.source(name) != "the default":
        return settings
    return settings.model_copy(update={name: 0, "kms_http_address": "127.0.0.1"})


def _say_settings(settings: Settings) -> None:
    for name, value, source in settings.shown():
        _log.debug("%s = %s (%s)", name, value, source)
    if settings.ignored_variables:
        ignored = ", ".join(settings.ignored_variables)
        _log.warning("These environment variables are no settings of kms: %s.", ignored)
