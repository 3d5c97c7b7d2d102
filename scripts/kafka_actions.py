"""A broker to start, stop and work with: what scripts/kafka and scripts/demo do."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from docker_kafka import remove_container, start_container
from local_kafka import (
    START_TIMEOUT_SECONDS,
    KafkaStartError,
    LocalKafka,
    broker,
    free_ports,
    wait_until_up,
)
from tied_process import tied_to_us

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".kafka"

_STATE = FOLDER / "state.json"
_ANSWER_TIMEOUT_SECONDS = 5.0
_STOP_TIMEOUT_SECONDS = 30.0
_CHILD_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class State:
    """What ``start`` leaves behind for ``stop``; a process without container is found by itself."""

    bootstrap: str
    container_id: str | None = None


def act(command: str, words: list[str]) -> int:
    """Do what the command line says; the exit code is 1 for an error, said on stderr."""
    try:
        if command == "run":
            return run(words[1:] if words[:1] == ["--"] else words)
        return {"start": start, "stop": stop, "status": status}[command]()
    except (RuntimeError, OSError) as error:  # the broker's, the download's
        print(f"scripts/kafka: {error}", file=sys.stderr)
        return 1


def start() -> int:
    """Print ``KAFKA_BROKERS=address`` of a broker that is up, started here if there was none.

    Interrupted, it leaves neither a process nor a file.
    """
    with _locked():
        bootstrap = _found()
        if bootstrap is None:
            _clear()
            try:
                bootstrap = _start_new()
            except BaseException:
                _clear()
                raise
    print(f"KAFKA_BROKERS={bootstrap}")
    return 0


def stop() -> int:
    """Stop what ``start`` started. A broker named by ``KAFKA_BROKERS`` isn't ours to stop."""
    with _locked():
        was_there = FOLDER.exists()
        _clear()
    print("stopped" if was_there else "there is none of ours", file=sys.stderr)
    return 0


def status() -> int:
    """Say on stdout what is there."""
    try:
        bootstrap = _found()
    except KafkaStartError as error:
        print(error)
        return 1
    if bootstrap is None:
        print("no broker is up")
        return 1
    state = _load()
    ours = state is not None and state.bootstrap == bootstrap
    print(f"up at {bootstrap}, " + (f"files in {FOLDER}" if ours else "named by KAFKA_BROKERS"))
    return 0


def run(words: list[str]) -> int:
    """Run a command with ``KAFKA_BROKERS`` set and return its exit code.

    A broker that is up already is used and left as it is; else one is there for as long as the
    command runs, and is gone with us whatever ends us.
    """
    bootstrap = _found()
    if bootstrap is not None:
        return _run_child(words, bootstrap)
    with tempfile.TemporaryDirectory(prefix="kms-kafka-") as name:
        print("Starting a Kafka broker ...", file=sys.stderr)
        with broker(Path(name)) as bootstrap:
            return _run_child(words, bootstrap)


def _found() -> str | None:
    """The broker named by KAFKA_BROKERS, which has to answer, or ours if it is there and does."""
    external = os.environ.get("KAFKA_BROKERS")
    if external:
        try:
            wait_until_up(external, _ANSWER_TIMEOUT_SECONDS)
        except KafkaStartError as error:
            raise KafkaStartError(
                f"KAFKA_BROKERS is set, but {error}; unset it to have a broker started here"
            ) from None
        return external
    state = _load()
    if state is None or (state.container_id is None and not _our_processes()):
        return None
    try:
        wait_until_up(state.bootstrap, _ANSWER_TIMEOUT_SECONDS)
    except KafkaStartError:
        return None
    return state.bootstrap


def _start_new() -> str:
    print("Starting a Kafka broker ...", file=sys.stderr)
    FOLDER.mkdir()
    container = start_container(free_ports(1)[0], outlives_us=True)
    if container is not None:
        _save(State(container.bootstrap, container_id=container.container_id))
        wait_until_up(container.bootstrap, START_TIMEOUT_SECONDS)
        return container.bootstrap
    kafka = LocalKafka(FOLDER, outlives_us=True)
    kafka.start()
    _save(State(kafka.bootstrap))
    return kafka.bootstrap


def _clear() -> None:
    """End what start started, also if that was killed halfway, and remove the folder."""
    state = _load()
    if state is not None and state.container_id is not None:
        remove_container(state.container_id)
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while pids := _our_processes():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(0.2)
    shutil.rmtree(FOLDER, ignore_errors=True)


def _our_processes() -> list[int]:
    """The brokers that run in FOLDER, known by their command lines.

    An id kept in a file could be another process's by now, and is missing after a kill -9.
    """
    if sys.platform == "linux":  # where ps is not always installed
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it ended meanwhile, or it isn't ours to look at
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                lines.append(f"{path.parent.name} {command}")
    else:
        words = ["ps", "-axww", "-o", "pid=,command="]
        lines = subprocess.run(
            words, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    ours = f" kafka.Kafka {FOLDER / 'server.properties'}"
    return [int(line.split()[0]) for line in lines if line.rstrip().endswith(ours)]


def _run_child(words: list[str], bootstrap: str) -> int:
    child = subprocess.Popen(tied_to_us(words), env={**os.environ, "KAFKA_BROKERS": bootstrap})
    try:
        code = child.wait()
    except BaseException as error:
        # Ctrl-C has reached it as well, and a second signal would cut its clean-up short.
        if not isinstance(error, KeyboardInterrupt):
            child.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_CHILD_TIMEOUT_SECONDS)
        finally:
            child.kill()
            child.wait()
        raise
    return code if code >= 0 else 128 - code


def _load() -> State | None:
    try:
        return State(**json.loads(_STATE.read_text()))
    except FileNotFoundError:
        return None


def _save(state: State) -> None:
    new = _STATE.with_suffix(".new")
    new.write_text(json.dumps(asdict(state)))
    new.rename(_STATE)


@contextmanager
def _locked() -> Iterator[None]:
    """Only one start or stop at a time. The lock is on this folder itself: no file to clean up."""
    folder = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
