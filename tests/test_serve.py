"The server from outside: hostile input, load, cancelled and stopped work, privacy, keys."
import asyncio
import base64
import concurrent.futures
import gzip
import json
import math
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from starlette.datastructures import State

from bench.serve import BARS, Soak, measured, verdicts
from conftest import Server
from bench.fuzz_serve import fuzz, running, small_composer
from psychoscore.batching import Engine, Full, Job, Late, close
from psychoscore.draft import Draft, Manner
from psychoscore.guard import Patient
from psychoscore.request import Request
from psychoscore.midi import read_midi
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.search import Index
from psychoscore.profile import PsychometricProfile
from psychoscore.routes import MUSICXML, SLOW, begin, finished, side_by_side
from psychoscore.serve import make_app, serve
from psychoscore.settings import Settings

GOOD = {"profile": {"trauma": 0.8, "entropy": 0.2}, "seconds": 4, "seed": 3}
SCALE = midi_bytes(make_notes(np.arange(40)/4, np.full(40, 0.25), 50 + np.arange(40) % 24, 80))


def chunk(kind, body, size=None): return kind + struct.pack(">I", len(body) if size is None else size) + body


HEAD = chunk(b"MThd", struct.pack(">HHH", 0, 1, 480))
MIDI = {
    "empty": b"", "truncated": SCALE[:100], "gigabytes promised": HEAD + chunk(b"MTrk", b"\0\x90\x40\x40", 2**31), "long header": chunk(b"MThd", b"\0\0\0\1\1\xe0", 2**32 - 1),
    "zip": b"PK\3\4" + bytes(100), "noise": np.random.default_rng(0).bytes(5000), "a million notes": HEAD + chunk(b"MTrk", b"\0\x90\x40\x40" + b"\1\x40\0\1\x40\x40"*1_000_000),
    "too many notes": HEAD + chunk(b"MTrk", b"\0\x90\x40\x40" + b"\x60\x40\0\0\x40\x40"*60_000 + b"\0\xff\x2f\0"), "text": b"MThd, I swear", "no division": chunk(b"MThd", b"\0\0\0\1\0\0") + chunk(b"MTrk", b"\0\xff\x2f\0"),
    "no piano": midi_bytes(make_notes([0, 1], [1, 1], [12, 120], 80)), "html": b"<!doctype html><title>Moved</title>", "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(30), "gzip bomb": gzip.compress(SCALE + bytes(5_000_000)),
    "years": HEAD + chunk(b"MTrk", b"\xff\xff\xff\x7f\x90\x40\x40\xff\xff\xff\x7f\x40\0"*20 + b"\0\xff\x2f\0"),
}


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client: yield client


def errors(answer):
    "The error's fields, once it is sure that it is a well-formed 4xx without a trace."
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert "Traceback" not in answer.text and "File \"" not in answer.text
    said = answer.json()["errors"]
    assert said and all(e["field"] and e["message"] for e in said)
    return [e["field"] for e in said]


def until(said, seconds=20):
    "Wait until something is true."
    for _ in range(int(seconds*20)):
        if said(): return
        time.sleep(0.05)
    raise AssertionError("it did not become true")


# --- bad input

