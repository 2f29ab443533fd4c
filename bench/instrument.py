"""The instrument in Chromium, from static files over loopback: what it transfers, how soon it sounds, how it composes.

It asks for `playwright` and a Chromium. A touch is a press in the square of a page that has just been painted, or of one
that has loaded at leisure. Composing is measured on takes that come from a link, which nothing waits for; long tasks are
those of the page's main thread while it plays and a point moves.
With --visit it walks instead as a newcomer does, from the landing page of a docs site that is built (`make docs`), on a
phone and on a desk, and says how long every step takes and how far what it asks for lay out of sight.
Usage: python bench/instrument.py [--rounds 3] [--out reports/bench/instrument.json] [--visit]
"""
import functools
import http.server
import importlib.util
import os
import re
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
from playwright.sync_api import expect, sync_playwright

from bench.common import REPORTS, make_parser, run_script, write_json

ROOT = Path(__file__).parent.parent
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--autoplay-policy=user-gesture-required"]
SEGMENT_S, SEGMENTS = 4, 10 # Of a take that is composed
PLACES = {"calm": (30, 10), "in the middle": (50, 50), "restless": (40, 90)} # Hundredths of trauma and entropy
PLAYED_S = 30 # While long tasks are counted
WATCH = """
window.struck = []; window.long = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at) { struck.push(performance.now() / 1000 + at - this.context.currentTime); start.call(this, at); };
document.addEventListener("pointerdown", () => { window.pressed ??= performance.now() / 1000; }, true);
new PerformanceObserver(list => long.push(...list.getEntries().map(entry => entry.duration))).observe({ type: "longtask" });
"""


class Site:
    "A web server of a folder, which holds the instrument in play/, that counts what it sends."
    def __init__(self, folder):
        sent = self.sent = {}
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *said): pass
            def copyfile(self, source, out):
                sent[self.path] = sent.get(self.path, 0) + os.fstat(source.fileno()).st_size
                super().copyfile(source, out)
        self.host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        self.host.handle_error = lambda *about: None # a page that is closed hangs up
        threading.Thread(target=self.host.serve_forever, daemon=True).start()
        self.root = f"http://127.0.0.1:{self.host.server_port}/"
        self.home = f"{self.root}play/"


def copy_instrument(folder):
    spec = importlib.util.spec_from_file_location("make_docs", ROOT/".ci/make_docs.py")
    spec.loader.exec_module(make_docs := importlib.util.module_from_spec(spec))
    make_docs.copy_instrument(folder/"play")
    return folder


def opened(browser, site, fragment=""):
    "A page in a context of its own, with nothing kept."
    page = browser.new_context(viewport=dict(width=1100, height=900)).new_page()
    page.add_init_script(WATCH)
    page.goto(site.home + fragment)
    page.wait_for_selector(".thumb")
    return page


def until_kept(page): page.wait_for_function("() => document.documentElement.dataset.kept === 'true'", timeout=120_000)


def press(page, trauma, entropy, then=()):
    "Press in the square, and drag from there."
    box = page.locator(".square").bounding_box()
    at = [(box["x"] + x*box["width"], box["y"] + (1 - y)*box["height"]) for x, y in ((trauma, entropy), *then)]
    page.mouse.move(*at[0]); page.mouse.down()
    for x, y in at[1:]: page.mouse.move(x, y, steps=10)
    page.mouse.up()


def sounds_after(page): # s, from the press to the first note
    page.wait_for_function("() => struck.length", timeout=120_000)
    return page.evaluate("Math.min(...struck) - pressed")


def first_sound(browser, site, is_loaded):
    page = opened(browser, site)
    if is_loaded: until_kept(page)
    press(page, 0.3, 0.3)
    seconds = sounds_after(page)
    page.context.close()
    return seconds


def transferred(browser, site): # MB until it can play; and with all that it keeps for when there is no connection
    site.sent.clear()
    page = opened(browser, site)
    until_kept(page)
    page.context.close()
    samples = sum(size for path, size in site.sent.items() if path.endswith(".ogg"))
    return (sum(site.sent.values()) - samples)/1e6, sum(site.sent.values())/1e6


