"The image and its services, checked as far as that goes without an engine: nothing is built or started here."
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
COMPOSE = ["compose.yaml", "compose.gpu.yaml"]


def tool(name): return str(Path(sys.executable).with_name(name))


def run(*command):
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_compose_files_follow_the_specification(): run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *COMPOSE)


def test_dockerfile_has_no_lint(): run(tool("hadolint"), "Dockerfile")


def test_services_are_what_they_promise():
    services, gpu = (yaml.safe_load((ROOT/name).read_text())["services"] for name in COMPOSE)
    assert services.keys() == gpu.keys() == {"psychoscore-train", "psychoscore-inference"}
    for name in services:
        assert services[name]["healthcheck"]["test"] and services[name]["volumes"] and services[name]["cap_drop"] == ["ALL"]
        assert gpu[name]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert all(port.startswith("127.0.0.1:") for port in services["psychoscore-inference"]["ports"])


def test_the_image_runs_as_nobody_special_and_copies_what_exists():
    lines = [line.split() for line in (ROOT/"Dockerfile").read_text().splitlines() if line]
    assert [line[1] for line in lines if line[0] == "USER"] == ["10001"] and any(line[0] == "HEALTHCHECK" for line in lines)
    copied = [name for line in lines if line[0] == "COPY" and not line[1].startswith("--") for name in line[1:-1]]
    allowed = {line[1:] for line in (ROOT/".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT/name).exists() for name in copied) and set(copied) == allowed


@pytest.mark.parametrize("service", ["psychoscore-train", "psychoscore-inference"])
def test_the_commands_exist(service):
    "Every option that a service passes is one of the command's."
    command = [str(word) for word in yaml.safe_load((ROOT/"compose.yaml").read_text())["services"][service]["command"]]
    said = run(sys.executable, "-m", "psychoscore.cli", command[0], "--help")
    assert all(word in said for word in command if word.startswith("--"))


@pytest.mark.skipif(shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0, reason="docker compose is not installed")
def test_docker_reads_them(): run("docker", "compose", "-f", COMPOSE[0], "-f", COMPOSE[1], "--profile", "train", "config", "--quiet")
