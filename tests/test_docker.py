"The image and its services: the files everywhere, what is built of them where there is an engine."
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import slow

ROOT = Path(__file__).parent.parent
COMPOSE = ["compose.yaml", "compose.gpu.yaml"]


def tool(name): return str(Path(sys.executable).with_name(name))


def run(*command):
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_compose_files_follow_the_specification():
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", *COMPOSE)


def test_dockerfile_has_no_lint(): run(tool("hadolint"), "Dockerfile")


def read(name): return yaml.safe_load((ROOT/name).read_text())["services"]


def test_services_are_what_they_promise():
    services, gpu = map(read, COMPOSE)
    assert services.keys() == gpu.keys() | {"psychoscore-inference"} == {"psychoscore-train", "psychoscore-inference", "psychoscore-folders"}
    for name, service in services.items():
        assert service["healthcheck"] and service["volumes"] and service["read_only"], name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert name not in gpu or gpu[name]["image"] != service["image"], name # a build for another device replaces none
    assert gpu["psychoscore-train"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    stages = re.findall(r"^FROM .+ AS (\S+)$", (ROOT/"Dockerfile").read_text(), re.MULTILINE)
    targets = {name: service["build"]["target"] for name, service in services.items()}
    assert targets["psychoscore-inference"] == "serve" == stages[-1] # what `docker build .` makes
    assert targets["psychoscore-train"] == targets["psychoscore-folders"] == "train" in stages
    assert all(service["build"]["target"] == "train" for service in gpu.values())
    for name in ("psychoscore-train", "psychoscore-inference"):
        assert services[name]["user"] == "${UID:-1000}:${GID:-1000}" and "cap_add" not in services[name]
    assert all(port.startswith("127.0.0.1:") for port in services["psychoscore-inference"]["ports"])


def test_the_image_runs_as_nobody_special_and_copies_what_exists():
    lines = [line.split() for line in (ROOT/"Dockerfile").read_text().splitlines() if line]
    assert [line[1] for line in lines if line[0] == "USER"] == ["10001:10001"]
    assert any(line[0] == "HEALTHCHECK" for line in lines)
    copied = [name for line in lines if line[0] == "COPY" and not line[1].startswith("--") for name in line[1:-1]]
    allowed = {line[1:] for line in (ROOT/".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT/name).exists() for name in copied) and set(copied) == allowed


def test_no_build_of_torch_stands_in_for_another():
    "Torch is taken from the index of one build, and pinned to it where the rest is installed from PyPI."
    serve, train = (step for step in (ROOT/"Dockerfile").read_text().split("\nRUN ") if " install --no-cache-dir" in step)
    for step in (serve, train): assert "extra-index-url" not in step and step.count("--constraint constraints.txt") == step.count(" install --no-cache-dir")
    assert train.index('s/^torch==.*/&+$TORCH/') < train.index("--index-url") < train.index('".[train]"') and "[serve]" in serve
    assert any(line.startswith("torch==") for line in (ROOT/"constraints.txt").read_text().splitlines())


@pytest.mark.parametrize("service", ["psychoscore-train", "psychoscore-inference"])
def test_the_commands_exist(service):
    "Every option that a service passes is one of the command's; nothing stands before the command's name."
    program, name, *options = [str(word) for word in read("compose.yaml")[service]["command"]]
    assert program == "psychoscore" and "ENTRYPOINT" not in (ROOT/"Dockerfile").read_text()
    said = run(sys.executable, "-m", "psychoscore.cli", name, "--help")
    assert all(word in said for word in options if word.startswith("--"))


@pytest.mark.parametrize(("service", "path"), [("psychoscore-inference", "/readyz"), (None, "/healthz")])
def test_the_health_check_asks_the_server(server, service, path):
    "It passes with a server behind it, fails without, and asks no proxy."
    given = (ROOT/"Dockerfile").read_text() if service is None else read("compose.yaml")[service]["healthcheck"]["test"]
    code = given.split('CMD ["python", "-c", "')[1].split('"]')[0] if service is None else given[-1]
    assert path in code
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    for port, passes in ((server.url.rsplit(":", 1)[1], True), ("9", False)):
        checked = subprocess.run([sys.executable, "-c", code.replace("8000", port)], capture_output=True, env=environment)
        assert (checked.returncode == 0) == passes, checked.stderr


def has_compose():
    if shutil.which("docker") is None: return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0


def has_engine(): return has_compose() and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
def test_docker_reads_them():
    run("docker", "compose", "-f", COMPOSE[0], "-f", COMPOSE[1], "--profile", "train", "config", "--quiet")


class Services:
    "The services over folders of their own, as another project than the one that may be running."
    def __init__(self, folder):
        self.folder = folder
        self.compose = ["docker", "compose", "-f", str(ROOT/"compose.yaml"), "--project-directory", str(folder),
                        "-p", "psychoscore-test"]
        self.environment = {k: v for k, v in os.environ.items() if k not in ("PSYCHOSCORE_DATA", "UID", "GID")}

    def run(self, service, *command, options=(), **environment):
        return subprocess.run([*self.compose, "run", "--rm", "-T", *options, service, *command], capture_output=True,
                              text=True, env=self.environment | environment)

    def as_root(self, *command):
        run("docker", "run", "--rm", "--user", "0", "-v", f"{self.folder}:/here", "-w", "/here", "psychoscore", *command)

    def remove(self):
        subprocess.run([*self.compose, "--profile", "train", "down"], capture_output=True, env=self.environment)
        self.as_root("rm", "-rf", "data", "runs") # which are not this user's


@pytest.fixture(scope="module")
def image():
    if not has_engine(): pytest.skip("no Docker engine with compose here")
    run("docker", "compose", "--profile", "train", "build")
    return "psychoscore"


@pytest.fixture
def services(image, tmp_path):
    services = Services(tmp_path)
    yield services
    services.remove()


@slow
def test_anyone_composes_in_the_image(image):
    "A user that is only a number, without any privilege, on a disk that cannot be written."
    command = "psychoscore compose --trauma 0.8 --seconds 4 -o a.mid -o a.wav -o a.png && ls && id -u && ! touch /runs/a"
    bounds = "--read-only --tmpfs /tmp --workdir /tmp --cap-drop ALL --network none --user 4321:4321".split()
    said = run("docker", "run", "--rm", *bounds, image, "sh", "-c", command)
    assert {"a.mid", "a.wav", "a.png", "4321"} <= set(said.split())


@slow
def test_training_writes_where_docker_made_the_folders(services):
    "Neither data nor runs are there, so Docker makes them as root; what is written is the user's."
    commands = ["psychoscore synthesize --num-pairs 20 --out data/pairs",
                "psychoscore compose --trauma 0.8 --seconds 4 -o runs/piece.mid", "! touch /here"]
    me = dict(UID="4321", GID="4322")
    made = services.run("psychoscore-train", "sh", "-c", " && ".join(commands), **me)
    assert made.returncode == 0, made.stderr
    written = services.folder/"runs"/"piece.mid"
    assert (written.stat().st_uid, written.stat().st_gid) == (4321, 4322)
    assert list((services.folder/"data"/"pairs").iterdir())
    again = services.run("psychoscore-train", "psychoscore", "train", "--data", "data/nothing", "--out", "runs/a", **me)
    assert again.returncode == 2 and "data/nothing" in again.stderr, again.stderr


@slow
def test_training_says_whose_folder_it_cannot_write(services):
    "A folder that is somebody's is left as it is."
    for name in ("data", "runs"): (services.folder/name).mkdir()
    services.as_root("chown", "5555:5555", "runs")
    refused = services.run("psychoscore-train", "psychoscore", "pipeline", UID="4321", GID="4321")
    assert refused.returncode == 1, refused.stdout
    assert "./runs belongs to user 5555:5555, and 4321:4321 cannot write there" in refused.stderr
    assert '>> .env' in refused.stderr and (services.folder/"runs").stat().st_uid == 5555


@slow
def test_the_server_becomes_healthy_and_composes(services):
    "With a key, which the health check does not know."
    name = "psychoscore-test-server"
    started = services.run("psychoscore-inference", options=("--detach", "--name", name), PSYCHOSCORE_API_KEY="secret")
    assert started.returncode == 0, started.stderr
    try:
        for _ in range(60):
            if run("docker", "inspect", "-f", "{{.State.Health.Status}}", name).strip() == "healthy": break
            time.sleep(2)
        else: raise AssertionError(run("docker", "logs", name))
        ask = """from urllib.request import Request, urlopen
headers = {"Content-Type": "application/json", "Accept": "audio/midi", "X-API-Key": "secret"}
body = b'{"profile": {"trauma": 0.8}, "seconds": 4}'
print(urlopen(Request("http://127.0.0.1:8000/v1/generate", body, headers)).read()[:4])"""
        assert run("docker", "exec", name, "python", "-c", ask) == "b'MThd'\n"
        assert run("docker", "exec", name, "id", "-u") == "1000\n"
    finally: subprocess.run(["docker", "rm", "-f", name], capture_output=True)


@slow
@pytest.mark.skipif(not has_engine(), reason="no Docker engine with compose here")
def test_a_build_that_torch_was_not_published_for_is_refused():
    refused = subprocess.run(["docker", "build", "--target", "train", "--build-arg", "TORCH=cu1", "."], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "give --build-arg TORCH= a build that torch was published for" in refused.stdout + refused.stderr
