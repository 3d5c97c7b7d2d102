"""Shows how far the loading of the schedule topics is: a bar on a terminal, else log lines."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from kms.figures import ConsumerFigures

_LOG_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Progress:
    """Shown while partitions are folded that may not fire yet; call ``update`` now and then.

    Without ``bar`` in log lines on a terminal, too.
    """

    def __init__(self, figures: ConsumerFigures, *, bar: bool = True) -> None:
        self._may_draw = bar
        self._figures = figures
        self._console = Console(stderr=True)
        self._bar: Bar | None = None
        self._logged_at = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._end_bar()

    def update(self) -> None:
        """Show where the loading is now."""
        loaded, left = self._figures.loaded, self._figures.left_to_load
        if self._figures.assigned == self._figures.caught_up or not left:
            self._end_bar()
        elif self._may_draw and self._console.is_terminal:
            self._draw(loaded, left)
        elif time.monotonic() - self._logged_at >= _LOG_SECONDS:
            self._logged_at = time.monotonic()
            percent = 100 * loaded // (loaded + left)
            _log.info("Loading: %d of %d offsets (%d %%).", loaded, loaded + left, percent)

    def _draw(self, loaded: int, left: int) -> None:
        if self._bar is None:
            self._bar = Bar(
                TextColumn("Loading schedules"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.add_task("load")
            self._bar.start()
        task, total = self._bar.task_ids[0], loaded + left
        self._bar.update(task, completed=loaded, total=total, refresh=True)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
