"""``kms.py run`` that halts itself at a chosen point of a transaction; for the fault tests.

The environment says where: HALT_AT is ``begin`` (nothing produced yet), ``producing`` (some of the
batch is produced), ``produced`` (the batch is produced, its offsets not sent) or ``offsets``
(offsets sent, not committed). HALT_HOW is ``stop`` (SIGSTOP to itself, once) or ``hold`` (wait
while the file HALT_FILE exists). LIVE_MS is after which silence of a thread it is no longer live,
instead of a minute.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from kms import delivery
from kms.cli import main
from kms.kafka import TopicPartition, TransactionalWriter
from kms.web import view

_POINT = os.environ["HALT_AT"]
_halted = False
_SOME = 20  # messages


class _Halting(TransactionalWriter):
    _produced = 0

    def produce(self, *arguments: Any, **named: Any) -> None:
        super().produce(*arguments, **named)
        self._produced += 1
        if self._produced == _SOME and _POINT == "producing":
            self._client.flush(5)
            _halt("producing")

    def begin(self) -> None:
        super().begin()
        _halt("begin")

    def commit(self, offsets: Mapping[TopicPartition, int], group_metadata: Any) -> None:
        if _POINT == "produced":
            self._client.flush(5)
        _halt("produced")
        super().commit(offsets, group_metadata)

    def _send_offsets(self, offsets: Mapping[TopicPartition, int], group_metadata: Any) -> None:
        super()._send_offsets(offsets, group_metadata)
        _halt("offsets")


def _halt(point: str) -> None:
    global _halted
    if point != _POINT:
        return
    print("kms halts", flush=True)
    if os.environ["HALT_HOW"] == "hold":
        while Path(os.environ["HALT_FILE"]).exists():
            time.sleep(0.01)
    elif not _halted:
        _halted = True
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.5)  # the signal may take a moment, in which this thread must not go on


if __name__ == "__main__":
    vars(delivery)["TransactionalWriter"] = _Halting
    if "LIVE_MS" in os.environ:
        vars(view)["rebalance_timeout_ms"] = lambda _: int(os.environ["LIVE_MS"])
    main()
