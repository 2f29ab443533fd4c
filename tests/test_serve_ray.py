"The app as Ray Serve replicas on a local Ray."
import os
import socket

import httpx
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'psychoscore[ray]')")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning") # of Ray's own


@pytest.fixture
def replicas():
    "Two replicas behind Ray's proxy, on a free port."
    from ray import serve
    from psychoscore.ray_serve import build
    with socket.create_server(("127.0.0.1", 0)) as free: port = free.getsockname()[1]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}})
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build({"replicas": 2, "max_seconds": 10}))
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


def test_replicas_answer_alike(replicas):
    with httpx.Client(base_url=replicas, timeout=60) as client:
        for _ in range(200):
            if client.get("/readyz").status_code == 200: break
        answers = [client.post("/v1/generate", json={"profile": {"trauma": 0.8}, "seconds": 4, "seed": 3}) for _ in range(6)]
        assert [a.status_code for a in answers] == [200]*6 and len({a.content for a in answers}) == 1
        streamed = client.post("/v1/stream", json={"seconds": 8, "seed": 1}).text.splitlines()
        assert len(streamed) == 4
        assert client.post("/v1/generate", json={"seconds": 11}).status_code == 422
