"""The cache file: locked, private, set aside when it can't be used, whole whatever happens."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from kms.errors import CacheDamagedError, CacheError, CacheInUseError, ExitCode
from kms.schedule import Record, Row, fired_headers, fold
from kms.store import CacheFile, Filter, Reader, Writer

ROOT = Path(__file__).parent.parent
SCRIPT = "import sys; from tests import test_store_file as it; it.{}(*sys.argv[1:])"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite"


LOG_BYTES = 4 << 20


def fill(path: Path, count: int = 1, size: int = 1) -> None:
    """Make a cache with this many rows."""
    with closing(CacheFile(path)) as file, closing(Writer(file)) as writer:
        rows = writer.rows(writer.restart("schedules", 0, "topic", "cluster", 0).number)
        for offset in range(count):
            rows[b"%d" % offset] = Row(offset, offset, b"v" * size)
        writer.commit([rows], {rows.number: count}, {})


def pending(path: Path) -> int:
    with closing(Reader(path)) as reader:
        return len(list(reader.pending(Filter())))


def contents(folder: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in folder.iterdir()}


def python(function: str, *arguments: object) -> subprocess.Popen[str]:
    """Run one of this module's functions in a process of its own."""
    command = [sys.executable, "-c", SCRIPT.format(function), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("before", [None, 0o644])
def test_nobody_else_may_read_the_payloads(path: Path, before: int | None) -> None:
    if before:
        path.touch()
        path.chmod(before)
    umask = os.umask(0)
    try:
        with closing(CacheFile(path)) as file, closing(Writer(file)) as writer:
            writer.restart("schedules", 0, "topic", "cluster", 0)
            modes = {it.name: stat.S_IMODE(it.stat().st_mode) for it in path.parent.iterdir()}
    finally:
        os.umask(umask)
    assert modes == {path.name + suffix: 0o600 for suffix in ("", "-wal", "-shm", ".lock")}


@pytest.mark.parametrize("content", [b"", b"somebody's notes", None])
def test_a_cache_in_use_is_refused_and_left_alone(path: Path, content: bytes | None) -> None:
    with closing(CacheFile(path)) as file, closing(Writer(file)) as writer:
        writer.restart("schedules", 0, "topic", "cluster", 0)
        if content is not None:  # also if it would be set aside
            path.write_bytes(content)
        before = contents(path.parent)
        with pytest.raises(CacheInUseError, match=r"KMS_CACHE") as refused:
            CacheFile(path)
        assert refused.value.exit_code == ExitCode.CACHE_IN_USE
        assert contents(path.parent) == before
        if content is not None:
            path.unlink()
    CacheFile(path).close()


def test_the_lock_ends_with_the_process_that_holds_it(path: Path) -> None:
    with python("hold", path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CacheInUseError):
            CacheFile(path)
        holder.kill()
        holder.communicate()
        CacheFile(path).close()


def hold(path: str) -> None:
    with closing(CacheFile(Path(path))):
        print("held", flush=True)
        sys.stdin.read()


# ---- what can't be used ----


def damaged(kind: str, path: Path) -> None:
    fill(path, 500, 100)
    whole = path.read_bytes()
    match kind:
        case "text":
            path.write_bytes(b"somebody's notes\n")
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "overwritten":
            path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
        case statement:
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(statement)


DAMAGES = {
    "text": "damaged",
    "cut": "damaged",
    "overwritten": "damaged",
    "PRAGMA user_version = 7": "version 7",
    "PRAGMA application_id = 7": "not a cache of kms",
    "PRAGMA application_id = 0; DROP TABLE schedules": "not a cache of kms",
    "DROP TABLE schedules": "damaged",
}


@pytest.mark.parametrize(("kind", "reason"), DAMAGES.items(), ids=list(DAMAGES))
def test_what_cant_be_used_is_set_aside_with_one_warning(
    path: Path, caplog: pytest.LogCaptureFixture, kind: str, reason: str
) -> None:
    damaged(kind, path)
    before = path.read_bytes()
    with pytest.raises(CacheError, match=reason):
        Reader(path)
    assert path.read_bytes() == before
    fill(path, 3)
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    (aside,) = (
        it for it in path.parent.glob("*.unusable-*") if not it.name.endswith(("wal", "shm"))
    )
    assert str(path) in warning.message
    assert str(aside) in warning.message
    assert reason in warning.message
    assert aside.read_bytes() == before
    assert pending(path) == 3
    CacheFile(path).close()
    assert len(caplog.records) == 1


def test_a_log_that_was_left_behind_is_set_aside_with_its_file(path: Path) -> None:
    fill(path, 5)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
        wal = path.with_name(path.name + "-wal")
        content = wal.read_bytes()  # what a killed process leaves
    path.with_name(path.name + "-wal").write_bytes(content)
    fill(path, 2)
    assert pending(path) == 2
    assert len(list(path.parent.glob("*.unusable-*-wal"))) == 1


def test_damage_in_the_middle_is_healed_by_starting_again(path: Path) -> None:
    fill(path, 3_000, 100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8192] = b"\xa5" * 8192
    path.write_bytes(content)
    with pytest.raises(CacheDamagedError) as damage:
        read_like_a_service(path)
    with closing(CacheFile(path)) as file:
        file.replace(str(damage.value))
    read_like_a_service(path)


def read_like_a_service(path: Path) -> None:
    with closing(CacheFile(path)) as file, closing(Writer(file)) as writer:
        if writer.checkpoint("schedules", 0) is not None:
            pending(path)


def test_without_a_cache_there_is_nothing_to_read(path: Path) -> None:
    with pytest.raises(CacheError, match=r"KMS_CACHE"):
        Reader(path)
    assert list(path.parent.iterdir()) == []


# ---- where it can't be written ----


REFUSED = [(CacheFile, name) for name in ("new", "new/new", "empty", "empty/new", "unreadable")]


# To read a write-ahead log, too, needs a file beside it.
@pytest.mark.parametrize(("kind", "name"), [*REFUSED, (Reader, "cache")])
def test_where_nothing_can_be_written_the_user_is_told(
    kind: type[CacheFile | Reader], name: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder, "cache"))
        Path(folder, "unreadable").write_text("a cache")
        for file, mode in (("cache", 0o444), ("unreadable", 0), ("empty", 0o444)):
            Path(folder, file).touch()
            Path(folder, file).chmod(mode)
        path = Path(folder, name)
        Path(folder).chmod(0o777 if name in ("empty", "unreadable") else 0o555)
        with python("open_as_another_user", kind.__name__, path) as process:
            output, errors = process.communicate(timeout=30)
        assert not list(Path(folder).glob("*.unusable*"))  # it is not the file's fault
        Path(folder).chmod(0o700)
    assert (process.returncode, errors) == (ExitCode.CACHE, "")
    assert str(path) in output
    assert "damaged" not in output


