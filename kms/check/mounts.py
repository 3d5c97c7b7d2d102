"""Which file system a folder is on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_OCTAL = re.compile(r"\\([0-7]{3})")  # how the kernel writes blanks


class Mount(NamedTuple):
    """A mount point, and its file system's kind in the kernel's words."""

    point: Path
    kind: str


def mount_of(folder: Path, table: str | None = None) -> Mount:
    """The innermost mount that holds this folder; of kind "unknown" where that can't be told.

    ``table`` is what ``/proc/self/mountinfo`` says.
    """
    if table is None:
        try:
            table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            table = ""
    found = Mount(Path("/"), "unknown")
    real = folder.resolve()
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(_OCTAL.sub(lambda it: chr(int(it[1], 8)), before.split()[4]))
        # A later mount at the same place hides the earlier one.
        if real.is_relative_to(point) and len(point.parts) >= len(found.point.parts):
            found = Mount(point, after.split()[0])
    return found
