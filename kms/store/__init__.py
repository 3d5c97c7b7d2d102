"""The only SQL: the cache file, its one writer and its many readers.

The file is always exactly the fold of each partition up to its checkpoint, whatever kills the
process; it may be thrown away at any time, for the topic is the truth.
"""

from kms.store.condition import damage, holder, problem_of
from kms.store.dues import Attempt
from kms.store.file import SQLITE_VERSION, CacheFile
from kms.store.filters import By, Filter
from kms.store.pages import PageReader, Place, Waiting
from kms.store.pending import Failed, Pending
from kms.store.reader import Reader
from kms.store.retries import retry_at_once
from kms.store.writer import Checkpoint, Folded, PartitionRows, Writer

__all__ = [
    "SQLITE_VERSION",
    "Attempt",
    "By",
    "CacheFile",
    "Checkpoint",
    "Failed",
    "Filter",
    "Folded",
    "PageReader",
    "PartitionRows",
    "Pending",
    "Place",
    "Reader",
    "Waiting",
    "Writer",
    "damage",
    "holder",
    "problem_of",
    "retry_at_once",
]
