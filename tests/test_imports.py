"""The house rules of the design, section 7: who imports whom, and how long things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "kms"
FILES = sorted(PACKAGE.rglob("*.py"))
# Each library has one place: a package by its folder, a module by its file.
OWNERS: dict[str, str | tuple[str, ...]] = {
    "confluent_kafka": "kms.kafka",
    # It waits in the one; the other is below the fold, which has to know when something recurs.
    "apscheduler": ("kms.scheduler", "kms.recurrence"),
    "sqlite3": "kms.store",
    "prometheus_client": "kms.metrics",
    "fastavro": "kms.formats",
    "jinja2": "kms.web",
    "cryptography": "kms.kafka.stores",
}
# "errors, settings, schedule know nobody"
KNOW_NOBODY = {
    "kms.errors",
    "kms.schedule",
    "kms.settings",
    "kms.kafka_properties",
    "kms.times",
    "kms.heartbeat",
}
APART = {"kms.scheduler", "kms.consumer", "kms.producer"}
# The client is for other programs: beside the command line, and it knows nothing of the service.
TOP = {"kms.service", "kms.check", "kms.cli", "kms.client"}
CLIENT_KNOWS = (
    *(
        "kms.client",
        "kms.errors",
        "kms.settings",
        "kms.settings_loading",
        "kms.settings_values",
        "kms.schedule",
        "kms.times",
        "kms.topics",
    ),
    *("kms.formats", "kms.kafka", "kms.kafka_properties", "kms.kinds", "kms.kind_texts"),
)
# What a program that only wants to schedule something would wait for, or have no use for.
TOO_HEAVY = {"typer", "rich", "apscheduler", "prometheus_client", "jinja2", "sqlite3"}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Every module that is imported anywhere in the file, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            if node.module == "kms" or (PACKAGE.parent / node.module.replace(".", "/")).is_dir():
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


IMPORTS = {module_of(path): imports_of(path) for path in FILES}


def is_part_of(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def importers(package: str) -> set[str]:
    return {
        module
        for module, imported in IMPORTS.items()
        if any(is_part_of(each, package) for each in imported)
    }


def test_the_whole_package_is_looked_at() -> None:
    assert {"kms", "kms.cli", "kms.kafka.reader", "kms.store.writer", "kms.service"} <= set(IMPORTS)
    assert importers("kms.errors") > {"kms.schedule", "kms.formats.avro"}


@pytest.mark.parametrize(("library", "owner"), OWNERS.items())
def test_a_library_has_its_place(library: str, owner: str | tuple[str, ...]) -> None:
    owners = (owner,) if isinstance(owner, str) else owner
    found = importers(library)
    assert found
    assert {it for it in found if not any(is_part_of(it, each) for each in owners)} == set()


def test_the_bottom_knows_nobody() -> None:
    bottom = {it for it in IMPORTS if it in KNOW_NOBODY or it.startswith("kms.settings_")}
    for module in bottom:
        assert IMPORTS[module] & IMPORTS.keys() <= bottom, module


@pytest.mark.parametrize("module", sorted(APART))
def test_the_threads_do_not_know_each_other(module: str) -> None:
    for other in APART - {module}:
        assert other not in reached_from(module)


def reached_from(module: str) -> set[str]:
    """All modules of kms that come with this one."""
    reached: set[str] = set()
    left = [module]
    while left:
        for each in IMPORTS.get(left.pop(), ()):
            if each in IMPORTS and each not in reached:
                reached.add(each)
                left.append(each)
    return reached


@pytest.mark.parametrize("package", sorted(TOP))
def test_nobody_below_knows_the_top(package: str) -> None:
    above = ("kms.cli", package)
    assert all(any(is_part_of(module, it) for it in above) for module in importers(package))


def test_a_check_starts_no_thread_of_the_service() -> None:
    assert not reached_from("kms.check") & {*APART, "kms.service"}


def test_the_client_knows_only_how_to_write_and_read() -> None:
    imported = {
        it for module in IMPORTS if is_part_of(module, "kms.client") for it in IMPORTS[module]
    }
    own = {it for it in imported & IMPORTS.keys() if it != "kms"}
    assert own
    assert {it for it in own if not any(is_part_of(it, known) for known in CLIENT_KNOWS)} == set()


@pytest.mark.parametrize(("module", "comes"), [("kms.client", False), ("kms.cli", True)])
def test_the_client_is_light(module: str, comes: bool) -> None:
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert "confluent_kafka" in done.stdout.split()
    assert bool(TOO_HEAVY & set(done.stdout.split())) is comes


@pytest.mark.parametrize("path", FILES, ids=[module_of(path) for path in FILES])
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 <= 40, f"{node.name} in {path}"
