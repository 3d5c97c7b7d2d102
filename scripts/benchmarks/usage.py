"""What a process costs: resident memory and CPU time, from /proc."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType

_SAMPLE_SECONDS = 0.02
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """VmRSS as of now, in MB; 0 when the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads so far."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()  # the name before may hold blanks
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def busy_percent(seconds: float) -> float:
    """How much of all CPUs is in use now."""
    before = _jiffies()
    time.sleep(seconds)
    after = _jiffies()
    idle, total = (now - then for now, then in zip(after, before, strict=True))
    return 100 * (1 - idle / total) if total else 0.0


class Usage:
    """Watches a process while inside: ``peak_mb`` of samples, ``cpu`` seconds since the start."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_mb = rss_mb(pid)
        self._cpu_before = cpu_seconds(pid)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @property
    def cpu(self) -> float:
        """CPU seconds since it is watched."""
        return cpu_seconds(self.pid) - self._cpu_before

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stopping.wait(_SAMPLE_SECONDS):
            self.peak_mb = max(self.peak_mb, rss_mb(self.pid))


def epoch_ms() -> float:
    """The wall clock in ms, with its fractions."""
    return time.time_ns() / 1e6


def _jiffies() -> tuple[int, int]:
    fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)
