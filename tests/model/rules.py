"""The rules that can be left out of the model, to see what each is there for.

RULES are the service's own, from the design. ASSUMED is what the service relies on without
seeing to it: leave one out, and the model shows what happens to the service as it is.
"""

from __future__ import annotations

OFFSETS = "the offsets in the transaction"
STABLE_WAIT = "the wait for stable offsets"
HIGH_WATERMARK = "the high watermark in place of the last stable offset"
FIRED_OFFSET = "the fired offset in the tombstone"
RETENTION = "the retention rule"
CLAIMS = "the claims checked before producing"
COPY_CHECK = "the look at what was written under a copy's id"
PAUSES = "the gate asked before producing"

RULES = (
    *(OFFSETS, STABLE_WAIT, HIGH_WATERMARK, FIRED_OFFSET, RETENTION, CLAIMS, COPY_CHECK),
    PAUSES,
)

COMPACTION_LAG = "an overtaken update is re-published before the cleaner gets to it"
CANCEL_LAG = "a cancel that meets a firing is read by all before the cleaner gets to it"
READ_IN_TIME = "who owns a partition reads a tombstone before it is deleted"

ASSUMED = (COMPACTION_LAG, CANCEL_LAG, READ_IN_TIME)
