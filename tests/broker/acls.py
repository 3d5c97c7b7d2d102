"""The ACLs that docs/security.md says are all that is needed."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

PAGE = Path(__file__).parents[2] / "docs/security.md"
RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
}


def documented(heading: str, user: str, names: Mapping[str, str]) -> list[AclBinding]:
    """The ACLs of the commands under a heading, one by one, for a user of the test's.

    ``names`` says what stands for the page's topics and group.
    """
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^### {heading}\n\n```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, heading
    commands = [line for line in found[1].splitlines() if line and not line.startswith("#")]
    assert commands
    return [acl for command in commands for acl in _acls(command, user, names)]


def _acls(command: str, user: str, names: Mapping[str, str]) -> list[AclBinding]:
    program, *words = shlex.split(command)
    assert program == "kafka-acls.sh"
    parser = argparse.ArgumentParser(exit_on_error=False)
    for name in ("bootstrap-server", "command-config", "allow-principal"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--operation", action="append", required=True)
    parser.add_argument("--resource-pattern-type", default="literal")
    group = parser.add_mutually_exclusive_group(required=True)
    for name in RESOURCES:
        group.add_argument(f"--{name.replace('_', '-')}")
    found = parser.parse_args(words)
    ((resource, name),) = [(each, vars(found)[each]) for each in RESOURCES if vars(found)[each]]
    for before, after in names.items():
        name = name.replace(before, after)
    assert found.allow_principal == "User:kms"
    return [
        AclBinding(
            RESOURCES[resource],
            name,
            ResourcePatternType[found.resource_pattern_type.upper()],
            f"User:{user}",
            "*",
            AclOperation[_constant(operation)],
            AclPermissionType.ALLOW,
        )
        for operation in found.operation
    ]


def _constant(operation: str) -> str:
    """DescribeConfigs -> DESCRIBE_CONFIGS."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()
