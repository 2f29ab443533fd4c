"The app as Ray Serve replicas on a local Ray, under a route prefix and with a key."
import json
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'psychoscore[ray]')")
import psutil  # noqa: E402 (comes with ray[serve])
import yaml  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.schema import ServeDeploySchema  # noqa: E402

from psychoscore.ray_serve import build  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning") # of Ray's own
KEY = {"X-API-Key": "an-example"}
PUBLIC = "/", "/healthz", "/readyz", "/page/instrument.js"


@pytest.fixture(scope="module")
def replicas():
    "Two replicas under /music behind Ray's proxy, on a free port."
    with socket.create_server(("127.0.0.1", 0)) as free: port = free.getsockname()[1]
    variables = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    quiet = dict(include_dashboard=False, log_to_driver=False, configure_logging=False)
    ray.init(num_cpus=2, runtime_env={"env_vars": variables}, **quiet)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PSYCHOSCORE_API_KEY", KEY["X-API-Key"])
        serve.run(build({"replicas": 2, "max_seconds": 60}), route_prefix="/music")
    yield f"http://127.0.0.1:{port}/music"
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def client(replicas):
    with httpx.Client(base_url=replicas, headers=KEY, timeout=120) as client: yield client


def name(process):
    try: return " ".join(process.cmdline())
    except psutil.Error: return "" # it has ended meanwhile


def replica_ids():
    "Processes of the replicas of this test's own Ray."
    return {p.pid for p in psutil.Process().children(recursive=True) if name(p).startswith("ray::ServeReplica")}


def wait_for(condition, seconds=180):
    for _ in range(10*seconds):
        if condition(): return
        time.sleep(0.1)
    raise AssertionError("it did not come to pass")


def healthy():
    deployment = serve.status().applications["default"].deployments["psychoscore"]
    return deployment.status == "HEALTHY" and deployment.replica_states == {"RUNNING": 2}


def test_replicas_answer_alike(client):
    body = {"profile": {"trauma": 0.8}, "seconds": 4, "seed": 3}
    answers = [client.post("/v1/generate", json=body) for _ in range(6)]
    assert [a.status_code for a in answers] == [200]*6 and len({a.content for a in answers}) == 1
    assert client.post("/v1/generate", json={"seconds": 61}).status_code == 422
    assert client.post("/v1/generate", json={"seconds": 4}, headers={"Accept": "text/html"}).status_code == 406


def test_a_stream_comes_in_parts(client):
    with client.stream("POST", "/v1/stream", json={"seconds": 40, "seed": 1}) as answer:
        parts = list(answer.iter_raw())
    events = [json.loads(line)["event"] for line in b"".join(parts).splitlines()]
    assert events == ["start", *["segment"]*10, "done"]
    assert len(parts) > 2 # what Ray's proxy kept until the end would be one


def test_the_key_is_asked_for_under_the_prefix(client, replicas):
    routes = client.get("/v1/openapi.json").json()["paths"]
    asked = [(method, path) for path, methods in routes.items() for method in methods if path.startswith("/v1")]
    assert len(asked) >= 5
    for method, path in asked:
        for key in (None, "another"):
            answer = httpx.request(method, replicas + path, headers={"X-API-Key": key} if key else {})
            assert (path, answer.status_code) == (path, 401)
    assert client.get("/v1/model").status_code == 200
    for path in PUBLIC: assert (path, httpx.get(replicas + path).status_code) == (path, 200)


def ask(client, seed):
    "Ask until there is an answer; what went wrong before, and the music."
    failures, kind = [], ("generate", "stream")[seed % 2]
    while len(failures) < 200:
        try: answer = client.post(f"/v1/{kind}", json={"seconds": 8, "seed": seed}, headers={"Accept": "*/*"})
        except httpx.RemoteProtocolError as error: failures.append(str(error)); continue # a stream that was cut off
        if answer.status_code == 200: return failures, answer.content
        failures.append(answer.status_code)
        time.sleep(int(answer.headers.get("Retry-After", 0)))
    raise AssertionError(failures)


def test_a_replica_is_killed_under_load(client):
    at_once, seeds, answered = 6, range(100, 160), threading.Semaphore(0)
    def one(seed):
        result = ask(client, seed)
        answered.release()
        return result
    before = replica_ids()
    assert len(before) == 2
    with ThreadPoolExecutor(at_once) as pool:
        results = [pool.submit(one, seed) for seed in seeds]
        for _ in range(at_once): answered.acquire() # all are at work
        os.kill(victim := min(before), signal.SIGKILL)
        failures, music = zip(*[r.result() for r in results], strict=True)
    assert {f for one in failures for f in one if isinstance(f, int)} <= {429, 500, 503}
    wait_for(lambda: healthy() and len(replica_ids() - {victim}) == 2)
    assert len(replica_ids() & before) == 1 # the other one lived on
    assert list(music[:8]) == [ask(client, seed)[1] for seed in seeds[:8]] # whoever made it, and whatever happened then


def test_a_stream_that_was_cut_off_does_not_look_finished(client):
    ids = replica_ids()
    assert len(ids) == 2
    with ThreadPoolExecutor(6) as pool:
        begun = threading.Semaphore(0)
        def one(seed):
            lines = []
            try:
                with client.stream("POST", "/v1/stream", json={"seconds": 60, "seed": seed}) as answer:
                    assert answer.status_code == 200
                    for line in answer.iter_lines():
                        if not lines: begun.release()
                        lines.append(line)
            except httpx.RemoteProtocolError: return "cut off", lines
            return "ended", lines
        results = [pool.submit(one, seed) for seed in range(6)]
        for _ in range(6): begun.acquire()
        for process in ids: os.kill(process, signal.SIGKILL)
        ends = [r.result() for r in results]
    assert all(how == ("ended" if '"event":"done"' in lines[-1] else "cut off") for how, lines in ends)
    assert [how for how, _ in ends].count("cut off") >= 1
    wait_for(lambda: healthy() and len(replica_ids() - ids) == 2)
    assert client.get("/readyz").status_code == 200


def test_the_documented_file_is_one():
    page = Path(__file__).parents[1]/"nbs"/"running"/"ray_serve.ipynb"
    if not page.exists(): pytest.skip("the notebooks are not here")
    source = "\n".join("".join(cell["source"]) for cell in json.loads(page.read_text())["cells"])
    (block,) = re.findall(r"```yaml\n(.*?)```", source, re.S)
    (application,) = ServeDeploySchema.model_validate(yaml.safe_load(block)).applications
    assert application.import_path == "psychoscore.ray_serve:build" and application.route_prefix == "/music"
    assert build(application.args)._bound_deployment.num_replicas == application.args["replicas"]
