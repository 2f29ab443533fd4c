"Who may come in, by whatever path: every route with the key and without, under root paths, mounts, prefixes and odd spellings; and whoever hangs up is let go on every route."
import asyncio
import json
import threading
import time

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from forever import forever
from bench.fuzz_serve import small_composer
from psychoscore.compose import Composer
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.planner import read_planner
from psychoscore.search import Index
from psychoscore.guard import SECURITY_HEADERS, Budget
from psychoscore.routes import MUSICXML, SLOW
from psychoscore.serve import make_app
from psychoscore.settings import Settings

SCALE = midi_bytes(make_notes(np.arange(40)/4, np.full(40, 0.25), 50 + np.arange(40) % 24, 80))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
PUBLIC = {"/", "/healthz", "/readyz", "/page", "/piano", "/offline.js"} # the whole of it: what is not here is closed
KEEP = dict.fromkeys(("/", "/offline.js", "/page/instrument.js", "/page/model/kernel.wasm", "/piano/piano.json"), "no-cache")
ROOTS = ("", "/music", "/v1", "/a/b", "/healthz", "/page")


@pytest.fixture(scope="module")
def app():
    "The app with a key, started; its small model has a planner and files that a page can ask for."
    small, folder = small_composer(), Composer.from_pretrained().folder
    app = make_app(Settings(api_key="sesame"), Composer(small.llama, small.about, folder, read_planner(folder)))
    @app.get("/added", include_in_schema=False)
    async def added(): return "secret"
    with TestClient(app) as client:
        while app.state.engine.composer is None: time.sleep(0.05)
        app.state.index = Index(("a.mid",), ("",), np.ones((1, 32), "f4"), np.ones((1, 2), "f4"), "")
        app.call, app.soon = client.portal.call, client.portal.start_task_soon
        yield app


def ask(app, method, path, root="", key=None, body=b"", within=None, **headers):
    "Call an app as a server would: (status, headers, body)."
    given = {"host": "localhost", "content-type": "application/json"} | ({"x-api-key": key} if key else {}) | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {"type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": root, "query_string": b"",
             "headers": [(name.encode(), value.encode()) for name, value in given.items()], "client": ("10.0.0.1", 1), "server": ("localhost", 80), "asgi": {"version": "3.0", "spec_version": "2.3"}}
    sent, got = iter([{"type": "http.request", "body": body, "more_body": False}]), []
    async def receive(): return next(sent, None) or await asyncio.sleep(3600)
    async def send(message): got.append(message)
    app.call(within or app, scope, receive, send)
    return got[0]["status"], {name.decode().lower(): value.decode() for name, value in got[0]["headers"]}, b"".join(part.get("body", b"") for part in got[1:])


def routes(app):
    "(method, path) of every route that there is, found in the app itself and in what it says of itself."
    found = {(method, route.path.format(name="config.json")) for route in iter_route_contexts(app.routes) for method in getattr(route, "methods", None) or {"GET"}}
    described = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    assert described <= found
    return found


def closed(app): return sorted(route for route in routes(app) if route[1] not in PUBLIC)


def spellings(path):
    "A path as somebody might write it who wants to be taken for another."
    return {path, path + "/", "/" + path, path.replace("/", "//"), path + "//", "/." + path, "/page/.." + path, "/healthz/.." + path, "/healthz/" + path, "/page" + path, "/music" + path, path.upper(), path + ";a=1", path + "%00", path + "\0", path + ".json",
            path.replace("/", "\\"), path.replace("v", "%76"), path.replace("/", "%2f"), path[1:], path + "?public", path + "#", " " + path, path + " ", path.replace("v1", "ｖ1"), path + "/healthz"}


def test_what_is_open_is_a_short_list(app):
    assert {path for _, path in routes(app)} - {path for _, path in closed(app)} == PUBLIC
    assert {path for _, path in closed(app)} == {*(f"/v1/{name}" for name in ("generate", "stream", "profile", "search", "model", "openapi.json")), "/metrics", "/model/config.json", "/added"}
    assert {path for path, methods in app.openapi()["paths"].items() for operation in methods.values() if "security" not in operation} == {"/healthz", "/readyz"}


@pytest.mark.parametrize("root", ROOTS)
def test_no_route_opens_without_the_key(app, root):
    "In its own spelling it is a 401 that nobody keeps; in no other does it answer anything but that it is not there, or closed."
    for method, path in closed(app):
        for prefix in {root, ""}:
            for key in (None, "Sesame", "sesame ", "séame"):
                status, headers, body = ask(app, method, prefix + path, root, key)
                elsewhere = prefix != root and path.startswith(root) # where the root path is taken off, and nothing is left of the route
                assert headers["cache-control"] == "no-store" and (status, json.loads(body)["errors"][0]["field"]) == ((404, "request") if elsewhere else (401, "X-API-Key")), (method, prefix + path)
            for odd in spellings(path):
                for verb in (method, "HEAD", "BREW"):
                    status, headers, body = ask(app, verb, prefix + odd, root)
                    assert status in (401, 404, 405) and headers["cache-control"] == "no-store" and b"secret" not in body, (verb, prefix + odd, status)


