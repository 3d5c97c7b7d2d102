"""Apache Kafka's jars: resolved and downloaded once, then kept in the user's cache folder."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from jgo.maven import MavenContext

VERSION = "4.1.0"

# Kafka 4.1 logs through slf4j 1.7 and its artifact brings no binding. slf4j-simple writes to stderr
# with no configuration, so that one file catches the log and whatever the JVM itself has to say.
_COORDINATES = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36")
_ATTEMPTS = 5
_PAUSE_SECONDS = 3.0


def kafka_jars() -> Path:
    """A folder that holds all of Kafka's jars, for a class path of ``folder/*``.

    It is there completely or not at all, whatever interrupts the download; two processes may ask at
    once. A failed download is tried a few times; then its error is raised.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kms"
    jars = cache / f"kafka-{VERSION}"
    if jars.is_dir():
        return jars
    print(f"Downloading Apache Kafka {VERSION} (45 MB, only this once) ...", file=sys.stderr)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as name:
        found = _download(Path(name) / "repository")
        complete = Path(name) / "jars"
        complete.mkdir()
        for jar in found:
            jar.rename(complete / jar.name)
        try:
            complete.rename(jars)
        except OSError:
            if not jars.is_dir():  # somebody else's download that was quicker is as good
                raise
    return jars


def _download(repository: Path) -> list[Path]:
    for attempt in range(1, _ATTEMPTS):
        try:
            return _resolve(repository)
        except (OSError, RuntimeError) as error:  # what requests raises is an OSError
            print(f"Download failed, trying again: {error}", file=sys.stderr)
            _forget_newest(repository)
            time.sleep(_PAUSE_SECONDS * attempt)
    return _resolve(repository)


def _resolve(repository: Path) -> list[Path]:
    # Not jgo.build(): it takes an environment whose making was interrupted for a complete one, and
    # fetches a whole JDK where no Java is installed, only to tell jars from modules.
    context = MavenContext(repo_cache=repository)
    wanted = [context.create_dependency(coordinate) for coordinate in _COORDINATES]
    inputs, others = context.resolver.resolve(wanted)
    needed = [*inputs, *(other for other in others if other.scope in ("compile", "runtime"))]
    found = list(dict.fromkeys(dependency.artifact.resolve() for dependency in needed))
    for jar in found:
        _check(jar)
    return found


def _check(jar: Path) -> None:
    # jgo only warns of a wrong checksum.
    try:
        with zipfile.ZipFile(jar) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile as error:
        damaged = str(error)
    if damaged is not None:
        jar.unlink()
        raise RuntimeError(f"{jar.name} is damaged: {damaged}")


def _forget_newest(repository: Path) -> None:
    # jgo downloads one file after the other, each straight to its place: only the newest can be cut
    # short, and would be taken for whole the next time.
    files = [path for path in repository.rglob("*") if path.is_file()]
    if files:
        max(files, key=lambda path: path.stat().st_mtime_ns).unlink()