@pytest.mark.parametrize(("body", "fields"), [
    ({"profile": {"trauma": 1.5}}, ["profile.trauma"]), ({"profile": {"trauma": "0.5", "entropy": True}}, ["profile.trauma", "profile.entropy"]), ({"profile": {"truama": 0.5}}, ["profile.truama"]),
    ({"profile": [0.5, 0.5]}, ["profile"]), ({"trajectory": []}, ["trajectory"]), ({"trajectory": [{"seconds": -1, "profile": {}}]}, ["trajectory.0.seconds"]),
    ({"trajectory": [{"seconds": 5, "profile": {}}, {"seconds": 5, "profile": {}}]}, ["trajectory"]), ({"trajectory": [{"seconds": 0, "profile": {"trauma": 0.5}}, {"seconds": 5, "profile": {}}]}, ["trajectory"]),
    ({"profile": {}, "trajectory": [{"seconds": 0, "profile": {}}]}, ["trajectory"]), ({"seconds": 0}, ["seconds"]), ({"seconds": 301}, ["seconds"]), ({"seconds": "10"}, ["seconds"]), ({"seconds": True}, ["seconds"]), ({"seconds": None}, ["seconds"]),
    ({"seconds": 10**400}, ["seconds"]), ({"seed": -1}, ["seed"]), ({"seed": 2**53}, ["seed"]), ({"seed": 1.5}, ["seed"]), ({"takes": 0}, ["takes"]), ({"takes": 9}, ["takes"]), ({"takes": True}, ["takes"]), ({"temperature": 0}, ["temperature"]), ({"key": "H"}, ["key"]), ({"mode": "blue"}, ["mode"]),
    ({"use_dynamic_temperature": 1}, ["use_dynamic_temperature"]), ({"use_dynamic_temperature": None}, ["use_dynamic_temperature"]), ({"schedule": "constant"}, ["schedule"]),
    ({"guidance": 2}, ["guidance"]), ({"tempo": 120}, ["tempo"]), ({"prompt_midi": "%%%"}, ["prompt_midi"]), ({"prompt_midi": base64.b64encode(SCALE).decode(), "seconds": 5}, ["seconds"]),
    ({"prompt_midi": base64.b64encode(SCALE).decode(), "key": "C"}, ["key"]), ({"\ud800": 1}, ["body"]), ({"key": "\ud800"}, ["key"]), (None, ["body"]), (7, ["body"]), ([], ["body"]),
])
@pytest.mark.parametrize("route", ["/v1/generate", "/v1/stream"])
def test_a_wrong_field_is_named(client, route, body, fields):
    answer = client.post(route, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert errors(answer) == fields


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"seconds": NaN}', b'{"seconds": Infinity}', b'{"seconds": 1e999}', b"[" * 100_000, b'{"profile": ' * 20_000, b'{"seed": ' + b"9"*5000 + b"}", b"\0" * 1000])
def test_a_body_that_is_no_json(client, content):
    for content_type in ("application/json", "text/plain", "", "application/json; charset=\xff".encode("latin1")):
        errors(client.post("/v1/generate", content=content, headers={"Content-Type": content_type}))


@pytest.mark.parametrize("name", MIDI)
def test_bad_midi_is_refused(client, name):
    assert errors(client.post("/v1/profile", content=MIDI[name])) == ["body"]
    answer = client.post("/v1/generate", json=GOOD | {"prompt_midi": base64.b64encode(MIDI[name]).decode(), "seconds": 60})
    assert set(errors(answer)) <= {"prompt_midi", "body"}
    assert set(errors(client.post("/v1/search", json={"midi": base64.b64encode(MIDI[name]).decode()}))) <= {"midi", "body"}


@pytest.mark.parametrize(("body", "headers", "says"), [
    ({"content": b""}, {}, "an empty file"), ({"files": {"file": SCALE}}, {}, "a multipart form"), ({"json": {"midi": "TVRoZA=="}}, {}, "JSON"), ({"content": base64.b64encode(SCALE)}, {}, "not a MIDI file"),
    ({"content": SCALE.replace(b"\0", b"").replace(b"\n", b"")}, {"Content-Type": "application/x-www-form-urlencoded"}, ""), ({"content": MIDI["zip"]}, {}, "a zip archive"), ({"content": MIDI["wav"]}, {}, "such as WAV"), ({"content": MIDI["html"]}, {}, "HTML or XML")])
def test_what_is_sent_in_place_of_a_file_is_named(client, body, headers, says):
    answer = client.post("/v1/profile", headers=headers, **body)
    assert errors(answer) == ["body"] and says in (said := answer.json()["errors"][0]["message"]) and said.endswith("as curl --data-binary @piece.mid sends it")


def test_a_body_that_http_compressed_is_refused_by_name(client):
    for route in ("profile", "generate"):
        answer = client.post(f"/v1/{route}", content=gzip.compress(SCALE), headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 415 and errors(answer) == ["Content-Encoding"]
    assert client.post("/v1/profile", content=gzip.compress(SCALE)).json() == client.post("/v1/profile", content=SCALE).json() # a .mid.gz is a file


def test_base64_as_others_write_it(client):
    written = [base64.b64encode(SCALE).decode(), base64.encodebytes(SCALE).decode(), base64.encodebytes(SCALE).decode().replace("\n", "\r\n"), "data:audio/midi;base64," + base64.b64encode(SCALE).decode()]
    answers = [client.post("/v1/search", json={"midi": text}) for text in written]
    assert [a.status_code for a in answers] == [200]*4 and len({a.content for a in answers}) == 1


LONG = midi_bytes(make_notes(np.arange(160)/4, np.full(160, 0.25), 50 + np.arange(160) % 24, 80))
REMARKED = midi_bytes(make_notes(np.arange(160)/4, np.full(160, 0.25), np.r_[15, 50 + np.arange(159) % 24], 80)) # with a note below the piano


def test_remarks_are_sent_with_every_answer(client):
    "The same words in JSON, in a header and at the start of a stream; none where nothing is to be said."
    remarks, body = list(read_midi(REMARKED).remarks), {"prompt_midi": base64.b64encode(REMARKED).decode(), "seconds": 42, "seed": 1}
    assert len(remarks) == 1 and "outside the piano" in remarks[0]
    heard = client.post("/v1/profile", content=REMARKED).json()
    assert heard["remarks"] == remarks and heard["notes"] == 159
    composed = client.post("/v1/generate", json=body, headers={"Accept": "application/json"})
    assert composed.json()["remarks"] == remarks and composed.headers["Psychoscore-Remarks"] == remarks[0]
    assert client.post("/v1/generate", json=body).headers["Psychoscore-Remarks"] == client.post("/v1/search", json={"midi": body["prompt_midi"]}).headers["Psychoscore-Remarks"] == remarks[0]
    assert [json.loads(line).get("remarks") for line in client.post("/v1/stream", json=body).text.splitlines()][0] == remarks
    two = client.post("/v1/profile", content=midi_bytes(make_notes([0, 1], [1, 1], [60, 64], 80))).json()["remarks"]
    assert len(two) == 1 and two[0].startswith("too short to tell: 2 notes")
    assert client.post("/v1/profile", content=LONG).json()["remarks"] == [] and "Psychoscore-Remarks" not in client.post("/v1/generate", json=GOOD).headers


def test_the_largest_file_fits_in_base64(client):
    "One of exactly as many bytes as may be, wrapped in lines; with one more it is refused by the reader, and past the body's limit before it is read."
    def padded(size): return SCALE + chunk(b"XXXX", bytes(size - len(SCALE) - 8))
    def ask(data): return client.post("/v1/search", json={"midi": base64.encodebytes(data).decode()})
    assert ask(padded(2**20)).status_code == 200
    assert client.post("/v1/profile", content=padded(2**20)).status_code == 200 # it comes in many pieces
    assert "more than 1,048,576 bytes" in ask(padded(2**20 + 1)).json()["errors"][0]["message"]
    assert ask(padded(2**21)).status_code == 413


def test_bodies_under_way_share_their_room(small_server, monkeypatch):
    "Two half-sent bodies fill it: 429 for a third, while what has no body is answered; then room again."
    monkeypatch.setattr("psychoscore.guard.MAX_HELD_BYTES", 10_000)
    def status(): return (answer := httpx.post(f"{small_server}/v1/profile", content=SCALE.ljust(6000, b"\0"), timeout=60)).status_code, answer.headers.get("Retry-After")
    with open_wire(small_server, b"Content-Length: 9000") as wire:
        wire.sendall(b" "*8000)
        until(lambda: status() == (429, "1"))
        assert httpx.get(f"{small_server}/v1/model").status_code == 200
    until(lambda: status()[0] == 200)


def test_a_prompt_too_dense_for_the_model(client):
    dense = midi_bytes(make_notes(np.arange(400)/100, np.full(400, 0.03), 30 + np.arange(400) % 70, 80))
    assert errors(client.post("/v1/generate", json={"prompt_midi": base64.b64encode(dense).decode(), "seconds": 12})) == ["prompt_midi"]


def test_a_long_prompt_is_continued(client):
    long = make_notes(np.arange(700)/10, np.full(700, 0.1), 40 + np.arange(700) % 40, 80) # more tokens than the model's context
    answer = client.post("/v1/generate", json={"prompt_midi": base64.b64encode(midi_bytes(long)).decode(), "seconds": 80, "seed": 1}, headers={"Accept": "application/json"})
    assert answer.status_code == 200 and len(answer.json()["notes"]) > 700


def test_fuzzed_midi(client):
    "Bytes of a good file changed, cut out, put in: an estimate or a named field, and the server lives."
    rng = random.Random(0)
    seen = set()
    for _ in range(300):
        data = bytearray(SCALE)
        for _ in range(rng.randint(1, 4)):
            at, wrong = rng.randrange(len(data)), rng.randbytes(rng.randint(1, 3))
            data[at:at + rng.choice([0, len(wrong), len(wrong), len(wrong)])] = wrong
        if rng.random() < 0.1: del data[rng.randrange(10, len(data)):]
        answer = client.post("/v1/profile", content=bytes(data))
        seen.add(answer.status_code)
        if answer.status_code != 200: assert errors(answer) == ["body"]
    assert seen == {200, 422}


def open_wire(url, head):
    "A connection on which the head of a POST has been sent."
    host, port = url.removeprefix("http://").split(":")
    wire = socket.create_connection((host, int(port)), timeout=20)
    wire.sendall(b"POST /v1/generate HTTP/1.1\r\nHost: x\r\nX-API-Key: open-sesame\r\nContent-Type: application/json\r\n" + head + b"\r\n\r\n")
    return wire


def test_the_body_is_measured_as_it_comes(server):
    "A body without a length, sent bit by bit, is refused as soon as it has grown too large."
    with open_wire(server.url, b"Transfer-Encoding: chunked") as wire:
        for _ in range(80): wire.sendall(b"8000\r\n" + b" "*32768 + b"\r\n") # 2,560 of endless kilobytes
        answer = b""
        while b"}" not in answer and (part := wire.recv(65536)): answer += part # headers and body may come apart
    assert b" 413 " in answer.split(b"\r\n")[0] and b"must be at most 2097152 bytes" in answer
    assert errors(httpx.post(f"{server.url}/v1/generate", content=b" "*3_000_000)) == ["body"]


def test_too_many_under_way(small_server, monkeypatch):
    "With as many as may be, all waiting for their bodies: 429 in our form for one more, while health is still told; then room again."
    monkeypatch.setattr("psychoscore.guard.MAX_ACTIVE", 2)
    def status(): return (answer := httpx.get(f"{small_server}/v1/model")).status_code, answer.headers.get("Retry-After"), answer.headers.get("Connection"), answer.json().get("errors")
    with open_wire(small_server, b"Content-Length: 2"), open_wire(small_server, b"Content-Length: 2"):
        until(lambda: status() == (429, "1", "close", [{"field": "server", "message": "too many requests are under way"}]))
        assert httpx.get(f"{small_server}/healthz").status_code == 200
    until(lambda: status()[0] == 200)


@pytest.mark.parametrize("head", [b"Content-Length: 8000000", b"Transfer-Encoding: chunked"])
def test_who_sends_too_much_hears_why(server, head):
    "The answer is there before the body has ended, and is not lost by a client that sends on to its end before it listens."
    body = b" "*8_000_000 if b"Length" in head else b"7A1200\r\n" + b" "*8_000_000 + b"\r\n0\r\n\r\n"
    with open_wire(server.url, head) as wire:
        wire.sendall(body[:4_000_000])
        time.sleep(0.5)
        wire.sendall(body[4_000_000:])
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    assert b" 413 " in answer.split(b"\r\n")[0] and answer.endswith(b'"must be at most 2097152 bytes"}]}')


def test_a_head_that_is_too_large(server):
    "Whole, or while it is still to come."
    assert [httpx.get(f"{server.url}/healthz", headers={"X": "a"*size}).status_code for size in (10_000, 20_000)] == [200, 431]
    with socket.create_connection(server.url.removeprefix("http://").split(":"), timeout=20) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"a"*20_000)
        assert b" 400 " in wire.recv(65536).split(b"\r\n")[0]


def test_a_connection_that_comes_to_nothing():
    "Silent, stuck in its head, stuck in its second head, deaf to its answer: each is given up, and the answer's bytes with it; one that is only slow is not."
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(8 if scope["path"] == "/slow" else 1):
            if scope["path"] == "/slow": await asyncio.sleep(0.1)
            await send({"type": "http.response.body", "body": bytes(20_000_000 if scope["path"] == "/large" else 10), "more_body": True})
        await send({"type": "http.response.body"})
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=partial(Patient, 1, 1), timeout_keep_alive=60, log_level="error", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wires = [socket.create_connection(listener.getsockname(), timeout=20) for _ in range(4)]
    for wire, path in zip(wires[1:], ("", "/small HTTP/1.1\r\nHost: x\r\n\r\nGET ", "/large HTTP/1.1\r\nHost: x\r\n\r\n")): wire.sendall(f"GET {path}".encode())
    assert len(httpx.get(f"http://127.0.0.1:{listener.getsockname()[1]}/slow").content) == 80
    until(lambda: not server.server_state.connections)
    for wire in wires: wire.close()
    server.should_exit = True
    thread.join()


def test_a_thousand_mistakes_are_not_all_told(client):
    body = {"trajectory": [{letter: 1 for letter in "abcdefghijk"} for _ in range(1000)]}
    assert len(errors(client.post("/v1/generate", json=body))) == 20


@pytest.fixture
def small_server():
    "The app with a tiny model, in a thread."
    with running(Settings(max_seconds=12)) as url: yield url


@pytest.mark.parametrize("key", [None, "sesame"])
def test_the_api_as_it_describes_itself(tmp_path, key):
    "schemathesis makes up requests from our own OpenAPI, right and wrong ones, and goes on from answers: no server error, nothing that is not described, nothing wrong accepted, and without the key nothing at all."
    for said in fuzz(key, tmp_path, examples=3).values():
        assert said["returncode"] == 0, said["output"]
        assert said["operations"] == 8 and said["server_errors"] == [] and said["opened"] == []


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/generate", 405), ("POST", "/healthz", 405), ("GET", "/v1/nothing", 404), ("GET", "/../../etc/passwd", 404), ("GET", "/%2e%2e/model/config.json", 404)])
def test_wrong_paths_and_methods(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status and errors(answer)


def test_accept_that_cannot_be_met(client):
    for route, accept in (("/v1/generate", "image/png"), ("/v1/stream", "audio/midi")):
        answer = client.post(route, json=GOOD, headers={"Accept": accept})
        assert answer.status_code == 406 and errors(answer) == ["Accept"]


# --- temperature and candidates

CORNERS = {(0, 0): 0.7, (0.8, 0): 1.1, (0, 0.7): 0.49, (0.8, 0.7): 0.89} # (entropy, trauma): the plan's temperature


@pytest.mark.parametrize(("wish", "expected"), [
    ({}, CORNERS), ({"use_dynamic_temperature": True}, CORNERS), ({"use_dynamic_temperature": False}, dict.fromkeys(CORNERS, 1)),
    *(({"temperature": 0.9, "use_dynamic_temperature": dynamic}, dict.fromkeys(CORNERS, 0.9)) for dynamic in (True, False)),
])
def test_temperatures(client, wish, expected):
    for (entropy, trauma), temperature in expected.items():
        body = {"profile": {"entropy": entropy, "trauma": trauma}, "seconds": 2, "seed": 0} | wish
        answer = client.post("/v1/generate", json=body, headers={"Accept": "application/json"})
        assert answer.json()["temperatures"] == [pytest.approx(temperature, abs=1e-4)]
        assert float(client.post("/v1/generate", json=body).headers["Psychoscore-Temperatures"]) == pytest.approx(temperature, abs=1e-4)


def test_temperatures_of_an_arc_are_those_of_its_segments(client):
    "From (E 0, T 0) at 2 s to (E .8, T .7) at 10 s: the middles of three segments are at 2, 6 and 10 s."
    body = {"trajectory": [{"seconds": 2, "profile": {"entropy": 0, "trauma": 0}}, {"seconds": 10, "profile": {"entropy": 0.8, "trauma": 0.7}}], "seconds": 12, "seed": 0}
    streamed = [json.loads(line) for line in client.post("/v1/stream", json=body).text.splitlines()]
    whole = client.post("/v1/generate", json=body, headers={"Accept": "application/json"}).json()["temperatures"]
    assert whole == pytest.approx([0.7, 0.795, 0.89], abs=1e-4)
    assert [part["temperature"] for part in streamed if "temperature" in part] == whole


def test_candidates_are_the_checkpoints(client):
    def notes(trauma, **wish): return client.post("/v1/generate", json={"profile": {"trauma": trauma}, "seconds": 4, "seed": 1, "temperature": 1, **wish}, headers={"Accept": "application/json"}).json()["notes"]
    assert notes(0.1) == notes(0.1, candidates=client.get("/v1/model").json()["sampling"]["candidates"]) == notes(0.1, candidates=None)
    assert notes(0.1) != notes(0.1, candidates=1)


# --- the same bytes, whoever else is there

def test_a_piece_does_not_depend_on_the_others(client):
    alone = client.post("/v1/generate", json=GOOD).content
    wishes = [GOOD if i % 4 == 0 else {"profile": {"trauma": i/12, "entropy": 1 - i/12}, "seconds": 4 + i % 5, "seed": i, "candidates": (1, 2, 4)[i % 3], "temperature": (None, 0.7)[i % 2]} for i in range(12)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool: answers = list(pool.map(lambda wish: client.post("/v1/generate", json=wish), wishes))
    assert [a.status_code for a in answers] == [200]*12
    assert all(a.content == alone for a, wish in zip(answers, wishes) if wish is GOOD)
    assert len({a.content for a in answers}) == 10


def test_curl_lines_of_the_notebook(server, tmp_path):
    "What 05_serve tells people to type works."
    if not shutil.which("curl"): pytest.skip("curl is not installed")
    cells = json.loads((Path(__file__).parent.parent/"nbs/05_serve.ipynb").read_text())["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).splitlines() if line.startswith("curl ")]
    (tmp_path/"piece.mid").write_bytes(SCALE)
    for line in lines:
        said = subprocess.run(["bash", "-c", line.replace("http://localhost:8000", server.url) + " -sS --fail-with-body"], capture_output=True, cwd=tmp_path, timeout=60)
        assert said.returncode == 0, (line, said)
    assert len(lines) == 9 and (tmp_path/"piece.wav").read_bytes()[:4] == b"RIFF"


# --- load

def test_hanging_up_stops_the_work(server, client):
    before = server.metric("psychoscore_tokens_total")
    for route in ("/v1/stream", "/v1/generate"):
        with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=server.url, timeout=httpx.Timeout(30, read=0.5 if route == "/v1/generate" else 1e-3)) as impatient:
            with impatient.stream("POST", route, json={"seconds": 300, "seed": 1}) as answer: answer.read()
    server.wait_until_idle()
    assert server.metric("psychoscore_tokens_total") == before


def test_a_stream_that_nobody_reads_is_given_up():
    "The client has gone when the answer would begin: the job goes too, though not one event was asked of the stream."
    jobs, body = [], json.dumps({"seconds": 300}).encode()
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/stream", "query_string": b"", "headers": [(b"content-type", b"application/json")]}
    async def hang_up():
        app = make_app(composer=small_composer())
        async with app.router.lifespan_context(app):
            engine, sent = app.state.engine, iter([{"type": "http.request", "body": body}])
            while engine.composer is None: await asyncio.sleep(0.01)
            submit, engine.submit = engine.submit, lambda job: jobs.append(job) or submit(job)
            async def receive():
                if message := next(sent, None): return message
                while not jobs: await asyncio.sleep(0.01)
                return {"type": "http.disconnect"}
            async def send(message): assert message["type"] == "http.response.start"
            await app(scope, receive, send)
            return [job.unwanted for job in jobs]
    assert asyncio.run(hang_up()) == [True]


@pytest.mark.parametrize(("route", "body"), [("profile", {"content": SCALE}), ("search", {"json": {"midi": base64.b64encode(SCALE).decode()}}), ("generate", {"json": GOOD}), ("stream", {"json": GOOD})])
def test_no_route_waits_past_the_deadline(route, body):
    "504 while all threads and processes that read uploads and write answers are taken up."
    async def wait():
        app, free = make_app(Settings(deadline_s=2), small_composer()), threading.Event()
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            app.state.index = Index((), (), np.zeros((0, 32), "f4"), np.zeros((0, 2), "f4"), "")
            while app.state.engine.composer is None: await asyncio.sleep(0.01)
            for _ in range(2): app.state.pool.submit(free.wait, 5)
            for who in "ab": await app.state.readers.acquire_on_behalf_of(who)
            answer = await client.post(f"/v1/{route}", **body)
            waiting, _ = app.state.pool._work_queue.qsize(), free.set()
        return answer, waiting, app.state.readers.statistics().tasks_waiting
    answer, *waiting = asyncio.run(wait())
    assert answer.status_code == 504 and "deadline" in answer.json()["errors"][0]["message"] and waiting[0] <= 1 and waiting[1] == 0 # what was given up is skipped when its turn comes


@pytest.fixture
def slow_drafts(monkeypatch):
    "Drafts that take until they are let go, as one of a long prompt takes long: (the first has begun, let all go)."
    begun, free, init = threading.Event(), threading.Event(), Draft.__init__
    def slow(self, *args):
        begun.set()
        assert free.wait(5), "nobody could let it go: the event loop stood still"
        init(self, *args)
    monkeypatch.setattr(Draft, "__init__", slow)
    monkeypatch.setattr("psychoscore.batching.measure_pace", lambda composer: (1e-3, 1e-3)) # which would draft pieces, too
    yield begun, free
    free.set()


@pytest.mark.parametrize(("route", "body", "deadline_s", "status"), [("generate", GOOD | {"takes": 3}, 120, 200), ("stream", GOOD, 120, 200), ("generate", GOOD, 2, 504), ("stream", GOOD, 2, 504)])
def test_a_draft_holds_nobody_up(slow_drafts, route, body, deadline_s, status):
    "While what one client brings along is written down, others are answered; and so is this one when its deadline passes meanwhile."
    begun, free = slow_drafts
    async def ask():
        app = make_app(Settings(deadline_s=deadline_s), small_composer())
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            while app.state.engine.composer is None: await asyncio.sleep(0.01)
            asked = asyncio.create_task(client.post(f"/v1/{route}", json=body))
            while not begun.is_set(): await asyncio.sleep(0.01)
            assert (await client.get("/healthz")).status_code == 200 and not asked.done()
            if status == 200: free.set()
            answer, _ = await asked, free.set()
            return answer.status_code
    assert asyncio.run(ask()) == status


def test_who_gives_up_before_the_draft_is_written_has_asked_for_nothing(slow_drafts):
    begun, free = slow_drafts
    async def give_up(engine, pool):
        asked = asyncio.create_task(begin(State({"engine": engine, "pool": pool}), Request(PsychometricProfile(0.5, 0.5), 300, seed=0), math.inf))
        while not begun.is_set(): await asyncio.sleep(0.01)
        asked.cancel()
        await asyncio.wait([asked])
        free.set()
        return asked.cancelled()
    engine = Engine(small_composer)
    until(lambda: engine.composer)
    with concurrent.futures.ThreadPoolExecutor(1) as pool: assert asyncio.run(give_up(engine, pool)) # and the draft is written by now
    assert not engine.waiting and engine.in_use == [0]
    close(engine)


def test_long_scores_hold_nobody_up(monkeypatch):
    "Three clients wait for scores that take for ever; what others ask for is read and written meanwhile. When the three hang up, the next score is written."
    monkeypatch.setitem(SLOW, MUSICXML, lambda piece: (time.sleep, 3600))
    async def ask():
        app = make_app(composer=small_composer())
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x", timeout=60) as client:
            while app.state.engine.composer is None: await asyncio.sleep(0.01)
            def score(): return client.post("/v1/generate", json=GOOD | {"seconds": 1}, headers={"Accept": MUSICXML})
            scores = [asyncio.create_task(score()) for _ in range(3)]
            while app.state.writers.statistics().tasks_waiting < 1: await asyncio.sleep(0.05)
            others = [await client.post("/v1/profile", content=SCALE), await client.post("/v1/generate", json=GOOD)]
            for waiting in scores: waiting.cancel()
            await asyncio.wait(scores)
            assert app.state.writers.available_tokens == 2
            monkeypatch.undo()
            return [answer.status_code for answer in (*others, await score())]
    assert asyncio.run(ask()) == [200]*3


def test_takes_of_which_one_is_refused_are_all_given_up():
    "Two of three takes find a place; when the refusal of the third is told, no take wants its place any more."
    async def ask_for_takes(engine):
        takes = [Request(PsychometricProfile(0.5, 0.5), 300, seed=seed) for seed in range(3)]
        with engine.changed: # no thread can take any meanwhile
            with pytest.raises(Full): await side_by_side([finished(State({"engine": engine, "pool": None}), take, math.inf) for take in takes])
            return [job.unwanted for job in engine.waiting]
    engine = Engine(small_composer, max_waiting=2)
    until(lambda: engine.composer)
    assert asyncio.run(ask_for_takes(engine)) == [True, True]
    close(engine)


def test_who_has_gone_keeps_nobody_out():
    "Room for two: given up or too late, both leave it to others, before a decoding thread has looked."
    engine, told, wish = Engine(small_composer, max_waiting=2), [], Request(PsychometricProfile(0.5, 0.5), 4, seed=0)
    until(lambda: engine.composer)
    given_up, late, *alive, third = [Job(wish, Manner(), told.append) for _ in range(5)]
    given_up.unwanted, late.deadline = True, time.monotonic() - 1
    with engine.changed: # no thread can take any meanwhile
        for job in (given_up, late, *alive): engine.submit(job)
        assert list(engine.waiting) == alive and [type(part) for part in told] == [Late]
        with pytest.raises(Full): engine.submit(third)
        for job in alive: job.unwanted = True
    close(engine)


def test_a_server_that_is_narrow_and_stopped(tmp_path):
    "One server for what takes a server of its own; the last thing it does is to stop."
    server = Server(tmp_path, "--max-waiting", 2, "--deadline", 4, "--cors-origin", "https://friend.example")
    with concurrent.futures.ThreadPoolExecutor(60) as pool, httpx.Client(base_url=server.url, timeout=60) as client:
        lets_friends_in(server)
        does_not_wait_for_a_slow_body(server)
        counts_from_the_arrival(server)
        assert client.post("/v1/search", json={"profile": {"trauma": 0.5}}).json()["errors"][0]["message"].startswith("this server has no index: start it with")
        refuses_what_is_too_much(client, pool)
        refuses_what_is_too_late(client)
        last = pool.submit(client.post, "/v1/generate", json={"seconds": 4, "seed": 0})
        until(lambda: server.metric("psychoscore_rows"))
        assert server.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
        assert last.result().status_code == 200 # what was taken is finished
    with pytest.raises(httpx.TransportError): httpx.get(f"{server.url}/healthz")
    assert "Traceback" not in server.log


def test_a_server_with_a_key(tmp_path):
    "By the command: closed, but for what is opened and what is always open; what one address has had too much of is told with a time to come back."
    server = Server(tmp_path, "--public", "metrics", "--allow-host", "music.example.org", "--deadline", 10, "--client-share", 0.01, PSYCHOSCORE_API_KEY="open-sesame")
    asks_for_its_key(server)
    assert [httpx.get(f"{server.url}{path}").status_code for path in ("/metrics", "/v1/openapi.json", "/readyz", "/page/instrument.js")] == [200, 401, 200, 200]
    assert [httpx.get(f"{server.url}/healthz", headers={"Host": host}).status_code for host in ("music.example.org", "evil.example")] == [200, 400]
    with httpx.Client(base_url=server.url, timeout=60, headers={"X-API-Key": "open-sesame"}) as client:
        most = client.get("/v1/model").json()["limits"]["takes_seconds"][-1]
        def ask(_): return client.post("/v1/generate", json={"seconds": most, "takes": 8})
        with concurrent.futures.ThreadPoolExecutor(9) as pool: answers = list(pool.map(ask, range(9)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused and all("processor" in answer.json()["errors"][0]["message"] and int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        assert client.get("/metrics").status_code == 200
    server.stop()
    assert "open-sesame" not in server.log and "Traceback" not in server.log


def asks_for_its_key(server):
    "Nothing under /v1 without the key."
    for headers, status in (({}, 401), ({"X-API-Key": "open"}, 401), ({"X-API-Key": "s\xe9same".encode("latin1")}, 401), ({"X-API-Key": "open-sesame"}, 200)):
        for method, path, body in (("GET", "/v1/model", None), ("POST", "/v1/generate", GOOD)): assert httpx.request(method, f"{server.url}{path}", json=body, headers=headers, timeout=60).status_code == status
    assert httpx.get(f"{server.url}/healthz").status_code == httpx.get(server.url).status_code == 200


def lets_friends_in(server):
    "CORS for the origin that was named, and for no other."
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key"}
    allowed = {origin: httpx.options(f"{server.url}/v1/generate", headers=ask | {"Origin": origin}).headers.get("Access-Control-Allow-Origin") for origin in ("https://friend.example", "https://foe.example")}
    assert allowed == {"https://friend.example": "https://friend.example", "https://foe.example": None}


def does_not_wait_for_a_slow_body(server):
    "408 when the deadline passes before the body is there."
    with open_wire(server.url, b"Content-Length: 100") as wire:
        wire.sendall(b"{")
        assert b" 408 " in wire.recv(65536).split(b"\r\n")[0]


def counts_from_the_arrival(server):
    "504 four seconds after a request came, though its body was on the way for most of them."
    most = httpx.get(f"{server.url}/v1/model").json()["limits"]["seconds"] # takes about the whole deadline
    body, arrived = json.dumps({"seconds": most}).encode(), time.monotonic()
    with open_wire(server.url, b"Content-Length: %d" % len(body)) as wire:
        wire.sendall(body[:1])
        time.sleep(3.5)
        wire.sendall(body[1:])
        assert b" 504 " in wire.recv(65536).split(b"\r\n")[0]
    assert time.monotonic() - arrived < 3.5 + 4 # which it would be, counted from the body


def refuses_what_is_too_much(client, pool):
    "Past the queue: 429, with a time to come back."
    answers = list(pool.map(lambda seed: client.post("/v1/generate", json={"seconds": 4, "seed": seed}), range(60)))
    refused = [a for a in answers if a.status_code == 429]
    assert {a.status_code for a in answers} <= {200, 429, 504} and 0 < len(refused) < 60
    assert all(1 <= int(a.headers["Retry-After"]) <= 60 and errors(a) for a in refused)
    many = client.post("/v1/generate", json={"seconds": 4, "takes": 8})
    assert errors(many) == ["takes"] and many.status_code == 422 # more than may ever wait here


def refuses_what_is_too_late(client):
    "Past the deadline: 504, or the last event of a stream; what has no hope of being done by it is not begun."
    limits = client.get("/v1/model").json()["limits"]
    hopeless = client.post("/v1/generate", json={"seconds": 3600})
    assert errors(hopeless) == ["seconds"] and f"at most {limits['seconds']:g} on this server" in hopeless.json()["errors"][0]["message"]
    def ask(route): return client.post(f"/v1/{route}", json={"seconds": limits["seconds"]})
    with concurrent.futures.ThreadPoolExecutor(12) as pool: *late, streamed = pool.map(ask, ["generate"]*11 + ["stream"]) # any of them alone is done by the deadline, and twelve are not
    assert 504 in (seen := {answer.status_code for answer in late}) and seen <= {200, 429, 504}
    assert streamed.status_code == 429 or json.loads(streamed.text.splitlines()[-1])["event"] == "error"


def test_the_benchmark_judges_what_it_measures():
    "On its bar, past it, not measured; and what may become of a request."
    def met(*values): return [said["met"] for said in verdicts(dict(zip(BARS, values))).values()]
    assert met(3.0, 0.3, None, 2.0, 0.29, 0, 0.11) == [True, False, None, False, True, True, False]
    assert met(2.9, 0.29, 0.31, 1.9, 0.3, 1, 0.1) == [False, True, False, True, False, False, True]
    assert set(measured({"soak": dict(unclean=0, growth=dict(server=0.0, a_process=0.2))}).values()) == {None, 0, 0.2}
    soak = Soak(20)
    for outcome in ["plain: answered 200"]*14 + ["plain: answered 504", "hostile: refused 422", "hostile: refused 413", "cancelled: hung up half-way", "cancelled: ended with done"]: soak.count(*outcome.split(": "))
    soak.count("repeated", "cut off by the kill")
    assert soak.unclean == 1 # of twenty requests nineteen have an end
    for outcome in ("plain: answered 500", "hostile: refused 500", "cancelled: ended with segment", "plain: lost, ReadError"):
        soak.tally = {outcome: 20}
        assert soak.unclean == 20


# --- privacy and access

def test_nothing_of_a_profile_or_upload_is_kept(server, client):
    "Requests with recognisable numbers, good and bad, on all routes; then the log, the counts and every file are read."
    before, secret, upload = server.log.count("POST /v1/generate"), 0.123454321, midi_bytes(make_notes(np.arange(9)/2, np.full(9, 0.4), [61, 88, 35, 77, 42, 99, 54, 71, 66], 111))
    body = {"profile": {"trauma": secret, "entropy": secret}, "seconds": 4, "seed": 314159265}
    for wish in (body, body | {"profile": {"trauma": 7.123454321}}, body | {"key": "0.123454321"}, body | {"prompt_midi": base64.b64encode(upload).decode(), "seconds": 9}):
        for route in ("/v1/generate", "/v1/stream"): client.post(route, json=wish), client.post(f"{route}?trauma={secret}", json=wish)
    client.post("/v1/profile", content=upload), client.post("/v1/profile", content=upload[:50])
    for wish in ({"profile": {"trauma": secret, "entropy": 0.5}}, {"midi": base64.b64encode(upload).decode()}): assert client.post("/v1/search", json=wish).status_code == 200
    client.get(f"/{secret}"), client.request("BREW", f"/v1/{secret}"), client.post("/v1/generate", content=f"{{{secret}", headers={"Content-Type": "application/json"})
    metrics = client.get("/metrics").text
    assert server.log.count("POST /v1/generate") == before + 9
    for text in (server.log, metrics): assert "123454321" not in text and "314159265" not in text and base64.b64encode(upload)[:20].decode() not in text and "Traceback" not in text
    kept = [path for path in server.home.rglob("*") if path.is_file()]
    assert not [path for path in kept if upload in (data := path.read_bytes()) or b"123454321" in data]


def test_headers(client):
    assert not [h for h in client.get("/v1/model", headers={"Origin": "https://friend.example"}).headers if h.startswith("access-control")]
    for path in ("/", "/page/instrument.js", "/v1/model", "/v1/nothing"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff" and "server" not in headers
        if path.startswith("/v1"): assert headers["Cache-Control"] == "no-store"


# --- starting wrongly

@pytest.mark.parametrize(("settings", "where", "says"), [
    (dict(), dict(port=1), "choose others with --host and --port"), (dict(), dict(host="nowhere.invalid"), "cannot listen on nowhere.invalid"),
    (dict(model="nowhere"), dict(port=0), "no psychoscore checkpoint in nowhere")])
def test_a_mistake_at_the_start_says_what_to_do(settings, where, says, server):
    if "port" in where and where["port"]: where = dict(port=int(server.url.rsplit(":", 1)[1])) # in use
    with pytest.raises((ValueError, OSError), match=says): serve(Settings(**settings), **where)


@pytest.mark.parametrize(("host", "key", "warned"), [("0.0.0.0", "", True), ("0.0.0.0", "open-sesame", False), ("localhost", None, False)])
def test_a_server_that_is_open_to_the_network_says_so(host, key, warned, monkeypatch, caplog):
    monkeypatch.setattr("psychoscore.compose.Composer.from_pretrained", lambda *folder: small_composer())
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: [sock.close() for sock in sockets])
    serve(Settings(api_key=key), host, 0)
    assert warned == any("no key: open to all" in message for message in caplog.messages)


def test_a_mistake_at_the_start_is_one_line(server):
    for option, says in (("--port=99999", "port"), (f"--port={server.url.rsplit(':', 1)[1]}", "cannot listen on 127.0.0.1 port"), ("--workers=0", "workers"), ("--api-key=open sesame", "visible ASCII"), ("--max-seconds=99999", "max-seconds")):
        result = subprocess.run([sys.executable, "-m", "psychoscore.cli", "serve", option], capture_output=True, text=True, timeout=120)
        assert result.returncode == 2 and says in result.stderr and result.stderr.count("\n") == 1, result.stderr
