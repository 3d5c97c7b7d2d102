"""The control topic where it can't be read: nothing fires, and that is said."""

from __future__ import annotations

import logging

import pytest

from kms import control
from kms.control import Control
from kms.errors import RetriableKafkaError
from kms.pauses import Pauses
from kms.settings import Settings


def test_it_is_said_once_a_minute_while_it_is_not_known_what_is_paused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> object:
        raise RetriableKafkaError("no leader")

    pauses = Pauses(known=False)
    patient = Control(Settings(), pauses)
    monkeypatch.setattr(control, "_PATIENCE_SECONDS", 0.0)
    thread = Control(Settings(), pauses)
    for each in (patient, thread):
        monkeypatch.setattr(each._admin, "topics", away)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            patient._turn()
        assert not caplog.records  # it has only just begun
        for _ in range(3):
            assert thread._turn() > 0
        (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert "Nothing fires yet: the control topic kms-control" in said.getMessage()
    assert "no leader" in said.getMessage()
    assert not pauses.known
    pauses.replace({})
    caplog.clear()
    thread._turn()
    assert not caplog.records
