"""Each broker by itself, as named in the settings and as the cluster names it; and versions."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kms import __version__
from kms.check.finding import Finding, counted, error, listed, ok, skipped, warning
from kms.kafka import Reached, client_versions, reach
from kms.settings import Settings
from kms.store import SQLITE_VERSION

_SECONDS = 3.0
_GRACE_SECONDS = 1.0  # a name that no server resolves may take longer than any timeout
_SLOW_SECONDS = 1.0
_GROUP_OFFSETS = ("TxnOffsetCommit", 3, "2.5")  # KIP-447: the group checks who fires


class Brokers(NamedTuple):
    """What was learnt: the ``findings``, and whether anybody answered.

    ``advertised`` are the cluster's own addresses by broker id, ``alive`` those that answered
    there; ``apis`` are of the oldest broker.
    """

    findings: list[Finding]
    cluster_id: str
    advertised: dict[int, str]
    alive: list[int]
    apis: dict[str, int]


def check_brokers(settings: Settings) -> Brokers:
    """Connect to each bootstrap server, then to each broker that they name; within 8 seconds."""
    bootstrap = settings.kafka_brokers.split(",")
    first = _reach_all(settings, bootstrap)
    advertised: dict[int, str] = {}
    for reached in first.values():
        advertised |= reached.brokers if reached else {}
    # One that was reached by the name it gives itself needs no second look.
    rest = [each for each in sorted(set(advertised.values())) if not _answered(first.get(each))]
    others = _reach_all(settings, [each for each in rest if each not in first])
    looks = first | others
    is_alive = any(_answered(each) for each in first.values())
    findings = [_of_bootstrap(name, found, is_alive) for name, found in first.items()]
    findings += [_of_advertised(name, found) for name, found in others.items()]
    answers = [each for each in looks.values() if each and not each.problem]
    apis = {name: min(each.apis.get(name, 0) for each in answers) for name in _names(answers)}
    cluster_id = next((each.cluster_id for each in answers if each.cluster_id), "")
    alive = sorted(each for each, where in advertised.items() if _answered(looks.get(where)))
    findings += _of_cluster(settings, advertised, alive, apis)
    return Brokers(findings, cluster_id, advertised, alive, apis)


def check_versions() -> Finding:
    """Of kms and what it is made of."""
    versions = {
        "kms": __version__,
        "Python": platform.python_version(),
        **client_versions(),
        "SQLite": SQLITE_VERSION,
    }
    return ok("versions", "versions", ", ".join(f"{name} {it}" for name, it in versions.items()))


def _names(answers: Iterable[Reached]) -> set[str]:
    return {name for each in answers for name in each.apis}


def _answered(reached: Reached | None) -> bool:
    return reached is not None and not reached.problem


def _reach_all(settings: Settings, addresses: list[str]) -> dict[str, Reached | None]:
    """All at once; None for one whose connection attempt does not even come back."""
    found: dict[str, Reached | None] = dict.fromkeys(addresses)

    def look(address: str) -> None:
        found[address] = reach(settings, address, _SECONDS)

    # Daemons: the process does not wait for what hangs.
    threads = [threading.Thread(target=look, args=(each,), daemon=True) for each in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_SECONDS + _GRACE_SECONDS)
    return dict(found)


def _of_bootstrap(address: str, reached: Reached | None, is_alive: bool) -> Finding:
    subject = f"broker {address}"
    if reached is not None and not reached.problem:
        return _of_answer(subject, reached)
    found = f"no answer: {reached.problem if reached else 'connecting hangs'}"
    if is_alive:
        return warning(
            *("broker", subject, found),
            "kms starts by the others in KAFKA_BROKERS. Start this broker, or leave it out there.",
        )
    return error(
        *("broker", subject, found),
        "Check KAFKA_BROKERS, SECURITY_PROTOCOL, the network, and that the broker runs.",
    )


def _of_advertised(address: str, reached: Reached | None) -> Finding:
    subject = f"broker {address}"
    if reached is not None and not reached.problem:
        return _of_answer(subject, reached)
    return error(
        *("broker", subject),
        f"no answer: {reached.problem if reached else 'connecting hangs'}",
        "The cluster sends its clients to this address (advertised.listeners): it must be one "
        "that this machine resolves and reaches, and the broker must run.",
    )


def _of_answer(subject: str, reached: Reached) -> Finding:
    release = f"; Kafka {reached.release} or newer, by its Fetch API" if reached.release else ""
    found = f"answered after {reached.seconds * 1000:.0f} ms{release}"
    if reached.seconds > _SLOW_SECONDS:
        return warning(
            *("broker", subject, found),
            "Every firing waits for answers: look at the network, DNS, and the broker's load.",
        )
    return ok("broker", subject, found)


def _of_cluster(
    settings: Settings, advertised: dict[int, str], alive: list[int], apis: dict[str, int]
) -> Iterator[Finding]:
    if not alive:
        yield skipped(
            *("kafka", "topics, ACLs, group, clock"),
            "no broker answered where clients are sent, so nothing of it could be looked at",
        )
        return
    named = [f"{address} ({number})" for number, address in sorted(advertised.items())]
    yield ok("cluster", "cluster", f"{counted(len(named), 'broker')}: {listed(named)}")
    name, version, release = _GROUP_OFFSETS
    if settings.kms_delivery == "exactly-once" and apis and apis.get(name, 0) < version:
        yield error(
            *("cluster", "cluster", f"a broker is older than Kafka {release}"),
            "It can't refuse an instance that lost its partitions (KIP-447): update the brokers, "
            "or set KMS_DELIVERY=at-least-once.",
        )
