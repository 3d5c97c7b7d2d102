"""What is downloaded from Maven Central once, checked, and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jgo.maven import Artifact

_ATTEMPTS = 5
_PAUSE_SECONDS = 2.0


def kept(name: str, what: str, megabytes: int, fetch: Callable[[Path, Path], None]) -> Path:
    """The folder ``name`` of the cache; ``fetch`` makes it where there is none.

    It is there completely or not at all, whatever interrupts the download; two processes may ask at
    once. ``fetch`` is given a folder to work in, and the path below it at which the complete one is
    to be in the end; its errors are raised.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kms"
    found = cache / name
    if found.is_dir():
        return found
    print(f"Downloading {what} ({megabytes} MB, only this once) ...", file=sys.stderr)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
        complete = Path(folder) / "complete"
        fetch(Path(folder), complete)
        try:
            complete.rename(found)
        except OSError:
            if not found.is_dir():  # somebody else's download that was quicker is as good
                raise
    return found


def download(artifact: Artifact, sha256: str, folder: Path) -> Path:
    """An artifact's file, below ``folder``, which is its context's; tried a few times."""
    # Not jgo.build() or resolve(): they let a dependency go whose description didn't arrive, take
    # what an interruption left behind for whole, and build() fetches a JDK where there is no Java.
    for attempt in range(1, _ATTEMPTS):
        try:
            return _checked(artifact.resolve(), sha256)
        except (OSError, RuntimeError) as error:  # what requests raises is an OSError
            print(f"Download failed, trying again: {error}", file=sys.stderr)
            for part in folder.rglob(artifact.filename):
                part.unlink()
            time.sleep(_PAUSE_SECONDS * attempt)
    return _checked(artifact.resolve(), sha256)


def sha256_of(path: Path) -> str:
    """In hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checked(file: Path, sha256: str) -> Path:
    if sha256_of(file) != sha256:
        raise RuntimeError(f"{file.name} did not arrive as it should be")
    return file