@pytest.mark.parametrize("root", ROOTS)
def test_every_route_opens_with_the_key(app, root):
    for method, path in closed(app):
        status, headers, _ = ask(app, method, root + path, root, "sesame")
        assert status not in (401, 404, 405, 500) and headers["cache-control"] == "no-store", (method, path, status)
        others = set(METHODS) - {verb for verb, at in routes(app) if at == path}
        assert {ask(app, verb, root + path, root, "sesame")[0] for verb in others} == {405} and {ask(app, verb, root + path, root)[0] for verb in others} == {401}
    for path in ("/healthz", "/readyz", *KEEP):
        status, headers, _ = ask(app, "GET", root + path, root)
        assert (status, headers["cache-control"]) == (200, KEEP.get(path, "no-store")) and headers["content-security-policy"] == SECURITY_HEADERS["Content-Security-Policy"]


OUTER = {"FastAPI": lambda app: mounted(FastAPI(), app), "Starlette": lambda app: Starlette(routes=[Mount("/music", app=app)]), "twice": lambda app: mounted(FastAPI(), mounted(FastAPI(), app)), "at the root": lambda app: Starlette(routes=[Mount("/", app=app)])}
def mounted(outer, app): outer.mount("/music", app); return outer


@pytest.mark.parametrize("outer", OUTER)
def test_mounted_in_another_app(app, outer, monkeypatch):
    "The same, and the same bounds."
    within, prefix = OUTER[outer](app), {"twice": "/music/music", "at the root": ""}.get(outer, "/music")
    for method, path in closed(app):
        assert ask(app, method, prefix + path, within=within)[0] == 401 and ask(app, method, prefix + path, within=within, key="sesame")[0] not in (401, 404, 405, 500)
        assert {ask(app, method, prefix + odd, within=within)[0] for odd in spellings(path)} <= {401, 404, 405}
    bounds(app, prefix, monkeypatch, within=within)


@pytest.mark.parametrize("root", ROOTS)
def test_bounds_are_the_same_under_a_root_path(app, root, monkeypatch): bounds(app, root, monkeypatch, root=root)


def bounds(app, prefix, monkeypatch, **how):
    "Size, host, compression, and how many at once."
    def status(path, method="POST", **more): return ask(app, method, prefix + path, **how, **{"key": "sesame"} | more)[0]
    for path in ("/v1/generate", "/v1/profile"):
        assert status(path, content_length="9999999") == status(path, body=b" "*3_000_000) == 413 and status(path, content_encoding="gzip") == 415
    assert status("/v1/generate", body=b"[" + b"1,"*30_000 + b"1]") == 413
    for path in ("/healthz", "/v1/model"): assert [status(path, "GET", host=host) for host in ("evil.example", "127.0.0.1:8000")] == [400, 200]
    monkeypatch.setattr("psychoscore.guard.MAX_ACTIVE", 0)
    assert [status(path, method) for method, path in (("GET", "/v1/model"), ("POST", "/v1/generate"), ("GET", "/healthz"), ("GET", "/metrics"))] == [429, 429, 200, 200]


def test_a_strangers_body_is_not_waited_for(app):
    "The 401 is there before a byte of the body."
    scope_asked = []
    async def within(scope, receive, send):
        async def never(): scope_asked.append(1); await asyncio.sleep(3600)
        await app(scope, never, send)
    assert ask(app, "POST", "/v1/generate", within=within, content_length="1000000")[0] == 401 and not scope_asked


def test_a_websocket_finds_nobody(app):
    got = []
    async def send(message): got.append(message)
    async def receive(): return {"type": "websocket.connect"}
    for path in ("/v1/stream", "/metrics", "/page", "/"): app.call(app, {"type": "websocket", "path": path, "root_path": "", "headers": [(b"x-api-key", b"sesame")], "query_string": b"", "subprotocols": []}, receive, send)
    assert {message["type"] for message in got} == {"websocket.close"}


