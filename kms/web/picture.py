"""Counts over time as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kms.times import iso_time

HEIGHT = 100
_LEAST = 2.0  # so that one of a million is seen
_GAP = 0.2  # of a bar


class Bar(NamedTuple):
    """A bar, in a picture as wide as there are bars and HEIGHT high; ``label`` says what it is."""

    x: float
    y: float
    width: float
    height: float
    label: str


def picture(counts: Sequence[int], start_ms: int, each_ms: int) -> list[Bar]:
    """A bar for each count that is not 0; the highest one is as high as the picture."""
    most = max(counts, default=0)
    bars = []
    for index, count in enumerate(counts):
        if count:
            height = round(max(HEIGHT * count / most, _LEAST), 2)
            start, end = (_clock(start_ms + each_ms * (index + more)) for more in (0, 1))
            label = f"{start} to {end}: {count:,}"
            bars.append(Bar(index + _GAP / 2, round(HEIGHT - height, 2), 1 - _GAP, height, label))
    return bars


def _clock(epoch_ms: int) -> str:
    return (iso_time(epoch_ms) or "")[11:19] + "Z"
