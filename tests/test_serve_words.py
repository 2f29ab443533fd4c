"What the server says when something is wrong, how long its numbers are, and what its log says of a client that hangs up."
import base64
import json
import re
import socket
import time

import httpx
import numpy as np
import pytest

from psychoscore.notes import make_notes, midi_bytes
from psychoscore.schemas import DIGITS, FINER

SCALE = midi_bytes(make_notes(np.arange(40)/4.7, np.full(40, 0.23), 50 + np.arange(40) % 24, 80))
JSON = {"Content-Type": "application/json"}
PYDANTIC = re.compile(r"Input should|Extra inputs|Field required|Unexpected keyword|JSON decode|Value error|unable to parse|\bNone\b|\bTrue\b|Not Found|Method Not Allowed")
FIELDS = {"generate": "profile, trajectory, seconds, temperature, use_dynamic_temperature, seed, key, mode, plan, candidates, prompt_midi, takes", "search": "profile, midi, k"}
FIELDS["stream"] = FIELDS["generate"].removesuffix(", takes")


@pytest.fixture
def client(server):
    with httpx.Client(base_url=server.url, timeout=60) as client: yield client


def said(answer):
    "The errors of an answer, in no words but ours."
    errors = answer.json()["errors"]
    assert errors and not [e for e in errors if PYDANTIC.search(e["message"]) or e["field"].isdecimal()], errors
    return [(e["field"], e["message"]) for e in errors]


@pytest.mark.parametrize("route", FIELDS)
@pytest.mark.parametrize(("content", "says"), [
    (b"{'profile': 1}", "line 1, column 2, where there is"), (b'{"seconds": 4,\n  "seed" 3}', "line 2, column 10, where there is \"3}\""), (b'{"seconds": ', "where it ends"), (b'{} {}', "extra data at line 1, column 4"),
    (b"", "it is empty"), (b" \n", "it is empty"), (b"\xff\xfe\xfd", "is no text in"), (b"[" * 100_000, "nested too deeply"), (b"9" * 5000, "too many digits"), (SCALE, "it is a MIDI file")])
def test_a_body_that_is_no_json_is_told_where_and_what_a_right_one_is(client, route, content, says):
    answer = client.post(f"/v1/{route}", content=content, headers=JSON)
    [(field, message)] = said(answer)
    assert (answer.status_code, field) == (400, "body") and message.startswith("the body is not JSON: ") and says in message
    right = client.post(f"/v1/{route}", content=message.split("a right one is ")[1], headers=JSON)
    assert right.status_code == 200 # the example is one


@pytest.mark.parametrize("route", FIELDS)
@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_named(client, route, media_type):
    answer = client.post(f"/v1/{route}", content=b'{"seconds": 4}', headers={"Content-Type": media_type} if media_type else {})
    [(field, message)] = said(answer)
    assert (answer.status_code, field) == (415, "Content-Type") and f"got {media_type or 'none'}" in message and "-H 'Content-Type: application/json'" in message


@pytest.mark.parametrize(("routes", "body", "field", "says"), [
    (("generate", "stream"), {"tempratur": 1}, "tempratur", "(did you mean temperature?): its fields are {fields}"), (("generate", "stream", "search"), {"wholly_else": 1}, "wholly_else", "Request: its fields are {fields}"),
    (("search",), {"mid": ""}, "mid", "(did you mean midi?): its fields are {fields}"), (("generate", "stream", "search"), {"profile": {"entorpy": 1}}, "profile.entorpy", "(did you mean entropy?): its fields are trauma, entropy"),
    (("generate", "stream"), {"trajectory": [{"second": 0, "seconds": 0, "profile": {}}]}, "trajectory.0.second", "(did you mean seconds?): its fields are seconds, profile")])
def test_an_unknown_field_names_itself_and_the_known_ones(client, routes, body, field, says):
    for route in routes:
        [(named, message)] = said(client.post(f"/v1/{route}", json=body))
        assert named == field and message.startswith(f"{field} is no field of ") and message.endswith(says.format(fields=FIELDS[route]))


