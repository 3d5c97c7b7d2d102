"""The brokers' own settings against ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kms.check.finding import Finding, counted, error, ok, skipped, warning
from kms.kafka import Examiner
from kms.settings import Settings

_SUBJECT = "brokers' settings"
_INTERNAL = {"__transaction_state": "transaction.state.log", "__consumer_offsets": "offsets.topic"}


def check_limits(
    examiner: Examiner, settings: Settings, alive: list[int], broker_count: int
) -> Iterator[Finding]:
    """Timeouts that the brokers would refuse, and what else of theirs matters to kms.

    By one broker's settings: they are the same on all of them, where people are careful.
    """
    config = examiner.broker_config(alive[0]) if alive else None
    if config is None:
        yield skipped(
            *(
                "broker-config",
                _SUBJECT,
                "we may not read them" if alive else "none could be asked",
            ),
            "They matter to KMS_SESSION_TIMEOUT_MS and KMS_TRANSACTION_TIMEOUT_MS only: with "
            "DESCRIBE_CONFIGS on the cluster this line would compare them.",
        )
        return
    yield from _timeouts(settings, config)
    yield from _internal_topics(examiner, settings, config, broker_count)
    if config.get("auto.create.topics.enable") == "true":
        yield warning(
            *("broker-config", _SUBJECT, "auto.create.topics.enable is true"),
            "A schedule whose target topic is misspelled makes a topic, and nobody is told; a "
            "schedule topic that is missing is made without compaction, and loses schedules.",
        )
    minutes = config.get("offsets.retention.minutes")
    yield ok(
        *("broker-config", _SUBJECT),
        f"offsets.retention.minutes is {minutes}; kms needs no old offsets, its cache has its own",
    )


def _timeouts(settings: Settings, config: Mapping[str, str]) -> Iterator[Finding]:
    ours = settings.kms_session_timeout_ms
    least, most = (int(config.get(f"group.{it}.session.timeout.ms", ours)) for it in ("min", "max"))
    found = f"the brokers take {least} to {most}"
    if least <= ours <= most:
        yield ok("session-timeout", "KMS_SESSION_TIMEOUT_MS", f"{ours}: {found}")
    else:
        yield error(
            *("session-timeout", "KMS_SESSION_TIMEOUT_MS", f"it is {ours}, {found}"),
            "The group will not let us in: change it, or the brokers' "
            "group.min.session.timeout.ms and group.max.session.timeout.ms.",
        )
    if settings.kms_delivery != "exactly-once":
        return
    ours = settings.kms_transaction_timeout_ms
    most = int(config.get("transaction.max.timeout.ms", ours))
    subject = "KMS_TRANSACTION_TIMEOUT_MS"
    if ours <= most:
        yield ok("transaction-timeout", subject, f"{ours}: the brokers take up to {most}")
    else:
        yield error(
            *("transaction-timeout", subject, f"it is {ours}, the brokers take up to {most}"),
            "They will refuse every transaction: lower it, or raise their "
            "transaction.max.timeout.ms.",
        )


def _internal_topics(
    examiner: Examiner, settings: Settings, config: Mapping[str, str], brokers: int
) -> Iterator[Finding]:
    names = ["__consumer_offsets"]
    if settings.kms_delivery == "exactly-once":
        names.append("__transaction_state")
    for name, view in examiner.topics(names).items():
        setting = f"{_INTERNAL[name]}.replication.factor"
        wanted = int(config.get(setting, "1"))
        subject = f"topic {name}"
        if view.is_hidden:
            yield skipped("internal-topic", subject, f"we may not see it; {setting} is {wanted}")
        elif view.id is None and wanted > brokers:
            yield error(
                *("internal-topic", subject),
                f"it can't be made: {setting} is {wanted}, for {counted(brokers, 'broker')}",
                "Start more brokers, or lower that setting of theirs.",
            )
        elif view.id is None:
            yield ok(
                "internal-topic", subject, f"made when it is needed, {counted(wanted, 'replica')}"
            )
        elif view.leaderless:
            yield error(
                *("internal-topic", subject, "some of its partitions have no leader"),
                "Groups or transactions of these can't go on: start the brokers that hold them.",
            )
        elif min(view.replicas) == 1:
            yield warning(
                *("internal-topic", subject, "it has 1 replica"),
                "While its broker is down nothing fires, and with its disk the state of running "
                "transactions is lost: three are usual.",
            )
        else:
            yield ok(
                *("internal-topic", subject),
                f"{counted(min(view.replicas), 'replica')}, {min(view.in_sync)} in sync",
            )
