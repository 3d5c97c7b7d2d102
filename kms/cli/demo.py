"""``demo``: the whole job before one's eyes, and checked."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack, closing
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from kms import times
from kms.cli import values
from kms.cli.demo_plan import expected, plan, problems, tombstones
from kms.cli.demo_service import ServiceProcess, service_environment
from kms.cli.options import with_settings
from kms.errors import ExitCode, KmsError
from kms.formats import AVRO
from kms.kafka import Admin, Sender, Tail, TailRecord, TopicPartition, read_all
from kms.schedule import Schedule
from kms.settings import Settings
from kms.stop_signals import OF_A_TERMINAL, stopping_on
from kms.topics import recommended_config

_START_SECONDS = 60.0
_FIRE_SECONDS = 20.0  # after the last due time
_POLL_SECONDS = 0.1
_METRICS = (
    "kms_records_received_total",
    "kms_schedules_fired_total",
    "kms_schedules_cancelled_total",
    "kms_caught_up",
    "kms_lateness_seconds_count",
    "kms_lateness_seconds_sum",
)

# Where each schedule's newest record is, and when it was sent (epoch ms).
_Sent = dict[bytes, tuple[TopicPartition, int]]


@with_settings([*values.CONNECTION, "kms_delivery"])
def demo(settings: Settings) -> None:
    """Watch schedules fire on topics of the demo's own, which it deletes in the end.

    Takes some 15 seconds. The exit code is 1 if anything did not come out as it should.

    Example: `python kms.py demo --kafka-brokers localhost:9092`
    """
    raise typer.Exit(Demo(settings).run())


class Demo:
    """One run: topics, a service, schedules; what comes of them is shown, then checked.

    A signal only sets ``_stopping``, which every wait looks at, so the service is ended and the
    topics are deleted whenever it comes; a second one kills the service and leaves at once.
    """

    def __init__(self, settings: Settings) -> None:
        name = f"kms-demo-{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._group = name
        self._source, self._target = f"{name}-schedules", f"{name}-messages"
        self._console = Console(highlight=False, soft_wrap=True)
        self._stopping = threading.Event()
        self._service: ServiceProcess | None = None
        self._began = time.monotonic()

    def run(self) -> int:
        """Show it all; answers the exit code."""
        with stopping_on(OF_A_TERMINAL, self._stopping, self._leave) as asked:
            try:
                found = self._run()
            except _StoppedError:
                self._say("stopped", "before the end")
                return 128 + asked.number
            except KmsError as error:
                found = [str(error)]
        for problem in found:
            self._say("wrong", problem, "bold red")
        if not found:
            self._say(
                "right",
                "each message exactly once, byte for byte and not early; each tombstone on its "
                "record's partition; the service ended with exit code 0",
                "bold green",
            )
        return ExitCode.FAILED if found else ExitCode.OK

    def _run(self) -> list[str]:
        with ExitStack() as exits:
            self._create_topics(exits)
            # It waits until the topics can be seen.
            tail = exits.enter_context(closing(Tail(self._settings, [self._source, self._target])))
            folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="kms-demo-"))
            cache = Path(folder) / "cache.sqlite"
            environment = service_environment(self._settings, self._source, self._group, cache)
            self._service = service = ServiceProcess(environment, self._say_log)
            exits.callback(service.stop)
            self._wait_until_ready(service)
            wanted, sent = self._send()
            self._watch(service, tail, wanted, sent)
            self._show_metrics(service)
            found = self._end(service)
            self._pause(0.0)
            messages = read_all(self._settings, [self._target])
            self._pause(0.0)
            records = read_all(self._settings, [self._source])
            self._pause(0.0)
            written = {name: where for name, (where, _) in sent.items()}
            return found + problems(wanted, written, messages, records)

    def _create_topics(self, exits: ExitStack) -> None:
        admin = Admin(self._settings)
        for topic, partitions, config in (
            (self._source, 3, recommended_config()),
            (self._target, 1, {}),
        ):
            admin.create_topic(topic, partitions, -1, config)
            exits.callback(self._delete_topic, admin, topic)
        self._say("kafka", f"{self._settings.kafka_brokers}: schedule topic {self._source}")
        self._say("", f"and target topic {self._target}, until the end of the demo")

    def _delete_topic(self, admin: Admin, topic: str) -> None:
        try:
            admin.delete_topic(topic)
        except KmsError as error:
            self._say("left", f"{topic}: {error}", "yellow")

    def _wait_until_ready(self, service: ServiceProcess) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while "kms_caught_up 1.0" not in service.scrape():
            self._pause(_POLL_SECONDS)
            if service.exit_code() is not None:
                raise KmsError(f"The service ended with exit code {service.exit_code()}.")
            if time.monotonic() > deadline:
                raise KmsError(f"The service was not ready within {_START_SECONDS:.0f} s.")
        self._say("kms", f"runs as process {service.pid}; its metrics: {service.metrics_url}")

    def _send(self) -> tuple[dict[bytes, Schedule], _Sent]:
        steps = plan(self._target, times.now_ms())
        sent: _Sent = {}
        with closing(Sender(self._settings)) as sender:
            for name, schedule, note in steps:
                value = None if schedule is None else AVRO.encode_value(schedule)
                where = sender.send(self._source, name, value)
                sent[name] = where, times.now_ms()
                self._say("sent", f"{name.decode():<10} {note}")
        return expected(steps), sent

    def _watch(
        self, service: ServiceProcess, tail: Tail, wanted: dict[bytes, Schedule], sent: _Sent
    ) -> None:
        """Show what comes until all is there, the service ends or the time is over."""
        names = {schedule.key: name for name, schedule in wanted.items()}
        missing = {(topic, name) for topic in (self._source, self._target) for name in wanted}
        last_due_ms = max(schedule.due_ms for schedule in wanted.values())
        deadline_ms = last_due_ms + _FIRE_SECONDS * 1000
        while missing and service.exit_code() is None and times.now_ms() < deadline_ms:
            self._pause(0.0)
            for record in sorted(tail.poll(_POLL_SECONDS), key=lambda each: each.where):
                if record.where.topic == self._source:
                    if tombstones([record]):
                        missing.discard((self._source, record.key or b""))
                        self._show_tombstone(record)
                elif (name := names.get(record.key or b"")) is not None:
                    missing.discard((self._target, name))
                    self._show_message(name, record, wanted[name].due_ms, sent[name][1])

    def _show_message(self, name: bytes, record: TailRecord, due_ms: int, sent_ms: int) -> None:
        late_ms = times.now_ms() - max(due_ms, sent_ms)
        lateness = f"{late_ms} ms {'late' if due_ms > sent_ms else 'after it was sent'}"
        value = "null" if record.value is None else values.shown(record.value)
        value = value if len(value) <= 40 else f"{value[:40]}..."
        self._say("fired", f"{name.decode():<10} {lateness}: {value}", "green")

    def _show_tombstone(self, record: TailRecord) -> None:
        headers = " ".join(f"{name}={values.shown(value or b'')}" for name, value in record.headers)
        name = values.shown(record.key or b"")
        partition, offset = record.where.partition, record.offset
        self._say("tombstone", f"{name:<10} partition {partition} offset {offset}: {headers}")

    def _show_metrics(self, service: ServiceProcess) -> None:
        for line in service.scrape():
            if line.startswith(_METRICS):
                self._say("metrics", line)

    def _end(self, service: ServiceProcess) -> list[str]:
        by_itself = service.exit_code()
        if by_itself is not None:
            return [f"The service ended by itself with exit code {by_itself}."]
        self._say("kms", "gets SIGTERM")
        code = service.stop()
        return [f"The service ended with exit code {code}, not 0."] if code else []

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise _StoppedError

    def _leave(self, number: int) -> None:
        if self._service is not None:
            self._service.kill()
        os._exit(128 + number)

    def _say_log(self, line: str) -> None:
        self._say("log", line, "dim")

    def _say(self, what: str, text: str, style: str = "") -> None:
        seconds = time.monotonic() - self._began
        self._console.print(Text(f"{seconds:5.1f} s  {what:<10} {text}", style))


class _StoppedError(Exception):
    """Somebody pressed Ctrl-C."""
