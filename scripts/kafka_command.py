"""The command line of scripts/kafka and scripts/demo."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType


def main(arguments: list[str]) -> int:
    """Run one command; its exit code is 128 and the signal's number where a signal ended it."""
    parser = argparse.ArgumentParser(prog="scripts/kafka", description="A Kafka broker to try.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("start", help="start one, or find the one that is up; print its address")
    commands.add_parser("stop", help="stop the one that start started")
    commands.add_parser("status", help="exit code 0 if one is up, else 1")
    run_parser = commands.add_parser("run", help="run a command that needs a broker")
    run_parser.add_argument("words", nargs=argparse.REMAINDER, metavar="-- command")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish
            signal.signal(number, _exit_on_signal)
    try:
        import kafka_actions  # takes a second, in which Ctrl-C shall be as quiet as later

        return kafka_actions.act(options.command, getattr(options, "words", []))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _exit_on_signal(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
