"""The consumer group: who is in it, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kms.check.finding import Finding, counted, error, listed, ok, skipped, warning
from kms.errors import KafkaError
from kms.kafka import GroupView, Member, Offsets, TopicPartition
from kms.settings import Settings

_OURS = "kms-"  # how our clients call themselves


def check_group(settings: Settings, group: GroupView, holder: int | None) -> Iterator[Finding]:
    """Its state and members; ``holder`` is the process that runs with our cache, if any."""
    subject = f"group {settings.consumer_group_id}"
    if group.state == "DEAD":
        yield ok("group", subject, "there is no such group yet")
    elif not group.members:
        yield ok("group", subject, f"{group.state.lower()}, no members")
    else:
        told = [
            f"{each.client_id} at {each.host} ({len(each.partitions)})" for each in _sorted(group)
        ]
        count = counted(len(group.members), "member")
        found = f"{group.state.lower()}, {count} (and their partitions): {listed(told)}"
        yield ok("group", subject, found)
    strangers = [each for each in _sorted(group) if not each.client_id.startswith(_OURS)]
    if strangers:
        names = listed(f"{each.client_id} at {each.host}" for each in strangers)
        yield error(
            *("group-strangers", subject, f"members that are no kms: {names}"),
            "If that is another scheduler, both would fire: stop it first. Else give kms its own "
            "CONSUMER_GROUP_ID.",
        )
    yield from _identity(settings, group, holder)


def _sorted(group: GroupView) -> list[Member]:
    return sorted(group.members, key=lambda each: (each.client_id, each.host))


def _identity(settings: Settings, group: GroupView, holder: int | None) -> Iterator[Finding]:
    name = settings.kms_instance_id
    if name is None:
        return
    subject = f"KMS_INSTANCE_ID {name}"
    same = [each for each in group.members if each.instance_id == name]
    if not same:
        yield ok("instance-id", subject, "no member of the group has it")
    elif holder is not None:
        yield ok(
            *("instance-id", subject),
            f"its member is at {same[0].host}; process {holder} runs here with our cache",
        )
    else:
        yield warning(
            *("instance-id", subject, f"a member at {same[0].host} has it, none runs here"),
            "If it is another instance, a start ends it: give each its own KMS_INSTANCE_ID. One "
            f"that was just stopped stays for {settings.kms_session_timeout_ms} ms, which is fine.",
        )


def check_lag(
    settings: Settings, offsets: Offsets, partitions: Sequence[TopicPartition]
) -> Iterator[Finding]:
    """What the group has committed of each partition; kms itself goes by its cache."""
    subject = f"group {settings.consumer_group_id}"
    try:
        ends = offsets.stable_ends(partitions)
        committed = offsets.committed(partitions)
    except KafkaError as problem:
        yield skipped("lag", subject, f"its offsets could not be read: {problem}")
        return
    lags = [
        f"{where} {'nothing committed' if at is None else ends[where] - at}"
        for where, at in sorted(committed.items())
    ]
    yield ok("lag", subject, f"lag by partition: {listed(lags, 20)}")
