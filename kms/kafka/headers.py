"""The headers of a message that was read."""

from __future__ import annotations

from collections.abc import Sequence

import confluent_kafka as ck

from kms.schedule import UNREADABLE_HEADER, Header


def headers_of(message: ck.Message) -> Sequence[Header]:
    """Its headers; one UNREADABLE_HEADER in their place, which says why, if they can't be read.

    confluent_kafka gives none of them where the name of one is no UTF-8, which Kafka allows.
    """
    try:
        return message.headers() or ()  # type: ignore[return-value]
    except SystemError as error:
        # So it raises in C what went wrong before: "returned a result with an exception set".
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        why = f"the name of one is no UTF-8: {error.__cause__.object[:60]!r}"
        return ((UNREADABLE_HEADER, why.encode()),)
