"""Kafka Message Scheduler: sends messages to Kafka later, once, and on time."""

__version__ = "0.1.0"
