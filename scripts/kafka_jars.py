"""Apache Kafka's jars: downloaded once, checked, and kept in the user's cache folder.

Which they are says kafka_jars.txt: ``python scripts/kafka_jars.py >scripts/kafka_jars.txt`` makes
it, after a change of VERSION.
"""

from __future__ import annotations

from pathlib import Path

import jgo
from jgo.maven import MavenContext
from kept_downloads import download, kept, sha256_of

VERSION = "4.1.0"

# Kafka 4.1 logs through slf4j 1.7 and its artifact brings no binding. slf4j-simple writes to stderr
# with no configuration, so that one file catches the log and whatever the JVM itself has to say.
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36"
_LIST = Path(__file__).with_suffix(".txt")


def kafka_jars() -> Path:
    """A folder that holds all of Kafka's jars, for a class path of ``folder/*``.

    A failed download is tried a few times, then its error is raised.
    """
    return kept(f"kafka-{VERSION}", f"Apache Kafka {VERSION}", 45, _fetch)


def _fetch(folder: Path, complete: Path) -> None:
    complete.mkdir()
    for line in _LIST.read_text().splitlines():
        sha256, coordinate = line.split()
        artifact = MavenContext(repo_cache=folder).create_dependency(coordinate).artifact
        jar = download(artifact, sha256, folder)
        jar.rename(complete / jar.name)


def main() -> None:
    """Print what belongs into kafka_jars.txt."""
    for artifact in jgo.resolve(_ENDPOINT):
        coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        print(sha256_of(artifact.resolve()), coordinate)


if __name__ == "__main__":
    main()
