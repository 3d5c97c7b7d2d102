"""The cache: its folder, the file, and whether the next start can use what it holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from kms.check.finding import Finding, counted, error, listed, ok, skipped, warning
from kms.check.mounts import mount_of
from kms.checkpoints import doubt_of
from kms.errors import CacheError, FormatError, KafkaError, RegistryAwayError
from kms.formats import AwaitedSchemas, Format, formats_of
from kms.kafka import Examiner, Offsets, TopicInfo, TopicPartition
from kms.settings import Settings
from kms.store import Checkpoint, Filter, Reader, damage, holder, problem_of
from kms.times import duration_text, now_ms

_LOOK_SECONDS = 1.5  # a quick check reads the whole file
_LITTLE_BYTES = 500_000_000
_TOO_LITTLE_BYTES = 20_000_000
_TARGETS_OF = 5_000  # schedules

# SQLite's WAL needs memory that is shared, and locks that hold, between processes.
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "glusterfs", "lustre", "afs"}
_VOLATILE = {
    "tmpfs": "gone after a restart of the machine",
    "overlay": "gone with the container: mount a volume",
}


class Cache(NamedTuple):
    """What the file holds; empty if there is none, or one that can't be used."""

    findings: list[Finding]
    holder: int | None
    checkpoints: list[Checkpoint]
    targets: frozenset[str]
    looked_at: int


def check_cache(settings: Settings, schemas: AwaitedSchemas | None = None) -> Cache:
    """The folder and the file by themselves, beside whoever uses them."""
    path = settings.kms_cache
    held = holder(path)
    findings = [*_folder(path), _lock(path, held)]
    try:
        problem = problem_of(path)
    except CacheError as failure:
        findings.append(error("cache", f"cache {path}", str(failure).rstrip("."), _OWNER))
        return Cache(findings, held, [], frozenset(), 0)
    if problem is not None:
        findings.append(_set_aside(path, problem))
    elif not path.exists() or not path.stat().st_size:
        findings.append(
            ok("cache", f"cache {path}", "not there yet: the first start reads the whole topics")
        )
    else:
        try:
            forms = formats_of(settings.formats, schemas)
            return _content(path, forms, findings, held)
        except CacheError as failure:
            findings.append(_set_aside(path, str(failure).rstrip(".")))
    return Cache(findings, held, [], frozenset(), 0)


_OWNER = "It must be readable and writable for the user that kms runs as."


def check_age(
    settings: Settings, cache: Cache, cluster_id: str, examiner: Examiner, offsets: Offsets
) -> Iterator[Finding]:
    """Whether each partition's checkpoint still holds, by the rule that the start goes by."""
    wanted = [it for it in cache.checkpoints if it.topic in settings.topics]
    names = {it.topic for it in wanted}
    try:
        views = examiner.topics(names)
        there = [TopicPartition(it.topic, it.partition) for it in wanted if views[it.topic].id]
        configs = examiner.topic_configs(names)
        lows, highs = offsets.starts(there), offsets.high_watermarks(there)
    except KafkaError as problem:
        yield skipped("cache-age", "cache", f"it could not be compared with Kafka: {problem}")
        return
    for known in wanted:
        where = TopicPartition(known.topic, known.partition)
        view = views[known.topic]
        if where not in highs or view.id is None:
            continue  # the topic's own line says it
        info = TopicInfo(view.name, view.id, len(view.replicas))
        retention_ms = int((configs[known.topic] or {}).get("delete.retention.ms", 0))
        doubt = doubt_of(known, cluster_id, info, lows[where], highs[where], retention_ms)
        yield _of_age(known, where, doubt and doubt[1], highs[where], retention_ms)


def _of_age(
    known: Checkpoint, where: TopicPartition, doubt: str | None, high: int, retention_ms: int
) -> Finding:
    subject = f"cache of {where}"
    if doubt is not None:
        return warning(
            *("cache-age", subject, doubt),
            "The next start reads this partition from the beginning before it fires; nothing is "
            "lost. A restart within delete.retention.ms avoids it.",
        )
    age_ms = max(now_ms() - known.seen_ms, 0)
    return ok(
        *("cache-age", subject),
        f"at offset {known.next_offset} of {high}, caught up {_short(age_ms)} ago, "
        f"good for another {_short(retention_ms - age_ms)}",
    )