@pytest.mark.parametrize("public", [(), ("metrics",), ("openapi",), ("metrics", "openapi")])
def test_what_a_setting_opens(public):
    "Counts and description, and nothing beside them; the description does not ask for the key where none is asked for."
    app = make_app(Settings(api_key="sesame", public=public), small_composer())
    with TestClient(app) as client:
        paths = {"metrics": "/metrics", "openapi": "/v1/openapi.json"}
        assert {name for name, path in paths.items() if client.get(path).status_code == 200} == set(public)
        assert client.get("/v1/model").status_code == 401
        assert ("security" in app.openapi()["paths"]["/metrics"]["get"]) == ("metrics" not in public)


def test_a_description_says_where_it_was_found():
    app = make_app(Settings(), small_composer())
    with TestClient(app, root_path="/music") as client: assert client.get("/music/v1/openapi.json").json()["servers"] == [{"url": "/music"}]
    with TestClient(app) as client: assert "servers" not in client.get("/v1/openapi.json").json()


@pytest.mark.parametrize(("trusted", "payers"), [("127.0.0.1", {"10.0.0.1"}), ("10.0.0.0/8", {"198.51.100.7", "2001:db8:1:2::/64"})])
def test_who_pays_behind_a_proxy(app, trusted, payers):
    "The client where the proxy is believed, and of IPv6 its network; else the proxy."
    within, app.state.budget = ProxyHeadersMiddleware(app, trusted), Budget(1, 1000)
    for client in ("198.51.100.7", "2001:db8:1:2::5", "2001:db8:1:2:3::6"): assert ask(app, "POST", "/v1/profile", key="sesame", body=SCALE, within=within, x_forwarded_for=client)[0] == 200
    assert set(app.state.budget.buckets) == payers


# --- whoever hangs up is let go

HANGS = { # What never ends, and a request that comes to it
    "reading": ("read_midi", "/v1/profile", SCALE, {}), "listening": ("estimate_profile", "/v1/profile", SCALE, {}), "searching": ("read_midi", "/v1/search", json.dumps({"midi": "TVRoZA=="}).encode(), {}),
    "a prompt": ("read_midi", "/v1/generate", b'{"prompt_midi": "TVRoZA=="}', {}), "a prompt of a stream": ("read_midi", "/v1/stream", b'{"prompt_midi": "TVRoZA=="}', {}),
    "measuring": ("estimate_profile", "/v1/generate", b'{"seconds": 1}', {}), "the end of a stream": ("estimate_profile", "/v1/stream", b'{"seconds": 1}', {}),
    "a score": (MUSICXML, "/v1/generate", b'{"seconds": 1}', {"accept": MUSICXML}), "sound": ("audio/wav", "/v1/generate", b'{"seconds": 1}', {"accept": "audio/wav"}),
    "drawing": (None, "/v1/generate", b'{"seconds": 300}', {}), "drawing for a stream": (None, "/v1/stream", b'{"seconds": 300}', {}), "takes": (None, "/v1/generate", b'{"seconds": 100, "takes": 8}', {})}


@pytest.mark.parametrize("name", HANGS)
def test_whoever_hangs_up_is_let_go(app, name, monkeypatch):
    "Work that would take an hour is under way; when its client has hung up, all is free again, and the client has paid for what it took, not for what it asked for."
    what, path, body, headers = HANGS[name]
    if what in SLOW: monkeypatch.setitem(SLOW, what, lambda piece: (forever,))
    elif what: monkeypatch.setattr(f"psychoscore.routes.{what}", forever)
    app.state.budget = Budget(1e-9, 1000)
    engine, limiters, hung_up = app.state.engine, (app.state.readers, app.state.writers), threading.Event()
    def busy(): return sum(limiter.borrowed_tokens for limiter in limiters) if what else sum(engine.in_use)
    asked = hang_up(app, path, body, headers, hung_up)
    while not busy(): assert not asked.done() and not time.sleep(0.02)
    hung_up.set()
    asked.result(30)
    while sum(engine.in_use) or len(engine.waiting): time.sleep(0.02) # the next token
    assert sum(limiter.borrowed_tokens for limiter in limiters) == 0
    assert 970 < app.state.budget.left("10.0.0.1") < 1000


def test_the_next_is_served(app): assert ask(app, "POST", "/v1/profile", key="sesame", body=SCALE)[0] == 200


def hang_up(app, path, body, headers, hung_up):
    "Ask, and hang up when told; a future that ends with the app."
    given = {"host": "localhost", "content-type": "application/json", "x-api-key": "sesame"} | headers
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "root_path": "", "query_string": b"", "client": ("10.0.0.1", 1), "headers": [(k.encode(), v.encode()) for k, v in given.items()]}
    sent = iter([{"type": "http.request", "body": body}])
    async def receive():
        if message := next(sent, None): return message
        while not hung_up.is_set(): await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}
    async def send(message): pass
    return app.soon(app, scope, receive, send)
