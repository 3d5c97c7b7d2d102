"""What ``check`` says of this machine; what needs a broker is in tests/broker/test_check.py."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kms.check.cache import check_cache
from kms.check.clock import check_kept, compared
from kms.check.finding import Finding, Level
from kms.check.machine import check_files
from kms.check.mounts import Mount, mount_of
from kms.check.port import check_port
from kms.check.settings import check_settings
from kms.kafka import Probed
from kms.kafka.reach import Reached
from kms.settings import Settings
from kms.settings_loading import load_settings
from kms.store import CacheFile, holder

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /data rw - nfs4 server:/data rw
31 30 8:2 / /data/with\040blank rw - xfs /dev/sdb1 rw
40 22 0:30 / /tmp rw - ext4 /dev/sdc rw
41 22 0:31 / /tmp rw - tmpfs tmpfs rw
""".lstrip()


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


class TestTheCache:
    def test_none_yet(self, tmp_path: Path) -> None:
        path = tmp_path / "not" / "there" / "kms.sqlite"
        found = check_cache(Settings(kms_cache=path))
        assert {finding.level for finding in found.findings} <= {Level.OK, Level.WARNING}
        assert by_check(found.findings)["cache"].level is Level.OK
        assert "not there yet" in by_check(found.findings)["cache"].found
        assert not path.parent.exists()
        assert not list(tmp_path.iterdir())

    def test_who_holds_it(self, tmp_path: Path) -> None:
        path = tmp_path / "kms.sqlite"
        file = CacheFile(path)
        try:
            assert holder(path) == os.getpid()
            found = check_cache(Settings(kms_cache=path))
            assert found.holder == os.getpid()
            assert by_check(found.findings)["cache"].found.endswith("empty")
        finally:
            file.close()
        assert holder(path) is None

    @pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
    def test_another_file_would_be_set_aside(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "kms.sqlite"
        path.write_bytes(content)
        found = by_check(check_cache(Settings(kms_cache=path)).findings)["cache"]
        assert found.level is Level.WARNING
        assert "moves it out of the way" in found.advice
        assert path.read_bytes() == content

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        path = tmp_path / "file" / "kms.sqlite"
        found = check_cache(Settings(kms_cache=path)).findings
        assert by_check(found)["cache-folder"].level is Level.ERROR


class TestThePort:
    @pytest.fixture
    def taken(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server.getsockname()[1]

    def test_taken_by_what_is_no_kms(self, taken: int) -> None:
        found = check_port(at("127.0.0.1", taken), None)
        assert (found.level, found.found) == (Level.ERROR, "taken by another program")
        assert "PROMETHEUS_SCRAPING_ENDPOINT_PORT" in found.advice

    def test_free(self, taken: int) -> None:
        assert check_port(at("127.0.0.1", 0), None).level is Level.OK
        # One that was listened on a moment ago is free as well.
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert port != taken
        assert check_port(at("127.0.0.1", port), None).found == "free"

    @pytest.mark.parametrize("address", ["192.0.2.1", "no-such-host.invalid"])
    def test_an_address_of_another_machine(self, address: str) -> None:
        found = check_port(at(address, 0), None)
        assert found.level is Level.ERROR
        assert "KMS_HTTP_ADDRESS must be an address of this machine" in found.advice


def at(address: str, port: int) -> Settings:
    return Settings(kms_http_address=address, prometheus_scraping_endpoint_port=port)


class TestTheClock:
    @pytest.mark.parametrize(
        ("broker_ms", "level", "text"),
        [
            (1_005, Level.OK, "the broker's, to within 10 ms"),
            (1_000, Level.OK, "the broker's, to within 10 ms"),
            (2_010, Level.OK, "at least 1000 ms behind the broker's"),
            (2_011, Level.WARNING, "at least 1001 ms behind the broker's"),
            (-1, Level.WARNING, "at least 1001 ms ahead of the broker's"),
            (61_010, Level.WARNING, "at least 60000 ms behind the broker's"),
            (61_011, Level.ERROR, "at least 60001 ms behind the broker's"),
            (-60_000, Level.ERROR, "at least 61000 ms ahead of the broker's"),
        ],
    )
    def test_no_more_is_said_than_is_known(self, broker_ms: int, level: Level, text: str) -> None:
        """Sent at 1,000 and acknowledged at 1,010: the broker had it some time between."""
        found = compared("t", Probed(0, 5, 1_000, 1_010, broker_ms))
        assert (found.level, found.found) == (level, text)
        assert ("NTP" in found.advice) == (level is not Level.OK)

    def test_the_kernel_is_asked(self) -> None:
        found = check_kept()
        assert found.check == "clock-kept"
        assert "synchronised" in found.found


class TestMounts:
    @pytest.mark.parametrize(
        ("folder", "point", "kind"),
        [
            ("/var/lib", "/", "ext4"),
            ("/data/kms", "/data", "nfs4"),
            ("/data/with blank/kms", "/data/with blank", "xfs"),
            ("/database", "/", "ext4"),
            ("/tmp/x", "/tmp", "tmpfs"),
        ],
    )
    def test_the_innermost_and_latest(self, folder: str, point: str, kind: str) -> None:
        assert mount_of(Path(folder), MOUNTS) == Mount(Path(point), kind)

    def test_of_this_machine(self, tmp_path: Path) -> None:
        found = mount_of(tmp_path)
        assert tmp_path.is_relative_to(found.point)
        assert found.kind != "unknown"


@pytest.mark.parametrize(
    ("fetch", "release"),
    [
        (0, ""),
        (4, ""),
        (11, "2.3"),
        (12, "2.7"),
        (14, "3.5"),
        (17, "3.9"),
        (18, "4.1"),
        (99, "4.1"),
    ],
)
def test_the_release_is_the_oldest_that_knows_as_much(fetch: int, release: str) -> None:
    assert Reached(0.0, "", {}, {"Fetch": fetch}, "").release == release


def test_settings_are_told_without_secrets() -> None:
    environment = {"KAFKA_SASL_PASSWORD": "hunter2", "KMS_CASHE": "x", "KMS_CACHE": "/c"}
    given, ignored = check_settings(load_settings({}, environment))
    assert "kms_cache=/c (the environment variable KMS_CACHE)" in given.found
    assert "hunter2" not in str(given)
    assert (ignored.level, "KMS_CASHE" in ignored.found) == (Level.WARNING, True)


def test_open_files() -> None:
    assert str(check_files().found).startswith("the limit of this shell is ")
