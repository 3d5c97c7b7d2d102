"""Certificates for a test: an authority, what it issues, and the files that kms is given."""

from __future__ import annotations

from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate


class Authority:
    """A certificate authority; its files are written to ``folder``, each under a name of its own.

    A ``secret`` encrypts what it is given for.
    """

    def __init__(self, folder: Path, name: str = "authority", ca: trustme.CA | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self._ca = ca or trustme.CA(organization_name=name)
        self._folder = folder / name
        self.pem = self._ca.cert_pem.bytes().decode()

    def server(self) -> tuple[str, str]:
        """The key and the chain of a broker at 127.0.0.1."""
        issued = self._ca.issue_cert("127.0.0.1", "localhost")
        chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        # Java reads PKCS 8 only.
        return _pem(key, NoEncryption()), chain.decode() + self.pem

    def client(self, common_name: str, form: str = "pem", secret: str | None = None) -> Path:
        """A key with its certificate, in one file: the broker knows it as ``CN=common_name``."""
        issued = self._ca.issue_cert(
            common_name,  # Java refuses one without any
            common_name=common_name,
            organization_name="kms",
            organization_unit_name="tests",
        )
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        chain = [part.bytes() for part in issued.cert_chain_pems]
        encryption: KeySerializationEncryption = NoEncryption()
        if secret is not None:
            encryption = BestAvailableEncryption(secret.encode())
        path = self._folder.with_name(f"{self._folder.name}-{common_name}.{form}")
        if form == "pem":
            path.write_text(_pem(key, encryption) + b"".join(chain).decode())
        else:
            first, *others = map(load_pem_x509_certificate, chain)
            path.write_bytes(
                pkcs12.serialize_key_and_certificates(
                    common_name.encode(),
                    key,  # type: ignore[arg-type]
                    first,
                    others,
                    encryption,
                )
            )
        return path

    def truststore(self, form: str = "pem", secret: str | None = None) -> Path:
        """What a client needs to know this authority."""
        path = self._folder.with_name(f"{self._folder.name}-trust.{form}")
        if form == "pem":
            path.write_text(self.pem)
        else:
            certificate = pkcs12.PKCS12Certificate(
                load_pem_x509_certificate(self.pem.encode()), b"authority"
            )
            encryption: KeySerializationEncryption = NoEncryption()
            if secret is not None:
                encryption = BestAvailableEncryption(secret.encode())
            path.write_bytes(pkcs12.serialize_java_truststore([certificate], encryption))
        return path


def _pem(key: object, encryption: KeySerializationEncryption) -> str:
    bytes_ = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)  # type: ignore[attr-defined]
    return str(bytes_.decode())
