"""The demo's service gets the same settings, whatever way they were given to the demo."""

from __future__ import annotations

from pathlib import Path

import pytest

from kms.cli.demo_service import service_environment
from kms.settings_loading import load_settings


def test_secrets_from_files_arrive_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    for name in ("KAFKA_SASL_PASSWORD_FILE", "KEYSTORE_PASSWORD_FILE"):
        monkeypatch.setenv(name, str(secret))
    monkeypatch.setenv("KAFKA_BROKERS", "localhost:9092")
    settings = load_settings({"truststore_location": "/trust.p12"})
    found = load_settings({}, service_environment(settings, "s", "g", Path("/tmp/cache")))
    assert found.kafka == {"sasl.password": "hunter2"}
    assert found.keystore_password == settings.keystore_password
    assert found.keystore_password is not None
    assert found.truststore_location == Path("/trust.p12")
    assert found.truststore_password is None
    assert found.keystore_location is None
