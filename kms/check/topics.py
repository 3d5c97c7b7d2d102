"""The schedule topics: there, spread over brokers, configured as recommended; and those beside."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kms.check.finding import Finding, Level, counted, error, listed, ok, skipped, warning
from kms.kafka import Examiner, TopicView
from kms.settings import Settings
from kms.settings_values import TOPIC_NAME
from kms.topics import Severity, differences

Config = Mapping[str, str]

_LEVELS = {Severity.ERROR: Level.ERROR, Severity.WARNING: Level.WARNING}
_SHOWN = ("cleanup.policy", "delete.retention.ms", "min.compaction.lag.ms", "max.message.bytes")
_DEAD_LETTER_EXTRA_BYTES = 2_000  # the headers that say what, where and why


def configuration(topic: str, config: Config | None) -> list[Finding]:
    """What of a schedule topic's configuration is not as recommended, and why that matters.

    None where we may not read it.
    """
    subject = f"topic {topic}"
    if config is None:
        return [
            warning(
                *("topic-config", subject, "its configuration can't be read"),
                "Without it every start reads the topic from the beginning: allow "
                "DESCRIBE_CONFIGS on it, see docs/security.md.",
            )
        ]
    found = [
        Finding(
            _LEVELS[wanted.severity],
            "topic-config",
            subject,
            f"{wanted.name} is {_told(value)}, recommended is {wanted.value}",
            wanted.why,
        )
        for value, wanted in differences(config)
    ]
    return found or [ok("topic-config", subject, "configured as recommended")]


def missing(topic: str) -> Finding:
    """A schedule topic that is not there."""
    return error(
        *("topic", f"topic {topic}", "it does not exist"),
        f"python kms.py topics create {topic} --partitions N --replication 3",
    )


def check_topics(examiner: Examiner, settings: Settings, broker_count: int) -> Iterator[Finding]:
    """Every schedule topic, and whether dead letters of it fit their own topic."""
    views = examiner.topics(settings.topics)
    configs = examiner.topic_configs([view.name for view in views.values() if view.id])
    for name, view in views.items():
        subject = f"topic {name}"
        if view.id is None:
            # What may not be seen, the ACLs' own lines say.
            if not view.is_hidden:
                yield missing(name)
            continue
        config = configs[name]
        yield from _spread(view, config or {}, broker_count)
        yield from configuration(name, config)
        if config is not None:
            yield from _also(subject, settings, config)
    readable = {name: config for name, config in configs.items() if config is not None}
    yield from _dead_letters(examiner, settings.kms_dead_letter_topic, readable)
    if settings.history_topic is not None:
        yield from _history(examiner.topics([settings.history_topic])[settings.history_topic])


def _spread(view: TopicView, config: Config, broker_count: int) -> Iterator[Finding]:
    subject, least = f"topic {view.name}", int(config.get("min.insync.replicas", "1"))
    replicas, in_sync = min(view.replicas, default=0), min(view.in_sync, default=0)
    found = (
        f"{counted(len(view.replicas), 'partition')}, {counted(replicas, 'replica')}, {in_sync} of "
        "them in sync"
    )
    if view.leaderless:
        yield error(
            *("topic-replicas", subject, f"partitions without a leader: {listed(view.leaderless)}"),
            "Nothing of them can be read or fired: start the brokers that hold them.",
        )
    elif in_sync < least:
        yield error(
            *("topic-replicas", subject, f"{found}, min.insync.replicas is {least}"),
            "No tombstone can be written, so nothing fires: start the brokers that are missing.",
        )
    elif in_sync < replicas:
        yield warning(
            *("topic-replicas", subject, found), "Start the brokers that are missing, or look why."
        )
    elif replicas == 1:
        where = "with more brokers" if broker_count == 1 else f"on {broker_count} brokers"
        yield warning(
            *("topic-replicas", subject, found),
            "A lost disk loses its schedules: three replicas and min.insync.replicas=2 "
            f"are usual {where}.",
        )
    elif least == 1:
        yield warning(
            *("topic-replicas", subject, f"{found}, min.insync.replicas is 1"),
            "What is acknowledged may be on one broker only: set it to 2.",
        )
    elif least == replicas:
        yield warning(
            *("topic-replicas", subject, f"{found}, min.insync.replicas is {least}"),
            "Nothing can be fired while one broker is down: set it to one less.",
        )
    else:
        yield ok("topic-replicas", subject, f"{found}, min.insync.replicas is {least}")


def _also(subject: str, settings: Settings, config: Config) -> Iterator[Finding]:
    """What is no matter of taste, and no part of what ``topics create`` sets."""
    if config.get("unclean.leader.election.enable") == "true":
        yield warning(
            *("topic-config", subject, "unclean.leader.election.enable is true"),
            "A broker that missed records may become their leader, and schedules get lost, or "
            "fire again: set it to false.",
        )
    largest = int(config.get("max.message.bytes", "0"))
    own = settings.kafka_properties().get("message.max.bytes")
    if own is not None and own.isdigit() and int(own) < largest:
        yield warning(
            *("topic-config", subject, f"max.message.bytes is {largest}, ours {own}"),
            f"A schedule may be larger than what kms may send: leave out "
            f"{settings.kafka_source('message.max.bytes')}.",
        )
    shown = {name: config[name] for name in (*_SHOWN, "message.timestamp.type") if name in config}
    yield ok("topic-values", subject, ", ".join(f"{name}={it}" for name, it in shown.items()))


def _dead_letters(
    examiner: Examiner, topic: str | None, schedules: Mapping[str, Config]
) -> Iterator[Finding]:
    if topic is None:
        yield ok("dead-letters", "dead letters", "no KMS_DEAD_LETTER_TOPIC: what fails stays")
        return
    subject = f"dead-letter topic {topic}"
    view = examiner.topics([topic])[topic]
    if view.id is None:
        if not view.is_hidden:  # else the ACLs' lines say it
            yield error(
                *("dead-letters", subject, "it does not exist"),
                "What can't be fired stays pending for ever: create it, with cleanup.policy=delete "
                "and a retention that gives you time to look.",
            )
        return
    config = examiner.topic_configs([topic])[topic]
    if config is None:
        yield skipped("dead-letters", subject, "its configuration can't be read")
        return
    yield from _dead_letter_config(subject, config, schedules)


def _history(view: TopicView) -> Iterator[Finding]:
    if view.id is not None:
        yield ok("history", f"history topic {view.name}", "there")
    elif not view.is_hidden:  # else the ACLs' lines say it
        yield error(
            *("history", f"history topic {view.name}", "it does not exist"),
            "Nothing fires until it is there: create it, with cleanup.policy=delete.",
        )


def _dead_letter_config(
    subject: str, config: Config, schedules: Mapping[str, Config]
) -> Iterator[Finding]:
    if "compact" in config.get("cleanup.policy", ""):
        yield warning(
            *("dead-letters", subject, f"cleanup.policy is {config['cleanup.policy']}"),
            "Of several dead letters with one id only the last is kept: set it to delete.",
        )
    largest = max((int(it.get("max.message.bytes", "0")) for it in schedules.values()), default=0)
    fits = int(config.get("max.message.bytes", "0"))
    if schedules and fits < largest + _DEAD_LETTER_EXTRA_BYTES:
        yield warning(
            *("dead-letters", subject, f"max.message.bytes is {fits}"),
            f"A dead letter is a whole schedule of up to {largest} bytes and some headers: set it "
            f"to {largest + _DEAD_LETTER_EXTRA_BYTES} or more.",
        )
    else:
        yield ok("dead-letters", subject, "there, and large enough for any schedule")


def check_targets(examiner: Examiner, topics: Collection[str], said: str) -> Iterator[Finding]:
    """The target topics of what is pending; ``said`` is how many schedules were looked at."""
    legal = [name for name in sorted(topics) if TOPIC_NAME.fullmatch(name)]
    by_problem: dict[str, list[str]] = {}
    if illegal := [ascii(name[:60]) for name in sorted(topics) if not TOPIC_NAME.fullmatch(name)]:
        by_problem["no topic can have such a name"] = illegal
    for name, view in examiner.topics(legal).items():
        by_problem.setdefault(_problem_of(view), []).append(name)
    good = by_problem.pop("", [])
    for problem, names in by_problem.items():
        yield warning(
            *("targets", "target topics", f"{problem}: {listed(names)} ({said})"),
            "Their schedules can't be fired, and are tried again or go to the dead-letter topic: "
            "mend the topics, or cancel them.",
        )
    if good:
        yield ok("targets", "target topics", f"may be written: {listed(good)} ({said})")


def _problem_of(view: TopicView) -> str:
    """Why nothing can be written to a topic; empty if it can."""
    if view.id is None:
        return "we may not see them, allow WRITE" if view.is_hidden else "they do not exist"
    if view.operations is not None and "WRITE" not in view.operations:
        return "we may not write to them, allow WRITE"
    return "they have partitions without a leader" if view.leaderless else ""


def _told(value: str | None) -> str:
    return "unknown" if value is None else value or "empty"