def test_a_parameter_in_the_address_is_refused_by_name(client):
    for method, path, body in (("POST", "generate", {"seconds": 1}), ("POST", "stream", {"seconds": 1}), ("POST", "search", {}), ("POST", "profile", None), ("GET", "model", None)):
        answer = client.request(method, f"/v1/{path}?secnods=8&x=", json=body)
        [(field, message)] = said(answer)
        assert answer.status_code == 422 and field in ("secnods", "x") and "is no parameter of /v1/" in message and "takes none in its address" in message
        assert path not in FIELDS or f"fields of the JSON body are {FIELDS[path]}" in message
    assert "(did you mean seconds?)" in said(client.post("/v1/generate?secnods=8", json={}))[0][1]


@pytest.mark.parametrize(("body", "says"), [
    ({"seconds": 0}, "seconds must be a number in [1, 3600], got 0"), ({"seconds": "10"}, 'seconds must be a number in [1, 3600], got "10"'), ({"seconds": None}, "seconds must be a number in [1, 3600], got null"),
    ({"seed": 1.5}, "seed must be a whole number in [0, 9007199254740991] or null, got 1.5"), ({"takes": True}, "takes must be a whole number in [1, 8], got true"), ({"mode": "blue"}, 'mode must be one of major, minor or null, got "blue"'),
    ({"profile": {"trauma": "0.5"}}, 'profile.trauma must be a number in [0, 1] or null, got "0.5"'), ({"profile": [1]}, "profile must be an object with the fields (trauma, entropy) or null, got a list"),
    ({"trajectory": []}, "trajectory must be a list (each item an object with the fields (seconds, profile)) of length 1 to 1000 or null, got a length of 0"), ({"trajectory": [{"profile": {}}]}, "trajectory.0.seconds is missing: it must be a number of at least 0"),
    ({"prompt_midi": "A" * 1_600_000}, "prompt_midi must be text of length at most 1572864 or null, got a length of 1600000"), ({"key": "\ud800"}, "key must be text in Unicode, got half of a surrogate pair"), ({"\ud800": 1}, "the name of a field must be text in Unicode, got half of a surrogate pair"),
    (7, f"the body must be an object with the fields ({FIELDS['generate']}), got 7"), ([], f"the body must be an object with the fields ({FIELDS['generate']}), got a list"), (None, f"the body must be an object with the fields ({FIELDS['generate']}), got null")])
def test_what_was_given_and_what_is_allowed(client, body, says):
    answer = client.post("/v1/generate", content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422 and [message for _, message in said(answer)] == [says]


def test_addresses_and_methods_that_are_not_there(client):
    assert said(client.get("/v1/nothing"))[0][1] == "there is nothing at this address; /v1/openapi.json describes what there is"
    assert said(client.get("/v1/generate"))[0][1] == "this address takes POST, got GET"


# --- numbers

def long_numbers(value, digits=DIGITS, at=""):
    "Where numbers have more decimals than they may."
    if isinstance(value, float): return [(at, value)] if len(repr(value).partition(".")[2]) > digits or "e" in repr(value) else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, each in inside for found in long_numbers(each, FINER.get(name, digits), f"{at}.{name}")]


def test_no_number_of_any_answer_is_long(client):
    "Every JSON answer that there is, errors and events among them, with wishes whose own numbers are long."
    profile = {"trauma": 1/3, "entropy": 2/3}
    body = {"trajectory": [{"seconds": 0, "profile": profile}, {"seconds": 7, "profile": {"trauma": 1/7, "entropy": 1/9}}], "seconds": 9, "seed": 1}
    answers = [client.post("/v1/generate", json=wish, headers={"Accept": "application/json"}) for wish in (body, {"profile": profile, "seconds": 4.7, "seed": 1, "temperature": 2/3})]
    answers += [client.post("/v1/profile", content=SCALE), client.post("/v1/search", json={"profile": profile}), client.post("/v1/search", json={"midi": base64.b64encode(SCALE).decode()})]
    answers += [client.get(path) for path in ("/v1/model", "/v1/openapi.json", "/healthz", "/readyz")]
    assert {answer.status_code for answer in answers} == {200}
    told = [answer.json() for answer in answers] + [json.loads(line) for line in client.post("/v1/stream", json=body).text.splitlines()]
    told += [json.loads(line[6:]) for line in client.post("/v1/stream", json=body, headers={"Accept": "text/event-stream"}).text.splitlines() if line.startswith("data: ")]
    assert [event["event"] for event in told[len(answers):]] == ["start", *["segment"]*3, "done"]*2
    assert [found for each in told for found in long_numbers(each)] == []
    assert told[0]["notes"] and [n for n in told[0]["notes"] if n["onset_s"] != round(n["onset_s"], DIGITS)] # notes keep their grid
    assert all(abs(32*n[name] - round(32*n[name])) < 1e-3 for n in told[0]["notes"] for name in ("onset_s", "duration_s"))
    headers = client.post("/v1/generate", json=body).headers
    assert headers["Psychoscore-Temperatures"] == " ".join(map(str, told[0]["temperatures"]))


