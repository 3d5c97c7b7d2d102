"""What may fire now, what waits in which lane, and that nobody overtakes who waits there."""

from __future__ import annotations

from kms.due import Due, Tried
from kms.gate import Gate, Verdict
from kms.pauses import ALL, Pause, Pauses
from kms.rates import Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def due(name: str = "a", lane: int = 0, due_ms: int = 5) -> Due:
    return Due(1, name.encode(), 7, due_ms, b"", lane=lane)


def paused(*targets: str) -> Pauses:
    pauses = Pauses()
    pauses.replace(dict.fromkeys(targets, Pause(1)))
    return pauses


def test_with_nothing_asked_for_it_is_open() -> None:
    gate = Gate()
    assert gate.is_open()
    assert gate.judge(due(), "target") is Verdict.FIRE
    assert gate.open_lanes() == [0]


def test_what_is_paused_goes_into_its_lane_once() -> None:
    gate = Gate(paused("target"))
    assert not gate.is_open()
    assert gate.judge(due(), "target") is Verdict.HOLD
    assert gate.judge(due(), "other") is Verdict.FIRE
    first, second = due("a"), due("b")
    gate.hold([(first, "target"), (second, "target")])
    assert gate.held() == {(1, "target"): [first, second]}
    assert gate.held() == {}
    assert gate.lanes() == {1: "target"}
    assert gate.room(1, 100) == 0
    assert gate.judge(due(lane=1), "target") is Verdict.LATER
    assert gate.open_lanes() == [0]
    gate.pauses.replace({})
    assert gate.room(1, 100) == 100
    assert gate.judge(due(lane=1), "target") is Verdict.FIRE
    assert gate.open_lanes() == [0, 1]


def test_with_all_paused_everything_stays_where_it_is() -> None:
    gate = Gate(paused(ALL))
    assert gate.judge(due(), "target") is Verdict.LATER
    assert gate.open_lanes() == []


def test_what_was_skipped_is_not_fired_out_of_a_lane_either() -> None:
    pauses = Pauses()
    pauses.replace({"target": Pause(1).resumed(9, skip=True)})
    gate = Gate(pauses, lanes={1: "target"})
    assert gate.judge(due(lane=1), "target") is Verdict.SKIP
    assert gate.judge(due(due_ms=10), "target") is Verdict.FIRE


def test_nobody_overtakes_who_waits_for_the_limit() -> None:
    clock = Clock()
    gate = Gate(rates=Rates({"target": 10.0}, clock=clock))
    clock.now += 1
    assert gate.judge(due("a"), "target") is Verdict.FIRE  # there is room for one
    assert gate.judge(due("b"), "target") is Verdict.HOLD
    gate.hold([(due("b"), "target")])
    gate.held()
    clock.now += 1
    assert gate.judge(due("c"), "target") is Verdict.HOLD  # there is, but for the other one
    gate.hold([(due("c"), "target")])
    gate.held()
    assert gate.room(1, 100) == 1
    gate.took(1, 1, was_all=False)
    assert gate.room(1, 100) == 0
    clock.now += 1
    gate.took(1, 1, was_all=True)
    clock.now += 1
    assert gate.judge(due("d"), "target") is Verdict.FIRE


def test_after_a_start_who_waits_in_the_cache_goes_first() -> None:
    clock = Clock()
    gate = Gate(rates=Rates({"target": 10.0}, clock=clock), lanes={3: "target"})
    clock.now += 1
    assert gate.judge(due(), "target") is Verdict.HOLD
    gate.hold([(due(), "other")])
    assert set(gate.held()) == {(4, "other")}


def test_it_is_full_until_the_writer_has_them() -> None:
    gate = Gate(paused("target"))
    gate.hold([(due(str(number)), "target") for number in range(10_001)])
    assert gate.is_full()
    gate.held()
    assert not gate.is_full()


def test_what_failed_out_of_a_lane_waits_there_again_and_keeps_to_the_limit() -> None:
    failed = Due(1, b"a", 7, 5, b"", tried=Tried(1, 0, "no-topic"), lane=1)
    assert Gate(paused("target"), lanes={1: "target"}).judge(failed, "target") is Verdict.HOLD
    clock = Clock()
    gate = Gate(rates=Rates({"target": 10.0}, clock=clock), lanes={1: "target"})
    assert gate.judge(failed, "target") is Verdict.LATER
    clock.now += 1
    assert gate.judge(failed, "target") is Verdict.FIRE
    assert gate.judge(failed, "target") is Verdict.LATER


def test_what_comes_too_late_takes_nothing_of_the_limit() -> None:
    clock = Clock()
    gate = Gate(rates=Rates({"target": 10.0}, clock=clock))
    late = Due(1, b"late", 7, 5, b"", (("kms-expires", b"1m"),))
    clock.now = 1.0
    assert gate.judge(late, "target") is Verdict.FIRE
    assert gate.judge(due("a"), "target") is Verdict.FIRE
    assert gate.judge(due("b"), "target") is Verdict.HOLD
    assert gate.judge(late, "target") is Verdict.FIRE  # nor does it wait for who does
    gate.pauses.replace({"target": Pause(1)})
    assert gate.judge(late, "target") is Verdict.HOLD


def test_what_ends_to_be_skipped_is_never_found_open() -> None:
    class Ending(Pauses):
        """Resumed, and what fell due is to be skipped, just when it is asked."""

        def since_ms(self) -> dict[str, int]:
            self.replace({"target": Pause(1).resumed(9, skip=True)})
            return super().since_ms()

    pauses = Ending()
    pauses.replace({"target": Pause(1)})
    assert not Gate(pauses).is_open()
