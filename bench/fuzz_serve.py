"""What the server answers to requests that schemathesis makes up: no error of its own, no open route, nothing undescribed.

Schemathesis reads the app's own OpenAPI description, and makes up right and wrong requests, and chains of them, for a tiny
model. Three ways: without a key; with a key that the client has; with a key that it has not. Every request is counted by
the server itself. Exit code 1 when something was wrong.
Usage: python bench/fuzz_serve.py [--requests 20000] [--out reports/bench/fuzz_serve.json]
"""
import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import httpx
import numpy as np
import uvicorn

from bench.common import make_parser, run_script, write_json
from psychoscore.compose import Composer
from psychoscore.model import ModelConfig, make_model
from psychoscore.search import Index
from psychoscore.serve import make_app
from psychoscore.settings import Settings

ALWAYS_OPEN = ("/", "/healthz", "/readyz", "/page", "/piano", "other")  # `other` is what no route has taken
NO_CHECK = "positive_data_acceptance"  # some rules, such as profile or trajectory, no schema can say


def small_composer(): return Composer(make_model(ModelConfig(width=32, layers=1, heads=2, mlp_width=32)), {"key_relative": True})


@contextlib.contextmanager
def running(settings, **config):
    "The app with a tiny model, in a thread; its address."
    listener, app, rng = socket.create_server(("127.0.0.1", 0)), make_app(settings, small_composer()), np.random.default_rng(0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, **config))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started or app.state.engine.composer is None: time.sleep(0.05)
    app.state.index = Index(("a.mid", "b.mid"), ("", ""), rng.normal(size=(2, 32)).astype("f4"), rng.random((2, 2), "f4"), "")
    try: yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def answered(url):
    "(route, status) -> how many, as the server counts them."
    lines = re.findall(r'psychoscore_requests_total\{route="([^"]*)",status="(\d+)"\} (\S+)', httpx.get(f"{url}/metrics").text)
    return {(route, int(status)): int(float(count)) for route, status, count in lines}


def attack(url, key, folder, examples, seed):
    "One run of schemathesis against a server."
    options = {"exclude-checks": NO_CHECK, "max-examples": examples, "seed": seed, "generation-database": "none", "request-timeout": 60,
               "phases": "examples,coverage,fuzzing,stateful"} | ({"header": f"X-API-Key: {key}"} if key else {})
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/v1/openapi.json", "--no-color", *(f"--{k}={v}" for k, v in options.items())]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    tested = re.search(r"Tested: +(\d+)", result.stdout)
    return dict(returncode=result.returncode, operations=int(tested[1]) if tested else 0, output=result.stdout[-4000:] + result.stderr[-2000:])


def fuzz(key, folder, examples, seed=1):
    "What became of it, for a client with the server's key, and for one without when there is one."
    said = {}
    for given in (None, key) if key else (None,):
        public = ("metrics", "openapi") if given is None else ("metrics",)
        with running(Settings(max_seconds=4, api_key=key, public=public, client_share=1, deadline_s=600)) as url:
            if key and given is None:  # a stranger's answers are not those that the description promises
                result = attack(url, None, folder, examples, seed) | dict(returncode=0)
            else: result = attack(url, given, folder, examples, seed)
            counts = answered(url)
        opened = [route for (route, status), _ in counts.items() if key and given is None and route not in (*ALWAYS_OPEN, "/metrics", "/v1/openapi.json") and status not in (401, 400, 405, 413, 415, 431)]
        name = "no key" if key is None else "a stranger" if given is None else "with the key"
        said[name] = result | dict(requests=sum(counts.values()), answers={f"{route} {status}": n for (route, status), n in sorted(counts.items())},
                                   server_errors=[f"{route} {status}" for route, status in counts if status in (500, 502)], opened=opened)
    return said


def main():
    parser = make_parser(__doc__, "bench/fuzz_serve.json")
    parser.add_argument("--requests", type=int, default=20_000, help="at least so many, all ways together")
    parser.add_argument("--examples", type=int, default=100, help="made up for each operation, in one run")
    args = parser.parse_args()
    rounds, total, seed = [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        while total < args.requests:
            for key in (None, "sesame"):
                said = fuzz(key, folder, args.examples, seed := seed + 1)
                rounds += [dict(client=name, seed=seed) | result for name, result in said.items()]
                total += sum(result["requests"] for result in said.values())
            print(f"{total} requests", *(f"{r['client']}: {r['requests']}, exit {r['returncode']}, errors {r['server_errors']}, opened {r['opened']}" for r in rounds[-3:]), sep="; ", flush=True)
    for each in rounds:
        if not each["returncode"]: del each["output"]
    wrong = [each for each in rounds if each["returncode"] or each["server_errors"] or each["opened"]]
    report = dict(requests=total, rounds=len(rounds), wrong=len(wrong), of=rounds)
    write_json(report, args.out)
    print(json.dumps(wrong, indent=1) if wrong else f"{total} requests: no server error, no open route, nothing that is not described")
    sys.exit(bool(wrong))


if __name__ == "__main__": run_script(main)
