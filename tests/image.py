"""The Dockerfile carried out without an engine: this machine's root is the base image.

Each stage is an overlay on ``/``: what lies below is read, what is written goes to a folder of the
test. A container is PID 1 of its own, on a root that is read-only. Needs root, and a kernel that
allows mounting; ``why_not`` says what is missing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.broker.cluster import wait_for

ROOT = Path(__file__).parents[1]
_BASE = "/opt/base"  # what the base image calls python and pip
_PATH = f"{_BASE}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_PASSED_ON = re.compile(r"(PIP_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|\w+_proxy)", re.IGNORECASE)

# $1 is the stage's folder, $2 whether it may be written, $3 where Python is: that becomes
# /usr/local, as in the base image. Then a mount an argument, from:to or a tmpfs; then --.
_ENTER = """
folder=$1 mode=$2 python=$3; shift 3
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
mount --rbind /dev "$folder/root/dev"
mount -t proc proc "$folder/root/proc"
mount --bind "$python" "$folder/root/usr/local"
while [ "$1" != -- ]; do
    mkdir -p "$folder/root${1#*:}"
    case $1 in
        *:*) mount --bind "${1%%:*}" "$folder/root${1#*:}" ;;
        *) mount -t tmpfs -o mode=1777 tmpfs "$folder/root$1" ;;
    esac
    shift
done
shift
mount -o "remount,$mode" "$folder/root"
exec chroot "$folder/root" "$@"
"""
_UNSHARE = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child")


class Instruction(NamedTuple):
    """One of the Dockerfile, its line continuations undone; ``text`` is what follows the name."""

    name: str
    text: str


def instructions(dockerfile: str) -> list[Instruction]:
    """The instructions in their order, with the values of ARG put in; comments are left out."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    found = [Instruction(*line.split(maxsplit=1)) for line in whole.splitlines() if line.strip()]
    given = dict(each.text.split("=", 1) for each in found if each.name == "ARG")
    for name, value in given.items():
        found = [each._replace(text=each.text.replace(f"${{{name}}}", value)) for each in found]
    return found


def why_not() -> str | None:
    """What keeps this machine from being a base image; None if nothing does."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in ("unshare", "setpriv", "chroot", "groupadd", "useradd"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True)
    return tried.stderr.strip() or None


class Image:
    """What the Dockerfile makes; ``environment``, ``user`` and the rest are its last stage's."""

    def __init__(self, folder: Path, dockerfile: str) -> None:
        self._folder = folder
        self._stages: dict[str, Path] = {}
        for each in instructions(dockerfile):
            getattr(self, f"_on_{each.name.lower()}", self._keep)(each)

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], mounts: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Run a command as the image's user, as PID 1, on a read-only root.

        ``mounts`` are ``path:path`` or one path, for a tmpfs. Its output goes to a pipe.
        """
        user, group = self.kept["USER"].split(":")
        given = {**self.environment, **environment}
        words = [*self._enter(self._stage, "ro", mounts), "setpriv", f"--reuid={user}"]
        words += [f"--regid={group}", "--clear-groups", "--no-new-privs"]
        words += ["--bounding-set=-all", "--inh-caps=-all", "env", "-i", f"--chdir={self._at}"]
        words += [*(f"{name}={value}" for name, value in given.items()), *command]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Run a command to its end; answers the exit code and the output."""
        process = self.start(command, environment, ["/tmp"])
        output, _ = process.communicate(timeout=60)
        return process.returncode, output.decode()

    def words(self, name: str) -> list[str]:
        """The words of an instruction in exec form: ENTRYPOINT, CMD, HEALTHCHECK."""
        found: list[str] = json.loads(self.kept[name][self.kept[name].index("[") :])
        return found

    def _on_from(self, each: Instruction) -> None:
        name = each.text.partition(" AS ")[2] or "last"
        self._stage = self._stages[name] = self._folder / name
        self._at = "/"
        self.environment = {"PATH": _PATH, "LD_LIBRARY_PATH": "/usr/local/lib"}
        self.kept: dict[str, str] = {}
        for part in ("upper", "work", "root"):
            (self._stage / part).mkdir(parents=True)
        _add_python(self._stage / "upper")

    def _on_workdir(self, each: Instruction) -> None:
        self._at = each.text
        self._inside(each.text).mkdir(parents=True, exist_ok=True)

    def _on_env(self, each: Instruction) -> None:
        self.environment |= dict(word.split("=", 1) for word in shlex.split(each.text))

    def _on_copy(self, each: Instruction) -> None:
        *sources, to = each.text.split()
        base = ROOT
        if sources[0].startswith("--from="):
            base = self._stages[sources.pop(0).removeprefix("--from=")] / "upper"
        target = self._inside(os.path.join(self._at, to))  # noqa: PTH118 - drops what is before a /
        for source in (base / name.lstrip("/") for name in sources):
            if source.is_dir():
                left_out = shutil.ignore_patterns("__pycache__") if base == ROOT else None
                shutil.copytree(source, target, symlinks=True, ignore=left_out, dirs_exist_ok=True)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def _on_run(self, each: Instruction) -> None:
        passed_on = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name)}
        given = [f"{name}={value}" for name, value in {**passed_on, **self.environment}.items()]
        words = ["env", "-i", f"--chdir={self._at}", *given, "sh", "-c", each.text]
        done = subprocess.run(
            [*self._enter(self._stage, "rw", []), *words],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"RUN {each.text}\n{done.stdout}{done.stderr}"

    def _keep(self, each: Instruction) -> None:
        self.kept[each.name] = each.text

    def _on_arg(self, each: Instruction) -> None:
        """Put in already."""

    def _inside(self, path: str) -> Path:
        return self._stage / "upper" / path.lstrip("/")

    def _enter(self, stage: Path, mode: str, mounts: Sequence[str]) -> list[str]:
        return [
            *_UNSHARE,
            "sh",
            "-ec",
            _ENTER,
            "enter",
            str(stage),
            mode,
            sys.base_prefix,
            *mounts,
            "--",
        ]


def pid_one(process: subprocess.Popen[bytes]) -> int:
    """The id, out here, of what is PID 1 in there, once it is the program itself."""

    def look() -> int | None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if len(children) != 1:
            return None
        program = Path(f"/proc/{children[0]}/cmdline").read_bytes().split(b"\0")[0]
        return int(children[0]) if program.endswith(b"python") else None

    return wait_for("the program in the container", look)


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def _add_python(upper: Path) -> None:
    """python and pip under the names that they have in the base image."""
    base = upper / _BASE[1:]
    shutil.copytree(Path(sysconfig.get_path("purelib")) / "pip", base / "lib/pip")
    for name, call in (("python", ""), ("pip", f" {_BASE}/lib/pip")):
        python = f"/usr/local/bin/python3.{sys.version_info.minor}"
        (base / name).write_text(f'#!/bin/sh\nexec {python}{call} "$@"\n')
        (base / name).chmod(0o755)
    (upper / "etc").mkdir()
    shutil.copy(Path("/etc/resolv.conf"), upper / "etc/resolv.conf")