# --- hanging up

def hang_up(server, path, body, length=None, until=None, after_s=0.4, reset=False):
    "Send a request on a socket of its own and close it: after a time, or when some text has come; at once and with a reset, if asked."
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as wire:
        if reset: wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.sendall(f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length or len(body)}\r\n\r\n".encode() + body)
        got = b""
        while until and until not in got:
            assert (part := wire.recv(65536)), got
            got += part
        if not until: time.sleep(after_s)


HANGS = {
    "stream, in the middle": ("stream", b'{"seconds": 300, "seed": 1}', dict(until=b'"segment"'), "in the middle of its answer"),
    "stream, with a reset": ("stream", b'{"seconds": 300, "seed": 1}', dict(until=b'"segment"', reset=True), "in the middle of its answer"),
    "waiting": ("generate", b'{"seconds": 300, "seed": 1}', dict(), "before its answer"), "waiting, with a reset": ("generate", b'{"seconds": 300, "seed": 1}', dict(reset=True), "before its answer"),
    "waiting for takes": ("generate", b'{"seconds": 100, "takes": 8}', dict(), "before its answer"),
    **{f"sending to {path}": (path, b'{"seconds": 300', dict(length=9000), "before its body had come") for path in ("generate", "stream", "search", "profile")}}


@pytest.mark.parametrize("name", HANGS)
def test_a_client_that_hangs_up_is_logged_as_such(server, name):
    "One line at INFO that says when, no error, no answer counted but 499, and nothing is composed any longer."
    path, body, how, when = HANGS[name]
    before, tokens, gone, others = len(server.log), server.metric("psychoscore_tokens_total"), counted(server, path, 499), counted(server, path, "(?!499)")
    hang_up(server, path, body, **how)
    for _ in range(200):
        if lines := [line for line in server.log[before:].splitlines() if f"/v1/{path}" in line]: break
        time.sleep(0.05)
    assert [re.fullmatch(rf"\S+ \S+ INFO POST /v1/{path}: client hung up after \d+\.\d s, {when}", line) is not None for line in lines] == [True], lines
    assert not [line for line in server.log[before:].splitlines() if re.search("ERROR|WARNING|Traceback|Error|Exception| 500 | 400 ", line)]
    assert (counted(server, path, 499), counted(server, path, "(?!499)")) == (gone + 1, others)
    server.wait_until_idle()
    assert server.metric("psychoscore_tokens_total") == tokens


def counted(server, path, status):
    "How often a route has answered so."
    return sum(float(line.rsplit(" ", 1)[1]) for line in httpx.get(f"{server.url}/metrics").text.splitlines() if re.match(rf'psychoscore_requests_total{{route="/v1/{path}",status="{status}', line))


def test_a_whole_answer_is_no_hang_up(server):
    "Not even when the client closes as soon as it has it."
    before = len(server.log)
    for path in ("generate", "stream"): hang_up(server, path, b'{"seconds": 1, "seed": 1}', until={"generate": b"MTrk", "stream": b'"done"'}[path], after_s=0)
    time.sleep(0.5)
    assert len(re.findall(r"POST /v1/\w+ 200 ", server.log[before:])) == 2 and "hung up" not in server.log[before:]