def _short(duration_ms: int) -> str:
    return duration_text(duration_ms // 1000 * 1000)


def _folder(path: Path) -> Iterator[Finding]:
    folder = path.absolute().parent
    subject = f"cache folder {folder}"
    while not folder.exists():
        folder = folder.parent  # kms makes what is missing
    if not os.access(folder, os.W_OK | os.X_OK):
        yield error("cache-folder", subject, f"we may not write to {folder}", _OWNER)
        return
    mount = mount_of(folder)
    free = shutil.disk_usage(folder).free
    found = f"writable, {free // 1_000_000} MB free, {mount.kind} at {mount.point}"
    size = path.stat().st_size if path.exists() else 0
    if mount.kind in _NETWORK or mount.kind.startswith("fuse."):
        yield warning(
            *("cache-folder", subject, found),
            "SQLite does not work reliably on network file systems: use a disk of this machine.",
        )
    elif mount.kind in _VOLATILE:
        yield warning(
            *("cache-folder", subject, found),
            f"What is there is {_VOLATILE[mount.kind]}. The start after that reads the topics from "
            "the beginning.",
        )
    if free < _TOO_LITTLE_BYTES:
        yield error("cache-space", subject, found, "kms would end with exit code 4: make room.")
    elif free < max(_LITTLE_BYTES, size):
        yield warning(
            *("cache-space", subject, found),
            "The cache may grow to what is pending, and as much again while it is loaded.",
        )
    else:
        yield ok("cache-folder", subject, found)


def _lock(path: Path, held: int | None) -> Finding:
    subject = f"cache {path}"
    if held is not None:
        return ok(
            *("cache-lock", subject),
            f"process {held} uses it: kms runs here already, and a second one would end with "
            "exit code 3",
        )
    return ok("cache-lock", subject, "no process that can be seen from here uses it")


def _set_aside(path: Path, problem: str) -> Finding:
    return warning(
        *("cache", f"cache {path}", problem),
        "The next start moves it out of the way and reads the topics from the beginning before "
        "it fires; nothing is lost.",
    )


def _content(
    path: Path, forms: Mapping[str, Format], findings: list[Finding], held: int | None
) -> Cache:
    broken, to_end = damage(path, _LOOK_SECONDS)
    size = f"{path.stat().st_size / 1_000_000:.1f} MB"
    if broken is not None:
        findings.append(_set_aside(path, f"it is damaged: {broken}"))
        return Cache(findings, held, [], frozenset(), 0)
    with closing(Reader(path, forms)) as reader, reader.snapshot():
        known = [checkpoint for checkpoint, _ in reader.checkpoints()]
        pending, failed = reader.counts(), reader.count(Filter(failed=True))
        targets, looked_at = _targets(reader)
    whole = "whole" if to_end else f"as far as {_LOOK_SECONDS} s of reading go, whole"
    partitions = [f"{topic}/{partition} {it}" for (topic, partition), it in pending.items()]
    found = f"{size}, {whole}; {sum(pending.values())} pending, by partition: {listed(partitions)}"
    findings.append(ok("cache", f"cache {path}", found if partitions else f"{size}, empty"))
    if failed:
        findings.append(
            warning(
                *(
                    "cache-failed",
                    f"cache {path}",
                    f"{counted(failed, 'schedule')} could not be fired",
                ),
                "python kms.py inspect --failed says which and why.",
            )
        )
    return Cache(findings, held, known, targets, looked_at)


def _targets(reader: Reader) -> tuple[frozenset[str], int]:
    found, count = set(), 0
    for pending in islice(reader.pending(Filter()), _TARGETS_OF):
        count += 1
        try:
            found.add(pending.form.decode(pending).topic)
        except (FormatError, RegistryAwayError):
            continue  # inspect --failed, or the registry's own line, has it
    return frozenset(found), count
