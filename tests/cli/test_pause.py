"""``pause`` and ``resume`` without Kafka: what they say."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import pytest

from kms.cli.pause import resume
from kms.errors import RetriableKafkaError
from kms.kafka import TopicInfo
from kms.pauses import ALL, Pause
from kms.settings import Settings
from tests.cli.conftest import Done

Kms = Callable[..., Done]
SINCE_MS = 1_893_456_000_000


class Control:
    """Stands for the control topic, and for the cluster's topics."""

    def __init__(self) -> None:
        self.pauses: dict[str, Pause] = {}
        self.is_away = False

    def read(self, _settings: Settings) -> dict[str, Pause]:
        return dict(self.pauses)

    def write(self, _settings: Settings, pauses: Mapping[str, Pause]) -> None:
        self.pauses |= pauses

    def topics(self, names: list[str]) -> dict[str, TopicInfo | None]:
        if self.is_away:
            raise RetriableKafkaError("no answer")
        return {name: TopicInfo(name, "id", 1) if name == "orders" else None for name in names}

    def paused(self) -> set[str]:
        return {name for name, each in self.pauses.items() if each.since_ms is not None}


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Control:
    control = Control()
    module = sys.modules[resume.__module__]  # its name in kms.cli is that of the command
    monkeypatch.setattr(module, "read_pauses", control.read)
    monkeypatch.setattr(module, "write_pauses", control.write)
    monkeypatch.setattr(module, "Admin", lambda _settings: control)
    return control


def test_a_look_up_that_fails_takes_nothing_back(kms: Kms, control: Control) -> None:
    assert kms("pause", "orders") == (
        0,
        "paused target topic orders; to go on: python kms.py resume orders\n",
        "",
    )
    control.is_away = True
    done = kms("pause", "hidden")
    assert (done.code, "paused target topic hidden" in done.out) == (0, True)
    assert "there is no topic hidden now, or we may not see it" in done.err
    assert control.paused() == {"orders", "hidden"}


def test_a_pause_by_name_and_that_of_all_end_one_by_one(kms: Kms, control: Control) -> None:
    control.pauses = {name: Pause(SINCE_MS) for name in (ALL, "a", "b")}
    done = kms("resume", "a")
    assert "resumed target topic a; what fell due since" in done.out
    assert "waits for python kms.py resume --all" in done.out
    assert control.paused() == {ALL, "b"}
    done = kms("resume", "--all")
    assert "resumed all target topics" in done.out
    assert "still paused: target topic b; to go on: python kms.py resume b" in done.err
    assert control.paused() == {"b"}
    assert "no pause of all target topics: nothing to do" in kms("resume", "--all").err
    control.pauses[ALL] = Pause(SINCE_MS)
    assert kms("resume", "c").code == 1
    assert "what fell due since" in kms("resume", "b", "--skip").out
    assert control.pauses["b"].skipped[0].first_ms == SINCE_MS
