"""What a case found: plain values, and the arithmetic on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """One line of the table: what kms did, and what the bare loop beside it did.

    ``figure`` None says that it could not be measured, and ``note`` why. ``limit`` is in the same
    unit; ``details`` and ``points`` (x, y) are for the JSON file and the pictures.
    """

    case: str
    what: str
    unit: str
    figure: float | None
    goal: str = ""
    limit: float | None = None
    limit_of: str = ""
    peak_mb: float | None = None
    cpu_us: float | None = None
    limit_cpu_us: float | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The figure divided by the limit, None where either is missing."""
        if self.figure is None or not self.limit:
            return None
        return self.figure / self.limit

    def as_json(self) -> dict[str, Any]:
        """All of it, with the ratio, for ``json.dump``."""
        return {**asdict(self), "ratio": self.ratio}


def not_measured(case: str, reason: str) -> Result:
    """The line of a case that found nothing."""
    return Result(case, "not measured", "", None, note=reason)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that ``percent`` of them do not exceed (nearest rank).

    Raises ValueError where there are none.
    """
    if not values:
        raise ValueError("no values")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def scaled(count: int, full_count: int, wanted: int | None) -> int:
    """``count`` of a case whose full size is ``full_count``, when ``wanted`` is asked for."""
    return count if wanted is None else max(count * wanted // full_count, 1)
