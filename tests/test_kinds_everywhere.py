"""Each way to schedule something can ask for each kind that ``kms.kinds`` knows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kms.client import Asked, Recurring
from kms.client.requests import Requests
from kms.kind_texts import name_of
from kms.kinds import ASKED, CRON, EVERY
from kms.web.order import NAMES, ordered

# A value of each, as the client and HTTP take it.
CLIENT: dict[str, Any] = {
    "expires": timedelta(days=1),
    "window": 60,
    "timezone": "Europe/London",
    "until": 4_102_444_800_000,
    "count": 3,
    "missed": "all",
}
HTTP = '"expires":"1d","window":"1m","timezone":"Europe/London","count":3,"missed":"all","until":'
OWN = {CRON: '"cron":"0 9 * * *"', EVERY: '"every":"5m"'}


@pytest.mark.parametrize("own", [CRON, EVERY])
def test_each_header_can_be_asked_for(own: str) -> None:
    wanted = sorted({*ASKED} - {CRON, EVERY} | {own})
    asked: Any = {"to": "o", **CLIENT}
    requests = Requests("schedules", "avro")
    entry = requests.cron("0 9 * * *", asked) if own == CRON else requests.every(300, asked)
    assert sorted(name for name, _ in entry.headers) == wanted
    order = ordered(f'{{"to":"o",{OWN[own]},{HTTP}"2100-01-01T00:00:00Z"}}'.encode())
    assert sorted(name for name, _ in order.kind) == wanted


def test_each_has_its_name_everywhere() -> None:
    names = {name_of(it) for it in ASKED}
    assert names <= {*NAMES}
    assert names - {"cron", "every"} <= {*Asked.__annotations__, *Recurring.__annotations__}
    assert names - {"cron", "every"} == {*CLIENT}
