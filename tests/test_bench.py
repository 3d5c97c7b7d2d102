"""The parts of scripts/bench that measure nothing."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import bench_command
import pytest
from benchmarks.cases import CASES
from benchmarks.pictures import draw
from benchmarks.results import Result, not_measured, percentile, scaled
from benchmarks.table import machine, notes, number, result_table
from benchmarks.usage import Usage, busy_percent, cpu_seconds, rss_mb
from rich.console import Console

FIRE = Result(
    "fire",
    "200,000 due at once",
    "schedules/s",
    48_000.0,
    ">= 60,000",
    80_000.0,
    "a bare loop",
    91.4,
    20.5,
    12.25,
    "a note",
    points={"kms": [(0.0, 0.0), (1.5, 200_000.0)], "bare loop": [(0.0, 0.0), (1.0, 200_000.0)]},
)


class TestPercentile:
    @pytest.mark.parametrize(
        ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)]
    )
    def test_nearest_rank(self, percent: float, expected: float) -> None:
        assert percentile(list(range(100, 0, -1)), percent) == expected

    def test_of_one(self) -> None:
        assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0

    def test_of_none(self) -> None:
        with pytest.raises(ValueError, match="no values"):
            percentile([], 50)


class TestScaled:
    def test_without_a_wish(self) -> None:
        assert scaled(10_000, 1_000_000, None) == 10_000

    def test_all_counts_of_a_case_shrink_alike(self) -> None:
        assert scaled(1_000_000, 1_000_000, 2_000) == 2_000
        assert scaled(100_000, 1_000_000, 2_000) == 200

    def test_never_none_at_all(self) -> None:
        assert scaled(10_000, 1_000_000, 5) == 1


class TestResult:
    def test_ratio(self) -> None:
        assert FIRE.ratio == 0.6
        assert FIRE.as_json()["ratio"] == 0.6

    def test_no_ratio_without_both(self) -> None:
        assert not_measured("fire", "it broke").ratio is None
        assert Result("fire", "", "", 1.0).ratio is None
        assert Result("fire", "", "", 1.0, limit=0.0).ratio is None


class TestTable:
    def test_every_figure_is_shown(self) -> None:
        shown = _printed([FIRE])
        for text in ("48,000", "80,000", "0.60", ">= 60,000", "91.4", "20.5", "12.2"):
            assert text in shown

    def test_what_was_not_measured_says_so(self) -> None:
        failed = not_measured("ingest", "it broke")
        assert "not measured" in _printed([failed])
        assert notes([failed]) == ["ingest: it broke"]

    def test_notes_are_said_once(self) -> None:
        assert notes([FIRE, FIRE]) == ["fire: a note", "fire: limit is a bare loop"]

    @pytest.mark.parametrize(
        ("value", "text"),
        [(None, "-"), (0.7341, "0.734"), (12.25, "12.2"), (99.96, "100"), (48_123.4, "48,123")],
    )
    def test_numbers(self, value: float | None, text: str) -> None:
        assert number(value) == text

    def test_the_machine(self) -> None:
        assert all(machine().values())


class TestCommandLine:
    def test_all_cases_without_a_name(self) -> None:
        options = bench_command.parsed([])
        assert options.cases == list(CASES)
        assert options.n is None
        assert options.json is None

    def test_everything(self) -> None:
        options = bench_command.parsed(["fire", "disk", "--n", "500", "--json", "a.json"])
        assert options.cases == ["fire", "disk"]
        assert options.n == 500
        assert options.json == Path("a.json")

    @pytest.mark.parametrize("words", [["nonsense"], ["--n", "0"], ["--n", "-1"], ["--n", "many"]])
    def test_nonsense(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            bench_command.parsed(words)
        assert left.value.code == 2
        assert "scripts/bench: error: " in capsys.readouterr().err


def test_a_case_that_fails_says_so_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_bench: object) -> list[Result]:
        raise RuntimeError("kms ended")

    monkeypatch.setattr(bench_command, "broker", lambda _folder: nullcontext("127.0.0.1:1"))
    monkeypatch.setattr(bench_command, "CASES", {"ingest": fails, "fire": lambda _bench: [FIRE]})
    monkeypatch.setattr(bench_command, "busy_percent", lambda _seconds: 70.4)
    assert bench_command.main(["--pictures", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "fire: a note; 70 % of the CPUs were in use before it began" in shown
    assert "ingest: RuntimeError: kms ended" in shown
    assert "48,000" in shown


def test_usage_of_this_process() -> None:
    with Usage(os.getpid()) as usage:
        assert usage.cpu >= 0.0
        assert usage.peak_mb > 10
    assert rss_mb(os.getpid()) > 10
    assert cpu_seconds(os.getpid()) > 0


def test_how_busy_the_machine_is() -> None:
    assert 0 <= busy_percent(0.05) <= 100


def test_no_memory_of_a_process_that_ended() -> None:
    assert rss_mb(2**30) == 0.0


def test_a_picture_of_each_case_with_points(tmp_path: Path) -> None:
    restart = Result(
        "restart", "", "s", 0.5, points={"kms": [(1e4, 0.5), (1e6, 0.5)], "bare loop": [(1e4, 0.3)]}
    )
    made = draw([FIRE, not_measured("ingest", ""), restart], tmp_path / "new")
    assert [path.name for path in made] == ["fire.png", "restart.png"]
    for path in made:
        assert path.read_bytes().startswith(b"\x89PNG")


def _printed(results: list[Result]) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(result_table(results))
    return capture.get()
