"""``scripts/bench``: measures kms, and beside it the bare loops that are its limit."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType

from benchmarks.cases import CASES
from benchmarks.results import Result, not_measured
from benchmarks.table import machine, notes, result_table
from benchmarks.usage import busy_percent
from benchmarks.workbench import Workbench
from confluent_kafka import KafkaException
from local_kafka import KafkaStartError, broker
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

from kms.errors import KmsError
from tests.broker.cluster import Cluster

_FOLDER = Path(__file__).resolve().parent.parent / ".bench"

_LOOK_SECONDS = 1.0
_QUIET_PERCENT = 20.0  # more is said, for the figures are worth less then

# A wait in vain, a process that ended, the broker, the cache.
_FAILURES = (AssertionError, RuntimeError, OSError, KafkaException, KmsError)

_errors = Console(stderr=True, highlight=False, soft_wrap=True)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line: cases, all if none is named, and how many schedules."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; without any, all of them"
    )
    parser.add_argument(
        "--n", type=_positive, help="schedules in each case, instead of its own number"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", default=_FOLDER, help="default: .bench"
    )
    options = parser.parse_args(arguments)
    for name in options.cases:
        if name not in CASES:
            parser.error(f"there is no case {name!r}; there are {', '.join(CASES)}")
    options.cases = options.cases or list(CASES)
    return options


def main(arguments: Sequence[str]) -> int:
    """Measure, show, write; the exit code is 1 if a case could not be measured."""
    options = parsed(arguments)
    try:
        results = _measured(options.cases, options.n)
    except KafkaStartError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    output = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    output.print(result_table(results))
    where = machine()
    for line in [*notes(results), ", ".join(f"{name} {text}" for name, text in where.items())]:
        output.print(line)
    if options.json:
        found = {"machine": where, "results": [result.as_json() for result in results]}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    for path in _pictures(results, options.pictures):
        output.print(f"picture: {path}")
    return 1 if any(result.figure is None for result in results) else 0


def _measured(cases: Sequence[str], n: int | None) -> list[Result]:
    """A case that fails says so in its line, and the others go on."""
    results: list[Result] = []
    columns = (SpinnerColumn(), *Progress.get_default_columns(), TimeElapsedColumn())
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="kms-bench-")))
        _errors.print("Finding or starting a Kafka broker ...")
        cluster = Cluster(exits.enter_context(broker(folder / "kafka")))
        for name in cases:
            busy = busy_percent(_LOOK_SECONDS)
            _errors.print(f"{name}: {CASES[name].__doc__}")
            bar = Progress(
                *columns, console=_errors, transient=True, disable=not _errors.is_terminal
            )
            with ExitStack() as of_case, bar:
                try:
                    found = CASES[name](Workbench(cluster, folder, of_case, bar, n))
                except _FAILURES as error:
                    found = [not_measured(name, f"{type(error).__name__}: {error}")]
            results += _with_disturbance(found, busy)
    return results


def _with_disturbance(results: Sequence[Result], busy: float) -> list[Result]:
    if busy <= _QUIET_PERCENT:
        return list(results)
    text = f"{busy:.0f} % of the CPUs were in use before it began"
    return [replace(each, note=f"{each.note}; {text}".lstrip("; ")) for each in results]


def _pictures(results: Sequence[Result], folder: Path) -> list[Path]:
    from benchmarks.pictures import draw  # takes a second

    return draw(results, folder)


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise ValueError(text)
    return number


def _exit_on_signal(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _exit_on_signal)
    sys.exit(main(sys.argv[1:]))
