"""``run``: the service itself."""

from __future__ import annotations

import logging

import typer

from kms.cli.options import with_settings
from kms.settings import Settings

_log = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)-7s %(threadName)-10s %(message)s"


@with_settings(required=["schedule_topics"])
def run(settings: Settings) -> None:
    """Run the scheduler until SIGTERM or Ctrl-C.

    Example: `python kms.py run --kafka-brokers localhost:9092 --schedule-topics schedules`
    """
    from kms.service import run_service

    logging.basicConfig(format=_FORMAT, level=settings.kms_log_level)
    # It says at info level what happens to every single job.
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    for name, value, source in settings.shown():
        _log.debug("%s = %s (%s)", name, value, source)
    if settings.ignored_variables:
        ignored = ", ".join(settings.ignored_variables)
        _log.warning("These environment variables are no settings of kms: %s.", ignored)
    raise typer.Exit(run_service(settings))
