"""The only confluent_kafka: clients, admin look-ups, and the three kinds of Kafka's errors."""

from kms.kafka.access import check_access, not_allowed
from kms.kafka.admin import Admin, TopicInfo
from kms.kafka.config import (
    checked_properties,
    instance_name,
    rebalance_timeout_ms,
    transactional_id,
)
from kms.kafka.examiner import Examiner, GroupView, Member, TopicView
from kms.kafka.joined import JoinedWriter, Producer
from kms.kafka.murmur2 import java_partition
from kms.kafka.offsets import Offsets
from kms.kafka.probe import Probe, Probed
from kms.kafka.reach import Reached, client_versions, reach
from kms.kafka.reader import AssignmentListener, Polled, TopicReader
from kms.kafka.reports import unacknowledged
from kms.kafka.sender import Sender
from kms.kafka.stretch import StretchReader
from kms.kafka.tail import Tail, TailRecord, read_all, read_partition
from kms.kafka.transactional import TransactionalWriter
from kms.kafka.values import TopicPartition
from kms.kafka.writer import PlainWriter, Undelivered, Writer

__all__ = [
    "Admin",
    "AssignmentListener",
    "Examiner",
    "GroupView",
    "JoinedWriter",
    "Member",
    "Offsets",
    "PlainWriter",
    "Polled",
    "Probe",
    "Probed",
    "Producer",
    "Reached",
    "Sender",
    "StretchReader",
    "Tail",
    "TailRecord",
    "TopicInfo",
    "TopicPartition",
    "TopicReader",
    "TopicView",
    "TransactionalWriter",
    "Undelivered",
    "Writer",
    "check_access",
    "checked_properties",
    "client_versions",
    "instance_name",
    "java_partition",
    "not_allowed",
    "reach",
    "read_all",
    "read_partition",
    "rebalance_timeout_ms",
    "transactional_id",
    "unacknowledged",
]
