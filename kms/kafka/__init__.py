"""The only confluent_kafka: clients, admin look-ups, and the three kinds of Kafka's errors."""

from kms.kafka.admin import Admin, StableEnds, TopicInfo
from kms.kafka.config import checked_properties, transactional_id
from kms.kafka.reader import AssignmentListener, Polled, Received, TopicReader
from kms.kafka.values import TopicPartition
from kms.kafka.writer import PlainWriter, TransactionalWriter, Undelivered, Writer

__all__ = [
    "Admin",
    "AssignmentListener",
    "PlainWriter",
    "Polled",
    "Received",
    "StableEnds",
    "TopicInfo",
    "TopicPartition",
    "TopicReader",
    "TransactionalWriter",
    "Undelivered",
    "Writer",
    "checked_properties",
    "transactional_id",
]
