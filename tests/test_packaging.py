"""README, Dockerfile, Compose file and examples say what is true of the code."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import readme_table
import typer
import yaml
from packaging.requirements import Requirement
from typer import main as typer_main

import kms
from kms import systemd
from kms.cli import app
from kms.errors import REASONS, ExitCode
from kms.service import _STOP_SECONDS
from kms.settings import Settings
from kms.settings_loading import load_settings
from kms.settings_table import Definition, definitions, settings_table
from kms.topics import recommended_config
from tests import image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PORT = Settings().prometheus_scraping_endpoint_port
UNITS = ("kms.service", "kms-once.service", "kms-once.timer")
MOST_EXPOSED = 20  # in tenths; systemd 252 says 1.2
THREADS = 3
IN_FILE = [each for each in definitions() if each.name not in ("config", "kafka")]


SYSTEMD = 250  # the first that looks at files of units, not only at what is installed


def systemd_version() -> int:
    """0 without systemd."""
    if shutil.which("systemd-analyze") is None:
        return 0
    found = re.match(r"systemd (\d+)", systemd_analyze("--version").stdout)
    return int(found[1]) if found else 0


def systemd_analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


needs_systemd = pytest.mark.skipif(
    systemd_version() < SYSTEMD, reason=f"no systemd-analyze, or of a systemd before {SYSTEMD}"
)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What it prints; a failure shows everything."""
    environment = {name: it for name, it in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of(folder: Path) -> set[Path]:
    """All that is no cache, as seen from the folder."""
    found = (it.relative_to(folder) for it in folder.rglob("*") if it.is_file())
    return {it for it in found if "__pycache__" not in it.parts}


def code_blocks(text: str) -> list[list[str]]:
    """The lines of each block of code."""
    found = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [[line for line in block.splitlines() if line] for block in found]


def instructions(name: str) -> list[str]:
    """The arguments of each such line of the Dockerfile, ARG's value put in."""
    found = image.instructions(DOCKERFILE)
    return [" ".join(each.text.split()) for each in found if each.name == name]


def volumes() -> list[tuple[str, str]]:
    """Which service mounts what: a volume's name or a path."""
    return [
        (name, volume.partition(":")[0])
        for name, service in COMPOSE["services"].items()
        for volume in service.get("volumes", [])
    ]


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that ``run`` would have; every variable must be one of kms."""
    ours = {each.env for each in definitions()}
    for name in environment:
        assert name in ours or name.startswith("KAFKA_"), f"{name} is no setting"
    settings = load_settings({}, environment, required=["schedule_topics"])
    assert settings.ignored_variables == ()
    return settings


class TestReadme:
    def test_tables_are_those_of_the_code(self) -> None:
        assert settings_table() in README
        assert readme_table.with_tables(README) == README, "run scripts/readme-table"

    def test_a_missing_marker_is_told(self) -> None:
        with pytest.raises(ValueError, match="<!-- metrics -->"):
            readme_table.with_tables(README.replace("<!-- end of metrics -->\n", ""))

    def test_exit_codes_are_those_of_the_code(self) -> None:
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \| .+ \|$", README, re.MULTILINE)
        assert rows == [(str(code.value), code.name) for code in ExitCode]

    def test_reasons_are_those_of_the_code(self) -> None:
        section = README.partition("\n## When a schedule can't be fired\n")[2].partition("\n## ")[0]
        assert tuple(re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)) == REASONS

    def test_the_two_commands_are_at_its_top(self) -> None:
        block = code_blocks(README)[0]
        assert [line.split()[0] for line in block] == ["./scripts/demo", "./scripts/test"]

    def test_every_file_it_links_to_is_there(self) -> None:
        links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
        assert links
        for link in links:
            assert (ROOT / link).exists(), link


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_scripts_that_are_named_are_there(name: str) -> None:
    scripts = set(re.findall(r"\bscripts/[a-z_-]+", (ROOT / name).read_text(encoding="utf-8")))
    assert scripts
    for script in scripts:
        assert (ROOT / script).is_file(), script


def kms_commands() -> Iterator[str]:
    """What follows ``kms.py`` in every command line that is shown somewhere."""
    blocks = [
        *code_blocks(README),
        re.findall(r"`(python kms\.py [^`]+)`", README),
        (ROOT / "docker-compose.yml").read_text().splitlines(),
        (ROOT / "config/kms.toml").read_text().splitlines(),
        (ROOT / "config/kms.service").read_text().splitlines(),
        (ROOT / "config/kms-once.service").read_text().splitlines(),
        (ROOT / "config/kms.cron").read_text().splitlines(),
    ]
    for line in (line for block in blocks for line in block):
        found = re.search(r"\bpython\S* (?:/opt/kms/)?kms\.py (.+)", line)
        if found:
            yield re.sub(r"\s*(2>&1|[&|#]).*", "", found[1])


@pytest.mark.parametrize("line", sorted(set(kms_commands())))
def test_every_command_shown_is_one(line: str) -> None:
    """It is parsed by the command's own options, not run."""
    words = shlex.split(line)
    command: Any = typer_main.get_command(app)
    context = typer.Context(command)
    while hasattr(command, "commands"):
        word = words.pop(0)
        assert word in command.commands, f"there is no command {word}"
        command = command.commands[word]
    with command.make_context(command.name, words, parent=context):
        pass


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == kms.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    assert "## [Unreleased]" in changelog
    assert released[:1] in ([], [kms.__version__])


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_bounded_on_both_sides(name: str) -> None:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    wanted = [line for line in lines if line and not line.startswith("-r ")]
    assert wanted
    for line in wanted:
        assert re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+,<[\d.]+", line), line


@pytest.mark.slow
class TestInstallation:
    """In a program's environment, from a copy of the checkout that is no longer there."""

    PROGRAM = """
from kms.client import AsyncScheduleClient, Schedule, ScheduleClient

def remind(schedules: ScheduleClient) -> str:
    found: Schedule | None = schedules.get(schedules.every(60, to="orders", count=3))
    schedules.at(1, to="orders", vlaue="x")  # type: ignore[call-arg]
    schedules.after(1)  # type: ignore[call-arg]
    return schedules.cancel("x") if found is None else found.topic

async def later(schedules: AsyncScheduleClient) -> bytes:
    return await schedules.cancel(b"x")
"""

    @pytest.fixture(scope="class")
    @staticmethod
    def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Of an environment with kms and what it needs."""
        folder = tmp_path_factory.mktemp("installed")
        shutil.copytree(ROOT / "kms", folder / "source/kms")
        (folder / "source/config").mkdir()  # what else lies in the checkout
        for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "kms.py"):
            shutil.copy(ROOT / name, folder / "source")
        venv.create(folder / "venv")
        python = folder / "venv/bin/python"
        (packages,) = (folder / "venv").glob("lib/python*/site-packages")
        # The rest of this environment, without its kms.pth, which names the checkout. So what is
        # required is there already, and so is what builds: nothing is downloaded.
        (packages / "rest.pth").write_text(sysconfig.get_path("purelib"))
        run(
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--no-index", "--no-deps", "--no-build-isolation", folder / "source"),
        )
        shutil.rmtree(folder / "source")
        return python

    def test_it_has_all_files(self, python: Path) -> None:
        where = run(python, "-I", "-c", "import kms.client, kms; print(*kms.__path__)").strip()
        assert Path(where).is_relative_to(python.parents[1])
        wanted, found = files_of(ROOT / "kms"), files_of(Path(where))
        assert {Path("web/page.html"), Path("py.typed")} < wanted == found
        assert not Path(where).with_suffix(".py").exists(), "it is a script of the checkout"

    def test_it_brings_what_is_required(self, python: Path) -> None:
        code = (
            "import importlib.metadata as m; print(*m.requires('kafka-message-scheduler'), sep=';')"
        )
        found = {Requirement(it) for it in run(python, "-I", "-c", code).strip().split(";")}
        lines = (ROOT / "requirements.txt").read_text().splitlines()
        assert found == {Requirement(line.partition("#")[0]) for line in lines if line[0] != "#"}

    def test_a_type_checker_knows_it(self, python: Path, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text(self.PROGRAM)
        mypy = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python)
        assert "no issues found" in run(*mypy, "--config-file=", "program.py", cwd=tmp_path)


class TestDockerfile:
    def test_what_it_copies_is_there_and_in_the_build_context(self) -> None:
        lines = [line for line in instructions("COPY") if not line.startswith("--from=")]
        copied = [word for line in lines for word in line.split()[:-1]]
        assert {"config/requirements.lock", "kms.py", "kms"} <= set(copied)
        let_in = (ROOT / ".dockerignore").read_text().splitlines()
        assert "*" in let_in, "whatever else lies about stays out"
        assert {f"!{name}" for name in copied} == {it for it in let_in if it.startswith("!")}
        for name in copied:
            assert (ROOT / name).exists(), name

    def test_entry_point_is_the_program_itself(self) -> None:
        (entry,) = instructions("ENTRYPOINT")
        python, program = json.loads(entry)  # exec form: signals reach Python
        assert python == "python"
        assert (ROOT / program).is_file()
        (command,) = instructions("CMD")
        assert json.loads(command) == ["run"]

    def test_runs_as_somebody_else_than_root(self) -> None:
        (user,) = instructions("USER")
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)

    def test_the_cache_is_in_the_volume(self) -> None:
        found = re.search(r"\bKMS_CACHE=(\S+)", DOCKERFILE)
        assert found is not None
        assert [str(Path(found[1]).parent)] == instructions("VOLUME")

    def test_ports_are_the_default_one(self) -> None:
        assert instructions("EXPOSE") == [str(PORT)]
        assert f"or '{PORT}'" in instructions("HEALTHCHECK")[0]

    def test_its_stages_are_of_one_base_pinned_to_the_patch(self) -> None:
        """And Python is one that kms supports."""
        bases = {line.partition(" AS ")[0] for line in instructions("FROM")}
        assert len(instructions("FROM")) == 2
        (base,) = bases
        found = re.fullmatch(r"python:3\.(\d+)\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", base)
        assert found is not None, base
        assert int(found[1]) >= 11

    def test_its_version_is_that_of_kms(self) -> None:
        assert f'image.version="{kms.__version__}"' in DOCKERFILE


class TestLockFile:
    TEXT = (ROOT / "config/requirements.lock").read_text()

    def test_it_has_what_is_required_within_its_bounds(self) -> None:
        locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", self.TEXT, re.MULTILINE))
        lines = (ROOT / "requirements.txt").read_text().splitlines()
        for wanted in (Requirement(line.partition("#")[0]) for line in lines if line[0] != "#"):
            version = locked.get(wanted.name)
            assert version is not None, f"{wanted.name} is not locked: ./scripts/lock"
            assert wanted.specifier.contains(version), f"{wanted} is {version}: ./scripts/lock"

    def test_every_version_has_its_hashes(self) -> None:
        for block in re.split(r"^(?=\w)", self.TEXT, flags=re.MULTILINE)[1:]:
            assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", block, re.MULTILINE), block


class TestCompose:
    def test_the_settings_of_kms_are_settings(self) -> None:
        settings = settings_of(COMPOSE["services"]["kms"]["environment"])
        kafka = COMPOSE["services"]["kafka"]["environment"]
        assert f"INTERNAL://{settings.kafka_brokers}" in kafka["KAFKA_ADVERTISED_LISTENERS"]

    def test_the_topics_are_made_as_recommended(self) -> None:
        (script,) = COMPOSE["services"]["topics"]["command"]
        (schedules,) = COMPOSE["services"]["kms"]["environment"]["SCHEDULE_TOPICS"].split(",")
        topics = script.replace("\\\n", " ").splitlines()
        (line,) = [line for line in topics if f"--topic {schedules} " in line]
        config = dict(re.findall(r"--config (\S+?)=(\S+)", line))
        assert config == recommended_config()

    def test_each_waits_for_what_it_needs(self) -> None:
        services = COMPOSE["services"]
        assert services["topics"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
        assert services["kms"]["depends_on"] == {
            "topics": {"condition": "service_completed_successfully"}
        }
        assert "healthcheck" in services["kafka"]

    def test_pull_leaves_out_what_no_registry_has(self) -> None:
        """Else ``docker-compose pull`` fails, and ``&& docker-compose up -d`` is not reached."""
        for name, service in COMPOSE["services"].items():
            if "build" in service:
                assert service["pull_policy"] == "build", name
                assert (ROOT / service["build"] / "Dockerfile").is_file()
            else:
                assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), "pin the version"

    def test_the_cache_and_all_data_are_in_volumes(self) -> None:
        named = {volume: name for name, volume in volumes() if not volume.startswith(".")}
        assert set(named) == set(COMPOSE["volumes"])
        assert ("kms", "kms-cache") in set(volumes())
        (mount,) = COMPOSE["services"]["kms"]["volumes"]
        assert [mount.partition(":")[2]] == instructions("VOLUME")

    def test_kms_can_do_no_more_than_it_has_to(self) -> None:
        service = COMPOSE["services"]["kms"]
        assert service["read_only"] is True
        assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "command" not in service, "the image's own"
        assert "entrypoint" not in service, "the image's own"

    def test_mounted_files_are_there(self) -> None:
        mounted = [volume for _, volume in volumes() if volume.startswith(".")]
        assert mounted == ["./config/prometheus.yml", "./config/prometheus-alerts.yml"]
        assert all((ROOT / name).is_file() for name in mounted)

    def test_prometheus_scrapes_the_service(self) -> None:
        config = yaml.safe_load((ROOT / "config/prometheus.yml").read_text())
        (job,) = config["scrape_configs"]
        (targets,) = [each["targets"] for each in job["static_configs"]]
        assert targets == [f"kms:{PORT}"]
        assert f"{PORT}:{PORT}" in COMPOSE["services"]["kms"]["ports"]
        assert "9090:9090" in COMPOSE["services"]["prometheus"]["ports"]


class TestSettingsExample:
    PATH = ROOT / "config/kms.toml"

    def test_it_loads(self) -> None:
        settings = load_settings({"config": self.PATH}, {}, required=["schedule_topics"])
        assert settings.schedule_topics == ("schedules",)

    def test_what_is_commented_out_loads_and_is_the_default(self, tmp_path: Path) -> None:
        """``#name = value`` is a setting, ``# text`` is none."""
        path = tmp_path / "kms.toml"
        path.write_text(re.sub(r"^#(?=\S)", "", self.PATH.read_text(), flags=re.MULTILINE))
        settings = load_settings({"config": path}, {})
        assert list(tomllib.loads(path.read_text())) == [*(each.name for each in IN_FILE), "kafka"]
        assert set(settings.kafka) >= {"sasl.mechanism", "ssl.ca.location"}
        example_only = {
            "schedule_topics",
            "json_schedule_topics",
            "header_schedule_topics",
            "kms_http_token",
            "registry_schedule_topics",
            "kms_instance_id",
            "kms_dead_letter_topic",
            "history_topic",
            "kms_rate_limits",
        }
        for each in IN_FILE:
            if each.name not in example_only and not re.search("store_|registry_", each.name):
                default = Settings.model_fields[each.name].default
                assert getattr(settings, each.name) == default, each.name

    @pytest.mark.parametrize("setting", IN_FILE, ids=lambda each: str(each.name))
    def test_every_setting_has_its_help(self, setting: Definition) -> None:
        text = self.PATH.read_text()
        (comment,) = re.findall(rf"((?:^# .*\n)+)^#?{setting.name} = ", text, re.MULTILINE)
        said = " ".join(line.removeprefix("# ") for line in comment.splitlines())
        assert setting.help.removesuffix(".") in said


def unit(name: str) -> dict[str, list[str]]:
    """What a unit sets, whatever the section; each setting may come more than once."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "config" / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


class TestSystemdUnits:
    SERVICE, ONCE, TIMER = unit("kms.service"), unit("kms-once.service"), unit("kms-once.timer")
    HARDENED = (ROOT / "config/kms.service").read_text().partition("\nNoNewPrivileges=")[2]

    @pytest.mark.parametrize("service", [SERVICE, ONCE], ids=["kms", "kms-once"])
    def test_it_runs_kms_with_real_settings(self, service: dict[str, list[str]]) -> None:
        words = shlex.split(" ".join(service["Environment"]).replace("%H", "host.example"))
        environment = dict(word.split("=", 1) for word in words)
        environment.pop("PYTHONFAULTHANDLER", None)
        settings = settings_of(environment | {"SCHEDULE_TOPICS": "schedules"})
        assert settings.kms_cache == Path("/var/lib/kms/kms.sqlite")
        assert service["StateDirectory"] == service["User"] == ["kms"]
        (command,) = service["ExecStart"]
        assert "--config /etc/kms/kms.toml" in command

    def test_a_wrong_setting_is_not_tried_again(self) -> None:
        assert self.SERVICE["Restart"] == ["on-failure"]
        assert self.SERVICE["RestartPreventExitStatus"] == [str(ExitCode.USAGE.value)]

    def test_systemd_and_kms_agree_on_times(self) -> None:
        assert self.SERVICE["Type"] == ["notify"]
        assert self.SERVICE["TimeoutStartSec"] == [str(systemd.START_SECONDS)]
        for service in (self.SERVICE, self.ONCE):
            (stop,) = service["TimeoutStopSec"]
            assert int(stop) > THREADS * _STOP_SECONDS

    def test_the_timer_starts_the_one_that_ends(self) -> None:
        assert self.TIMER["OnCalendar"] == ["minutely"]
        assert self.ONCE["Type"] == ["oneshot"]
        assert " --once " in self.ONCE["ExecStart"][0]
        assert "Conflicts" not in self.ONCE, "it would stop the service, each minute"
        assert "Install" not in (ROOT / "config/kms-once.service").read_text()

    def test_both_are_confined_alike(self) -> None:
        hardened = self.HARDENED.partition("\n[Install]")[0].strip()
        assert (ROOT / "config/kms-once.service").read_text().strip().endswith(hardened)

    @needs_systemd
    def test_systemd_finds_no_mistake(self, tmp_path: Path) -> None:
        paths = []
        for name in UNITS:
            text = (ROOT / "config" / name).read_text()
            paths.append(tmp_path / name)
            paths[-1].write_text(text.replace("/opt/kms/.venv/bin/python", sys.executable))
        done = systemd_analyze("verify", *paths)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @needs_systemd
    @pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".service")])
    def test_systemd_calls_it_well_confined(self, name: str) -> None:
        """From 10, as a service is by itself, down to 0, which nobody reaches with a network."""
        threshold = ("--offline=true", f"--threshold={MOST_EXPOSED}")
        done = systemd_analyze("security", *threshold, ROOT / "config" / name)
        assert done.returncode == 0, done.stdout
        assert "Overall exposure level" in done.stdout


def test_the_cron_lines_variables_are_settings() -> None:
    lines = (ROOT / "config/kms.cron").read_text().splitlines()
    names = [found[1] for line in lines if (found := re.match(r"(\w+)=", line))]
    assert names == ["KMS_CONFIG", "KMS_CACHE"]
    assert set(names) <= {each.env for each in definitions()}
    (entry,) = [line for line in lines if line.startswith("@")]
    assert entry.startswith("@reboot kms ")
    (once,) = [line for line in lines if line.startswith("#*")]
    assert once.startswith("#* * * * * kms ")
    assert " run --once " in once
