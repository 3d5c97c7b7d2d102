"""Each rule is needed: without it the model finds how delivery goes wrong."""

from __future__ import annotations

import pytest

from tests.model.counterexamples import counterexample
from tests.model.rules import RULES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("rule", RULES)
def test_it_goes_wrong_without(rule: str) -> None:
    assert counterexample(rule, shortest=False) is not None
