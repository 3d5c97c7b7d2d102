"""A schedule in one transaction with a message of the program's own: both are there, or neither.

python examples/transaction.py   # the first lines of examples/reminder.py start the rest
"""

from __future__ import annotations

import os
from datetime import timedelta

from confluent_kafka import Producer

from kms.client import ScheduleClient

producer = Producer(
    {
        "bootstrap.servers": os.environ.get("KAFKA_BROKERS", "localhost:9092"),
        "transactional.id": "example-orders",
    }
)
producer.init_transactions()
with ScheduleClient("schedules", producer=producer) as schedules:
    producer.begin_transaction()
    try:
        producer.produce("greetings", key="1002", value="order taken")
        schedules.after(timedelta(seconds=1), to="greetings", key="1002", value="order due")
        producer.commit_transaction()
    except BaseException:
        producer.abort_transaction()
        raise
print("Both are written.")
