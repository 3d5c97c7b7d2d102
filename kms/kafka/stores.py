"""Key store and trust store: from the files that Java has, to what librdkafka takes.

librdkafka reads PKCS12 for the keys, not for what to trust, and says of a wrong password only what
OpenSSL says. So the files are read here, and handed over as PEM that stays in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates
from cryptography.x509 import Certificate, load_pem_x509_certificates
from pydantic import SecretStr

from kms.errors import SettingsError
from kms.settings import Settings
from kms.settings_sources import sentence_start
from kms.settings_values import quoted

_PEM = b"-----BEGIN "
_JAVA_ONLY = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")  # the first bytes of JKS and JCEKS

# Given as well, they would say the same thing twice, or two things.
_KEYS = (
    "ssl.keystore.location",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
)
_TRUST = ("ssl.ca.location", "ssl.ca.pem")


def store_properties(settings: Settings) -> dict[str, str]:
    """librdkafka's properties for ``keystore_location`` and ``truststore_location``.

    Empty without TLS, as in Java. Raises SettingsError with a sentence about a file that can't be
    used, or about properties that contradict it.
    """
    if settings.security_protocol not in ("SSL", "SASL_SSL"):
        return {}
    found = {}
    if settings.keystore_location is not None:
        store = _Store(settings, "keystore", settings.keystore_location, _KEYS)
        found["ssl.key.pem"], found["ssl.certificate.pem"] = store.key_and_chain(
            settings.keystore_password or _secret(settings, "ssl.key.password")
        )
    if settings.truststore_location is not None:
        store = _Store(settings, "truststore", settings.truststore_location, _TRUST)
        found["ssl.ca.pem"] = store.trusted(settings.truststore_password)
    return found


class _Store:
    """One of the two files, and how to complain about it."""

    def __init__(self, settings: Settings, kind: str, path: Path, rivals: Iterable[str]) -> None:
        source = settings.source(f"{kind}_location")
        for name in rivals:
            if name in settings.kafka:
                raise SettingsError(
                    f"{sentence_start(source)} and {settings.kafka_source(name)} are both given: "
                    "leave one out."
                )
        self._complaint = f"{sentence_start(source)} names {quoted(str(path))}, which "
        self._password = f"{kind.upper()}_PASSWORD"
        try:
            self._bytes = path.read_bytes()
        except (OSError, ValueError) as error:
            raise self._error(f"can't be read: {getattr(error, 'strerror', error)}.") from None
        if self._bytes.startswith(_JAVA_ONLY):
            raise self._error(
                "is a Java key store (JKS), which only Java reads. Convert it: keytool "
                f"-importkeystore -srckeystore {path} -destkeystore {path.with_suffix('.p12')} "
                "-deststoretype PKCS12"
            )

    def key_and_chain(self, password: SecretStr | None) -> tuple[str, str]:
        """The key, no longer encrypted, and its certificate with what certifies it."""
        if _PEM in self._bytes:
            return self._pem_key(password), _pem_of(self._pem_certificates())
        store = self._pkcs12(password)
        if store.key is None or store.cert is None:
            raise self._error("holds no key with a certificate.")
        key = store.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = [store.cert.certificate, *(each.certificate for each in store.additional_certs)]
        return key.decode(), _pem_of(chain)

    def trusted(self, password: SecretStr | None) -> str:
        """The certificates in it."""
        if _PEM in self._bytes:
            return _pem_of(self._pem_certificates())
        store = self._pkcs12(password)
        found = [store.cert] if store.cert is not None else []
        found += store.additional_certs
        if not found:
            raise self._error("holds no certificate.")
        return _pem_of(each.certificate for each in found)

    def _pkcs12(self, password: SecretStr | None) -> PKCS12KeyAndCertificates:
        try:
            return pkcs12.load_pkcs12(self._bytes, _bytes_of(password))
        except (ValueError, UnsupportedAlgorithm):
            raise self._error(
                f"can't be opened: either {self._password} is "
                f"{'missing' if password is None else 'wrong'}, or it is neither PKCS12 nor PEM."
            ) from None

    def _pem_key(self, password: SecretStr | None) -> str:
        try:
            try:
                key = load_pem_private_key(self._bytes, _bytes_of(password))
            except TypeError:
                if password is None:
                    raise
                key = load_pem_private_key(self._bytes, None)  # it needs none
        except TypeError:
            raise self._error(f"holds a key that needs a password: {self._password}.") from None
        except (ValueError, UnsupportedAlgorithm):
            raise self._error(
                f"holds no key in PEM that can be read, or {self._password} is wrong."
            ) from None
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def _pem_certificates(self) -> list[Certificate]:
        try:
            return load_pem_x509_certificates(self._bytes)
        except ValueError:
            raise self._error("holds no certificate in PEM that can be read.") from None

    def _error(self, text: str) -> SettingsError:
        return SettingsError(self._complaint + text)


def _pem_of(certificates: Iterable[Certificate]) -> str:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates).decode()


def _bytes_of(password: SecretStr | None) -> bytes | None:
    return None if password is None else password.get_secret_value().encode()


def _secret(settings: Settings, name: str) -> SecretStr | None:
    return SecretStr(settings.kafka[name]) if name in settings.kafka else None
