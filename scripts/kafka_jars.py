"""Apache Kafka's jars: downloaded once, checked, and kept in the user's cache folder.

Which they are says kafka_jars.txt: ``python scripts/kafka_jars.py >scripts/kafka_jars.txt`` makes
it, after a change of VERSION.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import jgo
from jgo.maven import Artifact, MavenContext

VERSION = "4.1.0"

# Kafka 4.1 logs through slf4j 1.7 and its artifact brings no binding. slf4j-simple writes to stderr
# with no configuration, so that one file catches the log and whatever the JVM itself has to say.
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"
_LIST = Path(__file__).with_suffix(".txt")
_ATTEMPTS = 5
_PAUSE_SECONDS = 2.0


def kafka_jars() -> Path:
    """A folder that holds all of Kafka's jars, for a class path of ``folder/*``.

    It is there completely or not at all, whatever interrupts the download; two processes may ask at
    once. A failed download is tried a few times, then its error is raised.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kms"
    jars = cache / f"kafka-{VERSION}"
    if jars.is_dir():
        return jars
    print(f"Downloading Apache Kafka {VERSION} (45 MB, only this once) ...", file=sys.stderr)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as name:
        complete = Path(name) / "jars"
        complete.mkdir()
        for line in _LIST.read_text().splitlines():
            sha256, coordinate = line.split()
            artifact = MavenContext(repo_cache=Path(name)).create_dependency(coordinate).artifact
            jar = download(artifact, sha256, Path(name))
            jar.rename(complete / jar.name)
        try:
            complete.rename(jars)
        except OSError:
            if not jars.is_dir():  # somebody else's download that was quicker is as good
                raise
    return jars


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


def _checked(jar: Path, sha256: str) -> Path:
    if _sha256(jar) != sha256:
        raise RuntimeError(f"{jar.name} did not arrive as it should be")
    return jar


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Print what belongs into kafka_jars.txt."""
    for artifact in jgo.resolve(_ENDPOINT):
        coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        print(_sha256(artifact.resolve()), coordinate)


if __name__ == "__main__":
    main()
