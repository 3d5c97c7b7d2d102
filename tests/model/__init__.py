"""A model of delivery: a small Kafka, and instances that run the service's own code on it.

``kafka`` is the cluster, of ``log`` and ``group``; ``clients``, ``writer`` and ``store`` stand in
for kms.kafka and kms.store; ``instance`` puts the service's own threads on top of them;
``world`` holds all of it, ``healing`` brings it to rest; ``rules`` names what can be left out.
"""
