"The page as a server gives it, in a real Chromium: its key, its listener, a server that starts or has another model; its sound, measured. What else it does is in test_instrument.py."
import base64
import re
import shutil

import numpy as np
import pytest
from conftest import Server

from psychoscore.notes import make_notes
from psychoscore.guard import SECURITY_HEADERS
from psychoscore.sound import render, strongest_hz

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--autoplay-policy=user-gesture-required"]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


SOUNDS = "() => document.body.classList.contains('sounding')"


def opened(browser, home, wrong_answers=False):
    "The page, with every console error, failed request and foreign host noted."
    context = browser.new_context(viewport=dict(width=1100, height=900))
    page = context.new_page()
    page.wrong, page.home = [], home
    page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" and not (wrong_answers and "Failed to load resource" in m.text) else None)
    page.on("pageerror", lambda e: page.wrong.append(str(e)))
    context.on("request", lambda r: None if r.url.startswith((home, "blob:")) else page.wrong.append(f"asks {r.url}"))
    page.goto(home)
    page.wait_for_selector(".thumb")
    return page


@pytest.fixture
def page(browser, server):
    page = opened(browser, server.url)
    yield page
    page.context.close()


def wait_for(page, selector, pattern): playwright.expect(page.locator(selector)).to_have_text(re.compile(pattern), timeout=60_000)


def press(page): page.locator(".square").click(position=dict(x=80, y=80))


def test_what_the_listener_hears_of_a_take(page, shots):
    press(page)
    page.wait_for_function(SOUNDS)
    assert page.is_disabled("#listen") # of a take that is whole
    page.click("#freeze")
    wait_for(page, "#status", "^Frozen")
    page.click("#listen")
    wait_for(page, "#listened", r"^Take 1 as the listener hears it: trauma \d+ % \(\d+ to \d+\), entropy \d+ %")
    page.screenshot(path=shots/"served.png", full_page=True)
    page.click("#new-take")
    page.wait_for_function(SOUNDS)
    assert page.text_content("#listened") == "" and page.wrong == []


def test_a_server_with_a_key_gives_its_model_to_those_who_have_it(browser, tmp_path, shots):
    server = Server(tmp_path, PSYCHOSCORE_API_KEY="open-sesame")
    try:
        page = opened(browser, server.url, wrong_answers=True)
        page.wait_for_selector("#api-key:visible")
        page.fill("#api-key", "mellon")
        page.keyboard.press("Enter")
        wait_for(page, "#error", "That is not the key")
        page.screenshot(path=shots/"key.png")
        page.fill("#api-key", "open-sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#api-key", state="hidden")
        press(page)
        page.wait_for_function(SOUNDS)
        page.click("#freeze")
        wait_for(page, "#status", "^Frozen")
        page.click("#listen")
        wait_for(page, "#listened", "^Take 1 as the listener hears it")
        assert "open-sesame" not in page.url + page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")
        kept = page.evaluate("async () => (await Promise.all((await caches.keys()).map(async name => (await (await caches.open(name)).keys()).map(request => request.url)))).flat()")
        assert not [url for url in kept if "/model/" in url and "/page/" not in url] and page.wrong == []
    finally: server.stop()


def test_a_server_that_is_starting_is_asked_again(browser, server):
    context, asked = browser.new_context(), []
    page = context.new_page()
    def starting(route):
        asked.append(route.request.url)
        if len(asked) > 1: return route.continue_()
        route.fulfill(status=503, headers={"Retry-After": "1"}, json={"errors": [{"field": "server", "message": "the model is being loaded"}]})
    context.route("**/model/config.json", starting)
    page.goto(server.url)
    page.wait_for_selector(".thumb")
    press(page)
    page.wait_for_function(SOUNDS, timeout=60_000)
    assert len(asked) == 2 and page.is_hidden("#error")
    context.close()


def test_a_server_that_never_is_ready_is_told_of(browser, server):
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.route("**/model/config.json", lambda route: route.fulfill(status=503, headers={"Retry-After": "61"}, json={"errors": [{"field": "server", "message": "the model could not be loaded"}]}))
    page.goto(server.url)
    page.wait_for_selector(".thumb")
    press(page)
    wait_for(page, "#error", "the model could not be loaded")
    context.close()


