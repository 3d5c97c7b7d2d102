"""A broker that lets nobody in without a name, and nobody do what no ACL allows."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from local_kafka import LocalKafka

from tests.broker.cluster import Cluster
from tests.certificates import Authority

LISTENERS = {
    "SASL": "SASL_PLAINTEXT",
    "SASLTLS": "SASL_SSL",
    "TLS": "SSL",
    "REAUTH": "SASL_PLAINTEXT",  # asks again every few seconds (KIP-368)
}
PLAIN_USER, PLAIN_PASSWORD = "plain", "plain-hunter2-" + secrets.token_hex(4)


class SecuredKafka:
    """A local broker with a listener for each way to show who one is, and StandardAuthorizer.

    The plain listener's anonymous clients may do everything: the test itself is one of them, as
    ``cluster``. A client certificate's common name is the name of its user.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "certificates")
        self.broker = LocalKafka(folder / "kafka", _properties(self.authority), LISTENERS)
        self.broker.start()
        self.cluster = Cluster(self.broker.bootstrap)

    def user(self, name: str, mechanism: str = "SCRAM-SHA-512", password: str | None = None) -> str:
        """Make a SCRAM user, or give it another password; answers that."""
        password = password or f"hunter2-{secrets.token_hex(8)}"
        info = ScramCredentialInfo(getattr(ScramMechanism, mechanism.replace("-", "_")), 4096)
        wanted = UserScramCredentialUpsertion(name, info, password.encode())
        for future in self.cluster.admin.alter_user_scram_credentials([wanted]).values():
            future.result()
        return password

    def allow(self, acls: Iterable[AclBinding]) -> None:
        """Add ACLs."""
        for future in self.cluster.admin.create_acls(list(acls)).values():
            future.result()

    def forbid(self, acl: AclBinding) -> None:
        """Take one ACL away."""
        wanted = AclBindingFilter(
            acl.restype,
            acl.name,
            acl.resource_pattern_type,
            acl.principal,
            acl.host,
            acl.operation,
            acl.permission_type,
        )
        for future in self.cluster.admin.delete_acls([wanted]).values():
            assert len(future.result()) == 1

    def environment(self, listener: str, user: str = "", password: str = "") -> dict[str, str]:
        """The variables with which kms reaches a listener as a user."""
        found = {
            "KAFKA_BROKERS": self.broker.address(listener),
            "SECURITY_PROTOCOL": LISTENERS[listener],
        }
        if "TLS" in listener:
            found["TRUSTSTORE_LOCATION"] = str(self.authority.truststore())
        if "SASL" in LISTENERS[listener]:
            found |= {
                "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
                "KAFKA_SASL_USERNAME": user,
                "KAFKA_SASL_PASSWORD": password,
            }
        return found


def _properties(authority: Authority) -> dict[str, str]:
    key, chain = authority.server()
    module = "org.apache.kafka.common.security"
    found = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.key": key,
        "ssl.keystore.certificate.chain": chain,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": authority.pem,
        "listener.name.reauth.connections.max.reauth.ms": "3000",
        "listener.name.tls.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
    }
    for listener in ("sasl", "sasltls", "reauth"):
        found |= {
            f"listener.name.{listener}.plain.sasl.jaas.config": (
                f'{module}.plain.PlainLoginModule required user_{PLAIN_USER}="{PLAIN_PASSWORD}";'
            ),
            f"listener.name.{listener}.scram-sha-256.sasl.jaas.config": (
                f"{module}.scram.ScramLoginModule required;"
            ),
            f"listener.name.{listener}.scram-sha-512.sasl.jaas.config": (
                f"{module}.scram.ScramLoginModule required;"
            ),
        }
    return found
