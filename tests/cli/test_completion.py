"""``--version``, and completion as a shell asks for it: ``kms.py`` as a process, and bash."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import kms
from tests.broker.instance import ROOT

# What bash does at a tab, with the words typed so far.
_TAB = """
source {script}
COMP_WORDS=({words}); COMP_CWORD={index}
_kmspy_completion ./kms.py
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def bash(script: str, home: Path) -> str:
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script of ``--show-completion``, which asks who called it."""
    folder = tmp_path_factory.mktemp("completion")
    found = folder / "kms.sh"
    found.write_text(bash("python kms.py --show-completion; true", folder))
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("./kms.py ins", ["inspect"]),
        ("./kms.py topics c", ["check", "create"]),
        ("./kms.py run --unt", ["--until"]),
        ("./kms.py run --log-f", ["--log-format"]),
        ("./kms.py inspect --form", ["--format"]),
        ("./kms.py inspect --format j", ["json"]),
    ],
)
def test_a_tab_completes_commands_and_options(
    script: Path, tmp_path: Path, words: str, expected: list[str]
) -> None:
    index = len(words.split()) - 1
    out = bash(_TAB.format(script=script, words=words, index=index), tmp_path)
    assert sorted(out.split()) == expected


def test_it_installs_itself(tmp_path: Path) -> None:
    out = bash("python kms.py --install-completion; true", tmp_path)
    assert "bash completion installed" in out
    (found,) = tmp_path.rglob("kms.py.sh")
    assert str(found) in (tmp_path / ".bashrc").read_text()
    assert "complete -o default -F _kmspy_completion kms.py" in found.read_text()


def test_version(tmp_path: Path) -> None:
    assert bash("./kms.py --version", tmp_path) == f"kms {kms.__version__}\n"
