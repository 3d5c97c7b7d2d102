"""What every format leaves to the record: no message asks for a kind of schedule."""

from __future__ import annotations

import pytest

from kms.errors import FormatError
from kms.formats import FORMATS, formats_of
from kms.kinds import ASKED, CONTROL
from kms.schedule import Schedule


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", sorted(CONTROL))
def test_no_message_has_a_header_of_the_record(form: str, name: str) -> None:
    """It would be sent, or be taken for one of the record; nobody who writes it means that."""
    wanted = Schedule(5, "out", b"k", b"v", (("a", b"1"), (name, b"5m")))
    with pytest.raises(FormatError, match=f"no message can have the header {name}") as caught:
        formats_of({"schedules": form})["schedules"].encode(wanted)
    instead = name.removeprefix("kms-")
    assert str(caught.value).endswith(f"; ask for {instead} itself") is (name in ASKED)
