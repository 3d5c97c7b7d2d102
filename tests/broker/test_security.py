"""Authentication on a real broker: every way in, what is said at the door, and what is not said."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kms.errors import ExitCode
from kms.schedule import Schedule
from tests.broker.acls import documented
from tests.broker.cluster import now_ms, wait_for
from tests.broker.instance import ROOT, Instance
from tests.broker.secured import PLAIN_PASSWORD, PLAIN_USER, SecuredKafka
from tests.certificates import Authority

STORE_PASSWORD = "hunter2-of-the-store"
Start = Callable[..., Instance]


@pytest.fixture
def start(secured: SecuredKafka, tmp_path: Path) -> Iterator[Start]:
    """Starts kms on fresh topics, on which the user may do what the docs say it has to."""
    made: list[Instance] = []

    def make(user: str, environment: dict[str, str], *, allowed: bool = True) -> Instance:
        cluster = secured.cluster
        schedules = cluster.schedule_topic()
        target = cluster.topic(name=f"{schedules}-target")
        made.append(Instance(cluster, tmp_path, [schedules], **environment))  # type: ignore[arg-type]
        names = {"schedules": schedules, "messages": target}
        names["com.sky.kafka.scheduler"] = made[-1].group
        if allowed:
            secured.allow(documented("Exactly once", user, names))
        cluster.schedule(schedules, b"a", Schedule(now_ms(), target, b"k", b"v", ()))
        cluster.flush()
        return made[-1].start()

    yield make
    for each in made:
        each.clean_up()


def fires(secured: SecuredKafka, instance: Instance) -> None:
    (message,) = secured.cluster.arrived(f"{instance.topics[0]}-target", 1)
    assert (message.key, message.value) == (b"k", b"v")


class TestWaysIn:
    @pytest.mark.parametrize(
        ("listener", "mechanism"), [("SASL", "SCRAM-SHA-256"), ("SASLTLS", "SCRAM-SHA-512")]
    )
    def test_scram(
        self, secured: SecuredKafka, start: Start, listener: str, mechanism: str
    ) -> None:
        user = f"scram-{listener}-{mechanism}"
        environment = secured.environment(listener, user, secured.user(user, mechanism))
        instance = start(user, environment | {"KAFKA_SASL_MECHANISM": mechanism})
        fires(secured, instance)
        assert instance.stop() == ExitCode.OK

    def test_plain_with_the_password_in_a_file(
        self, secured: SecuredKafka, start: Start, tmp_path: Path
    ) -> None:
        environment = secured.environment("SASLTLS", PLAIN_USER)
        environment |= {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_PASSWORD": ""}
        password = tmp_path / "password"
        password.write_text(f"{PLAIN_PASSWORD}\n")
        environment["KAFKA_SASL_PASSWORD_FILE"] = str(password)
        fires(secured, start(PLAIN_USER, environment))

    @pytest.mark.parametrize("form", ["p12", "pem"])
    def test_client_certificates(self, secured: SecuredKafka, start: Start, form: str) -> None:
        user, authority = f"certified-{form}", secured.authority
        environment = secured.environment("TLS") | {
            "KEYSTORE_LOCATION": str(authority.client(user, form, STORE_PASSWORD)),
            "KEYSTORE_PASSWORD": STORE_PASSWORD,
            "TRUSTSTORE_LOCATION": str(authority.truststore(form, STORE_PASSWORD)),
            "TRUSTSTORE_PASSWORD": STORE_PASSWORD,
        }
        fires(secured, start(user, environment))

    def test_client_certificates_in_librdkafkas_words(
        self, secured: SecuredKafka, start: Start
    ) -> None:
        store = str(secured.authority.client("plainly"))
        environment = secured.environment("TLS") | {
            "TRUSTSTORE_LOCATION": "",
            "KAFKA_SSL_CA_LOCATION": str(secured.authority.truststore()),
            "KAFKA_SSL_CERTIFICATE_LOCATION": store,
            "KAFKA_SSL_KEY_LOCATION": store,
        }
        fires(secured, start("plainly", environment))


class TestAtTheDoor:
    """Every refusal ends the start, with one sentence and none of the retries."""

    def refused(self, instance: Instance, *parts: str) -> None:
        assert instance.ended() == ExitCode.KAFKA, instance.log
        (line,) = [line for line in instance.log.splitlines() if parts[0] in line]
        for part in parts:
            assert part in line
        assert len(instance.log.splitlines()) < 8, instance.log

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
    def test_a_wrong_password(self, secured: SecuredKafka, start: Start, mechanism: str) -> None:
        environment = secured.environment("SASL", PLAIN_USER, "hunter2-wrong")
        environment["KAFKA_SASL_MECHANISM"] = mechanism
        self.refused(
            start(PLAIN_USER, environment, allowed=False),
            "Kafka does not let kms in: ",
            "Authentication failed",
            "Check KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD.",
        )

    def test_brokers_with_an_unknown_authority(
        self, secured: SecuredKafka, start: Start, tmp_path: Path
    ) -> None:
        environment = secured.environment("SASLTLS", "nobody", "hunter2")
        environment["TRUSTSTORE_LOCATION"] = str(Authority(tmp_path, "other").truststore("p12"))
        self.refused(
            start("nobody", environment, allowed=False),
            "kms does not trust the brokers: ",
            "certificate verify failed",
            "Check TRUSTSTORE_LOCATION",
        )

    def test_a_certificate_of_another_authority(
        self, secured: SecuredKafka, start: Start, tmp_path: Path
    ) -> None:
        environment = secured.environment("TLS")
        environment["KEYSTORE_LOCATION"] = str(Authority(tmp_path, "other").client("eve"))
        self.refused(
            start("eve", environment, allowed=False),
            "Kafka does not accept the client certificate: ",
            "Check KEYSTORE_LOCATION",
        )

    def test_no_certificate_at_all(self, secured: SecuredKafka, start: Start) -> None:
        self.refused(
            start("nobody", secured.environment("TLS"), allowed=False),
            "Kafka does not accept the client certificate: ",
            "certificate required",
        )


def test_a_command_says_it_too(secured: SecuredKafka) -> None:
    environment = os.environ | secured.environment("SASL", "nobody", "hunter2-wrong")
    command = [sys.executable, str(ROOT / "kms.py"), "topics", "check", "schedules"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == ExitCode.KAFKA
    assert done.stderr.startswith("Kafka does not let kms in: ")
    assert "KAFKA_SASL_PASSWORD" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_secrets_are_shown_nowhere(secured: SecuredKafka, start: Start) -> None:
    """Not with librdkafka telling all it does, which holds nothing back at this level."""
    password = secured.user("discreet")
    key = secured.authority.client("discreet", "p12", STORE_PASSWORD)
    environment = secured.environment("SASLTLS", "discreet", password) | {
        "KEYSTORE_LOCATION": str(key),
        "KEYSTORE_PASSWORD": STORE_PASSWORD,
        "KMS_LOG_LEVEL": "DEBUG",
        "KAFKA_DEBUG": "all",
    }
    instance = start("discreet", environment)
    fires(secured, instance)
    port = instance.log.split("http://localhost:")[1].split("/")[0]
    with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as answer:
        outputs = [str(answer.headers), answer.read().decode()]
    outputs.append(Path(f"/proc/{instance.process.pid}/cmdline").read_text())
    instance.stop()
    outputs.append(instance.log)
    assert "kafka.sasl.password = **********" in instance.log
    assert "keystore_password = **********" in instance.log
    assert "[thrd:" in instance.log, "the log is not what this test takes it for"
    for wrong in ({"KMS_DELIVERY": "x"}, {"KAFKA_SASL_PASSWORD": password[:-1]}):
        refused = start("discreet", environment | wrong, allowed=False)
        assert refused.ended() in (ExitCode.USAGE, ExitCode.KAFKA)
        outputs.append(refused.log)
    for arguments in (["--help"], ["run", "--help"], ["schedule", "--help"], ["inspect"]):
        command = [sys.executable, str(ROOT / "kms.py"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        outputs += [done.stdout, done.stderr]
    for secret in (password[:-1], STORE_PASSWORD, "PRIVATE KEY"):
        for output in outputs:
            assert secret not in output, output[max(0, output.find(secret) - 500) :][:700]


def test_a_password_that_is_changed_meanwhile(secured: SecuredKafka, start: Start) -> None:
    """librdkafka tries again for ever, and so does kms: it says so once."""
    user = "mutable"
    password = secured.user(user)
    instance = start(user, secured.environment("REAUTH", user, password))
    fires(secured, instance)
    secured.user(user)
    instance.wait_for_log("Authentication failed", seconds=20)
    failed = secured.broker.log_path.read_text(errors="replace").count("Failed authentication")

    def many_attempts() -> bool:
        text = secured.broker.log_path.read_text(errors="replace")
        return text.count("Failed authentication") > failed + 10

    wait_for("some more attempts", many_attempts)
    assert instance.log.count("Authentication failed") < 8, instance.log
    secured.user(user, password=password)
    (topic,) = instance.topics
    target = f"{topic}-target"
    secured.cluster.schedule(topic, b"b", Schedule(now_ms(), target, b"k", b"later", ()))
    secured.cluster.flush()
    assert [it.value for it in secured.cluster.arrived(target, 2)] == [b"v", b"later"]