def test_the_policy_lets_nothing_foreign_in(page):
    assert "'unsafe" not in SECURITY_HEADERS["Content-Security-Policy"].replace("'wasm-unsafe-eval'", "") # WebAssembly alone may be compiled
    blocked = page.evaluate("""async () => { try { await fetch('https://example.org/'); return false; } catch { return true; } }""")
    page.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.head.append(s); }")
    assert blocked and page.evaluate("window.broken") is None


RATE, STEP_S = 48_000, 0.3 # Of the captured sound; how far it goes at a time, less than the player looks ahead
RECORDER = """
// What the page takes for an AudioContext. No clock drives it: it goes a step on when the player has looked at it.
class Recorder extends OfflineAudioContext {
  constructor() { super(2, RATE * window.recordedSeconds, RATE); window.recorder = this; }
  async resume() {}
  async record() {
    const { player } = await import('/page/player.js');
    const change = () => new Promise(r => player.addEventListener('change', () => r(player.timer), { once: true }));
    const looked = async () => { while (player.playing && !await change()); };
    await player.piano.fetch(player.notes); // so that none is waited for
    for (let at = STEP; at < window.recordedSeconds; at += STEP) this.suspend(at).then(looked).then(() => super.resume());
    await looked();
    const sound = await this.startRendering(), both = new Float32Array(2 * sound.length);
    for (const channel of [0, 1]) both.set(sound.getChannelData(channel), channel * sound.length);
    const reader = new FileReader();
    reader.readAsDataURL(new Blob([both]));
    return new Promise(r => { reader.onload = () => r(reader.result.split(',')[1]); });
  }
}
window.AudioContext = Recorder;
""".replace("RATE", str(RATE)).replace("STEP", str(STEP_S))


def table(*notes): # (onset, duration, pitch, velocity)
    return [dict(zip(("onset_s", "duration_s", "pitch", "velocity"), note)) for note in notes]


def record(page, seconds):
    "What the page plays, (2, N)."
    return np.frombuffer(base64.b64decode(page.evaluate("recorder.record()")), "<f4").reshape(2, seconds*RATE)


@pytest.fixture
def hear(page):
    "Play notes with the page's player and capture it."
    page.add_init_script(RECORDER)
    def hear(notes, seconds):
        page.goto("about:blank")
        page.add_init_script(f"window.recordedSeconds = {seconds}")
        page.goto(page.home)
        page.evaluate("""async ([notes, seconds]) => { const { player } = await import('/page/player.js');
            await player.unlock(); player.seconds = seconds; player.update(notes, seconds); player.play(); }""", [notes, seconds])
        return record(page, seconds)
    return hear


def loudness(sound, start, end): # Root mean square between two times, s
    return np.sqrt((sound[:, round(start*RATE):round(end*RATE)]**2).mean())


BEGIN_S = 0.05 # The player begins a piece so long after it is told to


def test_the_page_plays_a_piano_at_pitch_and_loudness(hear):
    pitches, velocities, gap = (28, 40, 52, 64, 76, 88), (20, 64, 110), 1.5
    played = [(pitch, velocity) for pitch in pitches for velocity in velocities]
    notes = table(*((gap*i, 0.8, pitch, velocity) for i, (pitch, velocity) in enumerate(played)))
    sound = hear(notes, 27)
    levels = []
    for note in notes:
        start = BEGIN_S + note["onset_s"]
        levels.append(loudness(sound, start, start + 0.5))
        partial = strongest_hz(sound[:, round((start + 0.05)*RATE):round((start + 0.75)*RATE)].T, RATE)/(440*2**((note["pitch"] - 69)/12))
        assert round(partial) in (1, 2, 3, 4) and abs(partial/round(partial) - 1) < 0.03, (note, partial)
        assert loudness(sound, start + 0.8 + 0.5, start + gap) < 1e-3*levels[-1], f"{note} does not end"
    levels = np.reshape(levels, (6, 3))
    expected = np.tile([(64/20)**2, (110/64)**2], (6, 1)) # the samples of a key are of one level
    np.testing.assert_allclose(levels[:, 1:]/levels[:, :2], expected, rtol=0.1)


def test_the_page_and_the_wav_hear_a_note_from_the_same_side_and_as_loud(hear):
    for pitch in 36, 60, 96:
        page, wav = hear(table((0, 1, pitch, 100)), 2), render(make_notes([0], [1], [pitch], 100)).T
        levels = [np.sqrt((sound[:, :RATE]**2).mean(1)) for sound in (page[:, round(BEGIN_S*RATE):], wav)]
        np.testing.assert_allclose(*levels, rtol=0.03) # left and right


