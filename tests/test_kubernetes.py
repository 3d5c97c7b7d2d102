"""config/kubernetes.yaml is held to the image, to the Compose file and to kms's settings."""

from __future__ import annotations

import re
from typing import Any

import yaml

from kms.settings import Settings
from kms.settings_loading import load_settings
from kms.settings_table import definitions
from tests.image import ROOT, instructions

OBJECTS: dict[str, dict[str, Any]] = {
    each["kind"]: each for each in yaml.safe_load_all((ROOT / "config/kubernetes.yaml").read_text())
}
SET: dict[str, Any] = OBJECTS["StatefulSet"]["spec"]
POD: dict[str, Any] = SET["template"]["spec"]
(CONTAINER,) = POD["containers"]
IMAGE = {each.name: each.text for each in instructions((ROOT / "Dockerfile").read_text())}
PROBES = {
    name: str(CONTAINER[f"{name}Probe"]["httpGet"]["path"])
    for name in ("startup", "liveness", "readiness")
}
SELECTOR = {"app.kubernetes.io/name": "kms"}


def test_what_is_there_is_all_of_one_name() -> None:
    assert set(OBJECTS) == {"ConfigMap", "Service", "PodDisruptionBudget", "StatefulSet"}
    for each in OBJECTS.values():
        assert each["metadata"] == {"name": "kms", "labels": SELECTOR}
    assert SET["template"]["metadata"]["labels"] == SELECTOR
    assert SET["selector"]["matchLabels"] == SELECTOR
    assert OBJECTS["Service"]["spec"]["selector"] == SELECTOR
    assert OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == SELECTOR


def test_its_environment_is_settings() -> None:
    environment = dict(OBJECTS["ConfigMap"]["data"])
    assert CONTAINER["envFrom"] == [{"configMapRef": {"name": "kms"}}]
    (identity,) = CONTAINER["env"]
    assert identity["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    environment[identity["name"]] = "kms-0"
    assert set(environment) <= {each.env for each in definitions()}
    settings = load_settings({}, environment, required=["schedule_topics"])
    assert settings.kms_instance_id == "kms-0"
    assert settings.ignored_variables == ()
    assert POD["enableServiceLinks"] is False, "what a Service named kms would set is no setting"


def test_variables_in_its_comments_are_settings() -> None:
    text = (ROOT / "config/kubernetes.yaml").read_text()
    named = re.findall(r"# - \{name: (\w+), value: (\S+)\}", text)
    assert named == [("KAFKA_SASL_PASSWORD_FILE", "/run/secrets/kms/password")]


def test_an_instance_keeps_its_name_and_its_volume() -> None:
    (claim,) = SET["volumeClaimTemplates"]
    (cache, scratch) = CONTAINER["volumeMounts"]
    assert cache == {"name": claim["metadata"]["name"], "mountPath": IMAGE["VOLUME"]}
    assert scratch["mountPath"] == "/tmp"
    assert [volume["name"] for volume in POD["volumes"]] == [scratch["name"]]
    assert OBJECTS["Service"]["spec"]["clusterIP"] == "None"
    assert SET["serviceName"] == "kms"


def test_ports_and_probes() -> None:
    (port,) = CONTAINER["ports"]
    assert port["containerPort"] == Settings().prometheus_scraping_endpoint_port
    (exposed,) = OBJECTS["Service"]["spec"]["ports"]
    assert (exposed["port"], exposed["targetPort"]) == (port["containerPort"], port["name"])
    assert {CONTAINER[f"{name}Probe"]["httpGet"]["port"] for name in PROBES} == {port["name"]}
    # That they are answered is in tests/broker/test_container.py.
    assert list(PROBES.values()) == ["/health/live", "/health/live", "/health/ready"]
    assert f"{PROBES['liveness']}'" in IMAGE["HEALTHCHECK"]


def test_it_runs_the_image_as_it_is() -> None:
    """Nothing is said of the command, so the signal reaches Python; the version is ours."""
    assert not {"command", "args", "workingDir"} & set(CONTAINER)
    version = re.search(r'image\.version="([^"]+)"', IMAGE["LABEL"])
    assert version is not None
    assert CONTAINER["image"] == f"kafka-message-scheduler:{version[1]}"


def test_it_can_do_no_more_than_it_has_to() -> None:
    pod, container = POD["securityContext"], CONTAINER["securityContext"]
    user, group = (int(number) for number in IMAGE["USER"].split(":"))
    assert (pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]) == (user, group, group)
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False


def test_a_stop_is_given_the_same_time_everywhere() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    unit = (ROOT / "config/kms.service").read_text()
    seconds = POD["terminationGracePeriodSeconds"]
    assert compose["services"]["kms"]["stop_grace_period"] == f"{seconds}s"
    assert re.findall(r"^TimeoutStopSec=(\d+)", unit, re.MULTILINE) == [str(seconds)]


def test_an_update_goes_one_by_one() -> None:
    assert SET["updateStrategy"] == {"type": "RollingUpdate"}
    assert OBJECTS["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
