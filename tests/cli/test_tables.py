"""Tables on a terminal: as wide as it is, with what there is room for."""

from __future__ import annotations

import re

import pytest

from kms.cli import tables

COLUMNS = ("Due", "Id", "Target topic", "Value", "Record", "Kind")
A_UUID = "8f14e45f-ceea-467f-a8d5-e5e6a4f0b7c0"


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for one
    monkeypatch.setenv("TERM", "xterm")


def written(capsys: pytest.CaptureFixture[str], schedule_id: str, kind: str) -> list[str]:
    row = ("2030-01-31T12:00:00.000Z", schedule_id, "payments", "x" * 40, "orders/0@0", kind)
    tables.write(COLUMNS, [row], one_line=("Due",), wide=("Id",), spare=("Kind",))
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize("schedule_id", ["a", A_UUID, "i" * 90])
def test_nothing_is_cut_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, schedule_id: str
) -> None:
    for width in range(70, 200, 3):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = written(capsys, schedule_id, "every 5m, window 10m")
        assert {len(line) for line in lines} == {width}
        assert (lines[0][-1], lines[-1][-1]) == ("┓", "┘")
        if width >= 110 and len(schedule_id) < 90:
            assert any(f" {schedule_id} " in line for line in lines)


def test_a_spare_column_needs_room_and_something_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for width, kind, is_there in ((140, "every 5m", True), (140, "", False), (80, "every", False)):
        monkeypatch.setenv("COLUMNS", str(width))
        text = " ".join(written(capsys, A_UUID, kind))
        assert ("Kind" in text) is is_there
        assert "Record" in text