def composing(browser, site, place, candidates): # How much longer the music lasts than composing it takes
    page = opened(browser, site)
    until_kept(page)
    trauma, entropy = place
    page.evaluate("""fragment => { location.hash = fragment; }""", f"take=1&s=7&k=0_{candidates}&a={trauma}-{entropy}x{SEGMENTS}")
    seconds = page.evaluate("""async last => { const { player } = await import('./page/player.js'), began = performance.now();
        while (player.written < last) await new Promise(r => setTimeout(r, 5)); return (performance.now() - began) / 1000; }""", SEGMENT_S*SEGMENTS)
    page.context.close()
    return SEGMENT_S*SEGMENTS/seconds


def playing(browser, site): # Long tasks, ms, and the gaps of the sound
    page = opened(browser, site)
    until_kept(page)
    press(page, 0.3, 0.2)
    sounds_after(page)
    page.wait_for_timeout(1000)
    page.evaluate("long.length = 0")
    for i in range(PLAYED_S//3):
        page.wait_for_timeout(3000)
        press(page, 0.2 + 0.05*i, 0.1 + 0.08*i, [(0.25 + 0.05*i, 0.15 + 0.08*i)])
    long = page.evaluate("long")
    page.context.close()
    return long


DEVICES = {"phone": dict(viewport=dict(width=390, height=844), device_scale_factor=3, is_mobile=True, has_touch=True), "desk": dict(viewport=dict(width=1280, height=800))}
FOLLOWED = """([trauma, entropy]) => { // Whether what sounds was asked for with this point
  const asked = new URLSearchParams(location.hash.slice(1)).get("a").split(".").flatMap(part => { const [point, n] = part.split("x"); return Array(Number(n ?? 1)).fill(point.split("-")); });
  const [across, up] = asked[Math.floor(player.now / 4)] ?? [];
  return Math.abs(across - 100*trauma) < 3 && Math.abs(up - 100*entropy) < 3;
}"""


class Visit:
    "A newcomer on the landing page, who plays in the frame that it holds; what each step took is in `steps`."
    def __init__(self, browser, site, device):
        self.context, self.steps = browser.new_context(accept_downloads=True, permissions=["clipboard-read", "clipboard-write"], **DEVICES[device]), []
        self.page, self.site = self.context.new_page(), site
        self.page.add_init_script(WATCH)

    def walk(self):
        self.step("arrive: the square is seen", self.arrive)
        self.step("press: the first note", lambda: self.press((0.3, 0.2)), until="() => struck.some(at => performance.now() / 1000 >= at)")
        self.page.wait_for_timeout(5000) # listens
        self.step("drag: it sounds as asked for", lambda: self.press((0.3, 0.2), (0.8, 0.8)), until=FOLLOWED, arg=[0.8, 0.8])
        self.page.wait_for_timeout(4000)
        self.step("freeze", lambda: self.click("#freeze"), said="^Frozen")
        self.step("again from here: it sounds", lambda: [self.frame.evaluate("struck.length = 0"), self.click("#again")], until="() => struck.some(at => performance.now() / 1000 >= at)")
        self.step("save as MIDI", self.save)
        self.step("copy the link", lambda: self.click("#link"), said="copied")
        self.step("open the link: it sounds", self.reopen)
        self.context.close()
        return self.steps

    def step(self, name, act, until=None, arg=None, said=None):
        self.away, began = 0, time.perf_counter()
        act()
        if until: self.frame.wait_for_function(until, arg=arg, timeout=120_000)
        if said: expect(self.frame.locator("#status")).to_have_text(re.compile(said), timeout=120_000)
        self.steps.append(dict(step=name, seconds=time.perf_counter() - began, away_px=round(self.away)))

    def arrive(self):
        self.page.goto(self.site.root, wait_until="domcontentloaded")
        framed = self.page.locator("iframe.instrument")
        self.frame = framed.element_handle().content_frame()
        self.frame.wait_for_selector(".thumb")
        self.seen(self.frame.locator(".square"))
        self.frame.evaluate("async () => { window.player = (await import('./page/player.js')).player; }")

    def seen(self, element):
        "Scroll to an element as a hand would; how far it lay out of sight is kept."
        height, box, frame = self.page.viewport_size["height"], element.bounding_box(), self.frame.frame_element().bounding_box() if self.frame.parent_frame else None
        top, bottom = (max(frame["y"], 0), min(frame["y"] + frame["height"], height)) if frame else (0, height)
        away = max(box["y"] + box["height"] - max(bottom, top), top - box["y"])
        if away > 1: self.away = max(self.away, away) # else an edge, rounded
        element.scroll_into_view_if_needed()

    def click(self, selector):
        self.seen(self.frame.locator(selector))
        self.frame.click(selector)

    def press(self, *points):
        self.seen(square := self.frame.locator(".square"))
        box = square.bounding_box()
        at = [(box["x"] + x*box["width"], box["y"] + (1 - y)*box["height"]) for x, y in points]
        self.page.mouse.move(*at[0]); self.page.mouse.down()
        for place in at[1:]: self.page.mouse.move(*place, steps=10)
        self.page.mouse.up()

    def save(self):
        with self.page.expect_download() as saved: self.click("#midi")
        assert Path(saved.value.path()).read_bytes().startswith(b"MThd")

    def reopen(self):
        link = self.frame.evaluate("navigator.clipboard.readText()")
        self.page = self.context.new_page()
        self.page.add_init_script(WATCH)
        self.page.goto(link)
        self.frame = self.page.main_frame
        self.click("#play")
        self.frame.wait_for_function("() => struck.some(at => performance.now() / 1000 >= at)", timeout=120_000)


def visits(browser, site, rounds):
    "Medians of several visits."
    walked = pd.DataFrame([dict(device=device) | step for device in DEVICES for _ in range(rounds) for step in Visit(browser, site, device).walk()])
    return walked.groupby(["device", "step"], sort=False).median().round({"seconds": 2, "away_px": 0}).reset_index()


def main():
    parser = make_parser(__doc__, "bench/instrument.json")
    parser.add_argument("--rounds", type=int, default=3, help="of each time")
    parser.add_argument("--visit", action="store_true", help="walk as a newcomer does, into reports/bench/visit.csv")
    args = parser.parse_args()
    chromium = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    if args.visit:
        if not (ROOT/"_docs/play").is_dir(): parser.error("build the docs first: make docs")
        with sync_playwright() as p: found = visits(p.chromium.launch(executable_path=chromium, args=FLAGS), Site(ROOT/"_docs"), args.rounds)
        print(found.to_string(index=False))
        return found.to_csv(REPORTS/"bench/visit.csv", index=False)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        site, browser = Site(copy_instrument(Path(folder))), p.chromium.launch(executable_path=chromium, args=FLAGS)
        to_play, kept = transferred(browser, site)
        report = {"browser": browser.version, "cores": os.cpu_count(), "load before": round(os.getloadavg()[0], 1),
                  "MB until it can play": round(to_play, 2), "MB with all of the piano": round(kept, 2)}
        for name, is_loaded in (("just painted", False), ("loaded at leisure", True)):
            report[f"first sound after a touch, {name}, s"] = round(statistics.median(first_sound(browser, site, is_loaded) for _ in range(args.rounds)), 2)
        report["times as fast as the music"] = {name: {f"{n} candidates": round(statistics.median(composing(browser, site, place, n) for _ in range(args.rounds)), 1) for n in (1, 2, 4)} for name, place in PLACES.items()}
        long = playing(browser, site)
        report |= {"s played while a point moves": PLAYED_S, "long tasks": len(long), "longest task, ms": round(max(long, default=0))}
        report["load after"] = round(os.getloadavg()[0], 1)
        browser.close()
    for name, value in report.items(): print(f"{name}: {value}")
    write_json(report, args.out)


if __name__ == "__main__": run_script(main)