def open_as_another_user(kind: str, path: str) -> None:
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    try:
        (CacheFile if kind == "CacheFile" else Reader)(Path(path)).close()
    except CacheError as error:
        print(error)
        sys.exit(error.exit_code)


def test_a_folder_is_no_cache(tmp_path: Path) -> None:
    for _ in range(2):  # the lock is not kept
        with pytest.raises(CacheError):
            CacheFile(tmp_path)


# ---- whatever ends it ----


def record(offset: int) -> Record:
    """A stream of updates, firings (some overtaken) and cancellations, the same each time."""
    schedule_id = b"%d" % (offset * 7919 % 49)
    if offset % 5 == 3:
        fired_offset = offset - offset % 2 * 60  # every other one is overtaken
        return Record(offset, schedule_id, None, fired_headers(fired_offset, "topic"))
    return Record(offset, schedule_id, None if offset % 7 == 6 else b"%d" % (offset % 100))


def fold_for_ever(name: str, size_limit: int = 0) -> None:
    """Fold the stream on from the checkpoint, a few records a commit, until something fails."""
    if int(size_limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size_limit), int(size_limit)))
    with closing(CacheFile(Path(name))) as file, closing(Writer(file)) as writer:
        known = writer.checkpoint("s", 0) or writer.restart("s", 0, "topic", "cluster", 0)
        rows, offset = writer.rows(known.number), known.next_offset
        while True:
            for _ in range(1 + offset % 13):
                fold(rows, record(offset), "topic", int)
                offset += 1
            try:
                writer.commit([rows], {known.number: offset}, {})
            except CacheError as error:
                print(type(error).__name__, flush=True)
                return
            print(offset, flush=True)


def assert_is_the_fold(path: Path, at_least: int) -> None:
    with closing(CacheFile(path)) as file, closing(Writer(file)) as writer:
        known = writer.checkpoint("s", 0)
        assert known is not None
        assert known.next_offset >= at_least
        rows: dict[bytes, Row] = {}
        for offset in range(known.next_offset):
            fold(rows, record(offset), "topic", int)
        stored = writer.rows(known.number)
        assert {i: stored.get(i) for i in rows} == rows
    assert pending(path) == len(rows)
    assert at_least < 150 or any(row.republish for row in rows.values())


def test_a_killed_process_leaves_the_fold_up_to_its_checkpoint(path: Path) -> None:
    for commits in (20, 1, 37, 150):  # each goes on where the one before was killed
        with python("fold_for_ever", path) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(commits)]
            process.kill()
            process.communicate()
        assert_is_the_fold(path, at_least=int(said[-1]))


def test_a_full_disk_ends_it_and_loses_nothing(path: Path) -> None:
    with python("fold_for_ever", path, 500_000) as process:
        output, errors = process.communicate(timeout=60)
    *offsets, last = output.split()
    assert (last, errors) == ("CacheError", "")
    assert_is_the_fold(path, at_least=int(offsets[-1]))


def test_the_log_is_folded_in_at_the_end_though_somebody_reads(path: Path) -> None:
    fill(path)
    with closing(Reader(path)):
        fill(path, 1_000)
        assert path.with_name(path.name + "-wal").stat().st_size == 0
    assert pending(path) == 1_000


def test_the_log_of_a_large_load_does_not_stay_large(path: Path) -> None:
    wal = path.with_name(path.name + "-wal")
    with closing(CacheFile(path)) as file, closing(Writer(file)) as writer:
        rows = writer.rows(writer.restart("schedules", 0, "topic", "cluster", 0).number)
        for offset in range(10_000):
            rows[b"%d" % offset] = Row(offset, offset, b"v" * 1_000)
        writer.commit([rows], {rows.number: 10_000}, {})
        assert wal.stat().st_size > LOG_BYTES
        for offset in range(2):
            rows[b"%d" % offset] = Row(offset + 20_000, offset, b"v")
            writer.commit([rows], {rows.number: offset + 20_000}, {})
        assert wal.stat().st_size <= LOG_BYTES
