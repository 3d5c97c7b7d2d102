"""What the ACLs allow, operation by operation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kms.check.finding import Finding, error, ok, skipped, warning
from kms.kafka import Examiner, GroupView, transactional_id
from kms.settings import Settings

_ADVICE = "docs/security.md has the commands that allow it."
_IDEMPOTENT_FOR_ALL = ("Produce", 9)  # since Kafka 2.8 WRITE on any topic is enough (KIP-679)


def check_access(
    examiner: Examiner, settings: Settings, group: GroupView, apis: Mapping[str, int]
) -> Iterator[Finding]:
    """Schedule topics, dead-letter topic, group; and what can be known of the rest."""
    wanted: dict[str, tuple[str, ...]]
    wanted = dict.fromkeys(settings.topics, ("READ", "WRITE"))
    if settings.kms_dead_letter_topic is not None:
        wanted[settings.kms_dead_letter_topic] = ("WRITE",)
    if settings.history_topic is not None:
        wanted[settings.history_topic] = ("WRITE",)
    for name, view in examiner.topics(wanted).items():
        if view.id is not None or view.is_hidden:
            yield _allowed(f"ACLs of topic {name}", view.operations, wanted[name])
    subject = f"ACLs of group {settings.consumer_group_id}"
    if group.state == "DEAD" and group.operations is None:
        yield ok("acl", subject, "there is no such group yet, and we may see that")
    else:
        yield _allowed(subject, group.operations, ("READ",))
    if settings.kms_delivery == "exactly-once":
        yield skipped(
            *("acl", f"transactional id {transactional_id(settings)}"),
            "whether we may use it, and who else does, only a start finds out; it would end a "
            "running instance",
            "The option --write-probe TOPIC tries one that differs at its end.",
        )
    elif apis and apis.get(_IDEMPOTENT_FOR_ALL[0], 0) < _IDEMPOTENT_FOR_ALL[1]:
        allowed = examiner.cluster_operations()
        yield _allowed("ACLs of the cluster", allowed, ("IDEMPOTENT_WRITE",))


def _allowed(subject: str, allowed: frozenset[str] | None, wanted: Collection[str]) -> Finding:
    if allowed is None:
        return warning("acl", subject, "the brokers did not say", "Their log may say why.")
    lacking = [each for each in wanted if each not in allowed]
    if lacking:
        return error("acl", subject, f"{' and '.join(lacking)} not allowed", _ADVICE)
    return ok("acl", subject, f"{' and '.join(wanted)} allowed")
