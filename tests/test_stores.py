"""Key store and trust store: what is read, and what is said of what can't be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from kms.errors import SettingsError
from kms.kafka import checked_properties
from kms.kafka.stores import store_properties
from kms.settings_loading import load_settings
from tests.certificates import Authority

SECRET = "hunter2-and-more"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "all")


def found(environment: Mapping[str, object]) -> dict[str, str]:
    """The properties; librdkafka itself must take them."""
    texts = {name: str(value) for name, value in environment.items()}
    settings = load_settings({}, {"SECURITY_PROTOCOL": "SSL"} | texts)
    checked_properties(settings)
    return store_properties(settings)


def refusal(environment: Mapping[str, object]) -> str:
    with pytest.raises(SettingsError) as caught:
        found(environment)
    said = str(caught.value)
    assert SECRET not in said
    assert "\n" not in said
    return said


@pytest.mark.parametrize("form", ["pem", "p12"])
@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_key_with_its_chain(authority: Authority, form: str, secret: str | None) -> None:
    name = f"key-{bool(secret)}"
    environment: dict[str, object] = {"KEYSTORE_LOCATION": authority.client(name, form, secret)}
    if secret:
        environment["KEYSTORE_PASSWORD"] = secret
    properties = found(environment)
    assert set(properties) == {"ssl.key.pem", "ssl.certificate.pem"}
    key = load_pem_private_key(properties["ssl.key.pem"].encode(), None)
    first, *_ = load_pem_x509_certificates(properties["ssl.certificate.pem"].encode())
    assert key.public_key() == first.public_key()
    assert f"CN={name}" in first.subject.rfc4514_string()


@pytest.mark.parametrize("form", ["pem", "p12"])
def test_intermediate_certificates_are_sent_as_well(tmp_path: Path, form: str) -> None:
    middle = Authority(tmp_path, "middle", trustme.CA().create_child_ca())
    properties = found({"KEYSTORE_LOCATION": middle.client("a", form)})
    assert properties["ssl.certificate.pem"].count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize("form", ["pem", "p12"])
@pytest.mark.parametrize("secret", [None, SECRET])
def test_what_to_trust(authority: Authority, form: str, secret: str | None) -> None:
    path = authority.truststore(form, secret)
    password = {"TRUSTSTORE_PASSWORD": secret} if secret else {}
    properties = found({"TRUSTSTORE_LOCATION": path, **password})
    assert set(properties) == {"ssl.ca.pem"}
    assert load_pem_x509_certificates(properties["ssl.ca.pem"].encode()) == (
        load_pem_x509_certificates(authority.pem.encode())
    )


def test_several_authorities(authority: Authority, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(authority.pem + Authority(tmp_path, "other").pem)
    assert found({"TRUSTSTORE_LOCATION": both})["ssl.ca.pem"].count("BEGIN CERTIFICATE") == 2


def test_a_password_that_is_not_needed(authority: Authority) -> None:
    path = authority.client("open")
    assert found({"KEYSTORE_LOCATION": path, "KEYSTORE_PASSWORD": SECRET})


def test_the_password_of_the_key_may_have_javas_name(authority: Authority) -> None:
    path = authority.client("javas", "pem", SECRET)
    assert found({"KEYSTORE_LOCATION": path, "KAFKA_SSL_KEY_PASSWORD": SECRET})


def test_without_tls_nothing_is_read() -> None:
    settings = load_settings({}, {"KEYSTORE_LOCATION": "/no/such/file"})
    assert store_properties(settings) == {}


@pytest.mark.parametrize("magic", [b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce"])
@pytest.mark.parametrize("kind", ["KEYSTORE", "TRUSTSTORE"])
def test_a_java_key_store_is_to_be_converted(
    kind: str, magic: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("store.jks")  # a message has a longest length, and so may not have a whole path
    path.write_bytes(magic + b"\0\0\0\2\0\0\0\1")
    assert refusal({f"{kind}_LOCATION": path}) == (
        f"The environment variable {kind}_LOCATION names '{path}', which is a Java key store "
        f"(JKS), which only Java reads. Convert it: keytool -importkeystore -srckeystore {path} "
        f"-destkeystore store.p12 -deststoretype PKCS12"
    )


@pytest.mark.parametrize("kind", ["KEYSTORE", "TRUSTSTORE"])
@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"\x30\x82\x01", b"-----BEGIN CERTIFICATE-----\nnonsense"]
)
def test_what_is_no_store(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(content)
    said = refusal({f"{kind}_LOCATION": path})
    assert said.startswith(f"The environment variable {kind}_LOCATION names '{path}', which ")


@pytest.mark.parametrize("kind", ["KEYSTORE", "TRUSTSTORE"])
def test_a_missing_file(kind: str) -> None:
    said = refusal({f"{kind}_LOCATION": "/no/such/file"})
    assert said.endswith("which can't be read: No such file or directory.")


@pytest.mark.parametrize("form", ["pem", "p12"])
def test_a_wrong_or_missing_password(authority: Authority, form: str) -> None:
    path = authority.client("locked", form, SECRET)
    assert "KEYSTORE_PASSWORD" in refusal({"KEYSTORE_LOCATION": path})
    said = refusal({"KEYSTORE_LOCATION": path, "KEYSTORE_PASSWORD": "other"})
    assert "KEYSTORE_PASSWORD" in said
    assert "wrong" in said
    trust = authority.truststore("p12", SECRET)
    said = refusal({"TRUSTSTORE_LOCATION": trust, "TRUSTSTORE_PASSWORD": "other"})
    assert "TRUSTSTORE_PASSWORD is wrong" in said


def test_the_two_stores_in_each_others_place(authority: Authority) -> None:
    for form in ("pem", "p12"):
        assert "holds no key" in refusal({"KEYSTORE_LOCATION": authority.truststore(form)})


@pytest.mark.parametrize(
    ("variable", "rival"),
    [
        ("KEYSTORE_LOCATION", "KAFKA_SSL_KEYSTORE_LOCATION"),
        ("KEYSTORE_LOCATION", "KAFKA_SSL_CERTIFICATE_LOCATION"),
        ("KEYSTORE_LOCATION", "KAFKA_SSL_KEY_PEM"),
        ("TRUSTSTORE_LOCATION", "KAFKA_SSL_CA_LOCATION"),
        ("TRUSTSTORE_LOCATION", "KAFKA_SSL_CA_PEM"),
    ],
)
def test_the_same_in_librdkafkas_words_is_one_too_many(variable: str, rival: str) -> None:
    assert refusal({variable: "/a", rival: SECRET}) == (
        f"The environment variable {variable} and the environment variable {rival} are both given: "
        "leave one out."
    )


def test_librdkafkas_own_properties_are_tried_at_start_too() -> None:
    said = refusal({"KAFKA_SSL_CA_LOCATION": "/no/such/ca.pem"})
    assert said.startswith("The environment variable KAFKA_SSL_CA_LOCATION is refused")


def test_sasl_needs_a_mechanism() -> None:
    assert "KAFKA_SASL_MECHANISM" in refusal({"SECURITY_PROTOCOL": "SASL_SSL"})
    assert "sasl.username" in refusal(
        {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "PLAIN"}
    )