def test_how_the_page_ends_a_note(hear):
    "A damper takes half a second to quieten a string by 80 dB; the highest strings have none; a key that is struck again rings until the later end."
    for pitch, release_s in (60, 0.5), (96, 5):
        held, ended = hear(table((0, 2, pitch, 100)), 2), hear(table((0, 0.5, pitch, 100)), 2)
        later = slice(round(0.56*RATE), round(0.9*RATE))
        since_end = np.arange(2*RATE)[later]/RATE - BEGIN_S - 0.5 # s
        np.testing.assert_allclose(ended[:, later], held[:, later]*10**(-80/20*since_end/release_s), atol=1e-4)
        assert np.abs(held[:, later]).max() > 2e-3 and ended[:, round(1.1*RATE):].any() == (pitch == 96)
        assert np.array_equal(ended, hear(table((0, 0.5, pitch, 100)), 2)) # the same notes, the same sound
    again = hear(table((0, 1.5, 60, 100), (0.5, 0.2, 60, 100)), 3)
    once = hear(table((0, 0.5, 60, 100), (0.5, 1, 60, 100)), 3)
    np.testing.assert_allclose(again, once, atol=1e-6)


def test_nothing_clips_and_single_notes_are_left_alone(hear):
    chord = 24, 36, 40, 43, 48, 52, 55, 60, 64, 67, 72, 84
    assert 0.9 < np.abs(hear(table(*((0.5*i, 0.4, pitch, 127) for i in range(4) for pitch in chord)), 3)).max() <= 1
    single = hear(table((0, 1, 60, 127), (1.5, 1, 30, 127)), 3)
    assert np.abs(single).max() < 0.7 # where the limiter begins
    assert np.abs(hear(table((0, 1, 60, 100)), 3)).max() == pytest.approx(0.28, abs=0.02)


STRUCK = """
window.struck = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at) { struck.push(at); start.call(this, at); };
"""


SAVING = "Object.defineProperty(navigator, 'connection', { value: { saveData: true } });" # nothing is fetched ahead of time


def test_notes_wait_for_their_samples(browser, server):
    "Neither the first note nor a later one is lost when its sample comes late."
    context, held = browser.new_context(service_workers="block"), {}
    page = context.new_page()
    page.add_init_script(STRUCK + SAVING)
    page.route("**/piano/*.ogg", lambda route: held.setdefault(route.request.url.rsplit("/")[-1], route))
    page.goto(server.url)
    page.click("header") # a gesture, without which no sound is made
    page.evaluate("""async notes => { const { player } = await import('/page/player.js'); window.player = player;
        await player.unlock(); player.seconds = 2; player.update(notes, 2); player.play(); }""",
        table((0, 0.3, 60, 100), (0.5, 0.3, 72, 100), (0.6, 0.3, 60, 100)))
    for _ in range(500):
        if len(held) == 2: break
        page.wait_for_timeout(20)
    page.wait_for_timeout(300)
    assert page.evaluate("[player.playing, player.now, struck.length]") == [True, 0, 0]
    held["60-loud.ogg"].continue_()
    page.wait_for_function("() => player.now === 0.5 && !player.timer")
    assert page.evaluate("struck.length") == 1
    held["72-loud.ogg"].continue_()
    page.wait_for_function("() => !player.playing")
    first, second, third = page.evaluate("struck")
    assert third - second == pytest.approx(0.1, abs=1e-6) and second > first
    context.close()


@pytest.mark.parametrize("answer, says", [
    (dict(status=404), "the server answered 404"), (dict(body="no sound"), "cannot decode Ogg Vorbis"), (None, "cannot be reached")])
def test_a_piano_that_cannot_be_had_is_told_of(browser, server, answer, says):
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.route("**/piano/*.ogg", lambda route: route.fulfill(**answer) if answer else route.abort())
    page.goto(server.url)
    page.wait_for_selector(".thumb")
    press(page)
    wait_for(page, "#error", says)
    assert page.text_content("#play") == "Play"
    page.unroute("**/piano/*.ogg")
    page.click("#play")
    page.wait_for_function(SOUNDS, timeout=60_000)
    assert page.is_hidden("#error")
    context.close()
