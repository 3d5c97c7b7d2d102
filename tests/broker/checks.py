"""Runs ``kms check --json`` and sorts what it found."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tests.broker.commands import Kms


class Checked(NamedTuple):
    """The exit code, and each finding in its order."""

    code: int
    findings: list[dict[str, Any]]

    def of(self, check: str, subject: str = "") -> list[tuple[str, str]]:
        """Level and text of what one check found, of subjects with this in them."""
        return [
            (each["level"], f"{each['found']}. {each['advice']}")
            for each in self.findings
            if each["check"] == check and subject in each["subject"]
        ]

    def one(self, check: str, subject: str = "") -> tuple[str, str]:
        """The same where there is only one."""
        (found,) = self.of(check, subject)
        return found

    def errors(self) -> set[str]:
        return {each["check"] for each in self.findings if each["level"] == "error"}

    def warnings(self) -> set[str]:
        return {each["check"] for each in self.findings if each["level"] == "warning"}


def check(kms: Kms, *arguments: str) -> Checked:
    """Run it; every warning and error must say what to do, and nothing goes to stderr."""
    done = kms.run("check", "--json", *arguments)
    assert done.stderr == b"", done.stderr.decode()
    findings = [json.loads(line) for line in done.stdout.decode().splitlines()]
    for each in findings:
        assert list(each) == ["level", "check", "subject", "found", "advice"]
        assert each["level"] in ("ok", "skipped", "warning", "error")
        assert each["subject"], each
        assert each["found"], each
        if each["level"] in ("warning", "error"):
            # A sentence, or one that ends in a command.
            assert re.search(r"(\.|python kms\.py [^.]+)$", each["advice"]), each
    assert (done.returncode == 1) == any(each["level"] == "error" for each in findings)
    return Checked(done.returncode, findings)
