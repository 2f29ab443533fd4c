"The page in a real Chromium: drag, generate, download, errors, keyboard, a phone's width, light and dark; its sound, measured."
import base64
import re
import shutil

import numpy as np
import pytest
from conftest import drag

from psychoscore.midi import read_midi
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


@pytest.fixture
def page(browser, server):
    "The page, with every console error, failed request and foreign host noted."
    context = browser.new_context(viewport=dict(width=1100, height=900), accept_downloads=True)
    page = context.new_page()
    page.wrong = []
    page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.wrong.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith((server.url, "blob:")) else page.wrong.append(f"asks {r.url}"))
    page.home = server.url
    page.goto(page.home)
    page.wait_for_selector("#generate:enabled") # the dials are known
    yield page
    context.close()


def check_sizes(page, roll):
    "What is drawn in, looked at and dragged has the size that is meant, px."
    size = {name: page.locator(name).evaluate("e => [e.offsetWidth, e.offsetHeight]") for name in (".square", "#roll", "#position", "#seconds")}
    assert size[".square"][0] == size[".square"][1] > 250 and size["#roll"][0] >= roll[0] and size["#roll"][1] == roll[1], size
    assert size["#position"][0] > 100 and size["#seconds"][0] > 100, size


def wait_for(page, selector, pattern):
    playwright.expect(page.locator(selector)).to_have_text(re.compile(pattern), timeout=60_000)


def choose_seconds(page, seconds): page.locator("#seconds").fill(str(seconds))


def generate(page):
    page.click("#generate")
    wait_for(page, "#status", "^Done")


def ink(page): # share of the roll's pixels that are drawn on
    return page.evaluate("""() => { const c = document.getElementById('roll'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n / (d.length / 4); }""")


def photograph(page, name, folder):
    page.screenshot(path=folder/f"{name}.png", full_page=True)


def test_drag_generate_hear_download(page, shots, tmp_path):
    photograph(page, "empty", shots)
    check_sizes(page, roll=(600, 320))
    before = ink(page)
    drag(page, (0.5, 0.5), (0.2, 0.9))
    assert (page.input_value("#trauma"), page.input_value("#entropy")) == ("0.20", "0.90")
    choose_seconds(page, 20)
    page.fill("#seed", "7")
    page.click("#generate")
    wait_for(page, "#status", "^Segment")
    peak = page.evaluate("""async () => { const { player } = await import('/page/player.js'); let peak = 0;
        for (let i = 0; i < 40 && peak < 0.01; i++) { await new Promise(r => setTimeout(r, 50)); peak = Math.max(peak, player.peak()); } return peak; }""")
    assert peak > 0.01, "nothing is heard"
    assert page.evaluate("async () => { const { player } = await import('/page/player.js'); return player.playing && player.now > 0; }")
    photograph(page, "playing", shots)
    page.click("#play")
    assert page.text_content("#play") == "Play"
    wait_for(page, "#status", "^Done")
    assert ink(page) > before + 0.01
    with page.expect_download() as midi: page.click("#save-midi")
    midi.value.save_as(tmp_path/"a.mid")
    notes = read_midi(tmp_path/"a.mid").notes
    assert f"{len(notes)} notes" in page.text_content("#about") and midi.value.suggested_filename == "psychoscore-7.mid"
    with page.expect_download() as wav: page.click("#save-wav")
    wav.value.save_as(tmp_path/"a.wav")
    assert (tmp_path/"a.wav").read_bytes()[:4] == b"RIFF"
    assert page.text_content("#trauma-requested") == "0.20" and re.fullmatch(r"[01]\.\d\d \([01]\.\d\d–[01]\.\d\d\)", page.text_content("#trauma-measured"))
    page.locator("#position").fill("3")
    assert page.evaluate("async () => (await import('/page/player.js')).player.now") == 3
    assert page.wrong == []


def test_an_arc_is_drawn_and_followed(page, shots):
    page.check("[value=arc]")
    drag(page, (0.9, 0.8), (0.6, 0.3), (0.1, 0.2))
    assert 3 <= page.locator(".square .point").count() <= 12
    choose_seconds(page, 8)
    with page.expect_request("**/v1/stream") as asked: generate(page)
    frames = asked.value.post_data_json["trajectory"]
    assert frames[0]["profile"]["trauma"] == pytest.approx(0.9, abs=0.02) and frames[-1]["profile"]["trauma"] == pytest.approx(0.1, abs=0.02)
    assert frames[0]["seconds"] == 0 and frames[-1]["seconds"] == 8
    photograph(page, "arc", shots)
    page.click("#clear-points")
    assert page.locator(".square .point").count() == 0 and page.wrong == []


def test_all_by_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "shape"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "slider"
    for key in ("Home", "PageDown", "PageDown", "PageDown", "Enter", "End", "Shift+ArrowUp", "ArrowUp", "Enter", "Enter", "Backspace"): page.keyboard.press(key)
    assert page.locator(".square .point").count() == 2
    assert page.locator(".thumb").get_attribute("aria-valuetext") == "trauma 1.00, entropy 0.11"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "seconds": break
    page.keyboard.press("Home")
    while page.evaluate("document.activeElement.id") != "generate": page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_for(page, "#status", "^Done")
    assert page.input_value("#seconds") == "4" and page.wrong == []


def test_errors_are_shown_and_go_away(page, shots):
    page.fill("#trauma", "1.7")
    page.click("#generate")
    page.wait_for_selector("#error:visible")
    assert "profile.trauma must be a number in [0, 1] or null, got 1.7" in page.text_content("#error")
    photograph(page, "error", shots)
    page.fill("#trauma", "0.7")
    choose_seconds(page, 4)
    generate(page)
    assert page.is_hidden("#error")
    page.route("**/v1/stream", lambda route: route.abort())
    page.click("#generate")
    page.wait_for_selector("#error:visible")
    assert page.text_content("#error") == "The server cannot be reached."
    page.unroute("**/v1/stream")
    page.route("**/v1/stream", lambda route: route.fulfill(status=429, headers={"Retry-After": "3"}, json={"errors": [{"field": "server", "message": "64 requests are waiting already"}]}))
    page.click("#generate")
    wait_for(page, "#error", "try again in 3 s")


def test_a_server_that_is_starting_is_asked_again(browser, server):
    page, asked = browser.new_page(), []
    def starting(route):
        asked.append(route.request.url)
        if len(asked) > 1: return route.continue_()
        route.fulfill(status=503, headers={"Retry-After": "1"}, json={"errors": [{"field": "server", "message": "the model is being loaded"}]})
    page.route("**/v1/model", starting)
    page.goto(server.url)
    wait_for(page, "#error", "the model is being loaded \\(try again in 1 s\\)")
    assert page.is_disabled("#generate")
    page.check("[value=arc]") # what is chosen meanwhile holds
    page.wait_for_selector("#generate:enabled")
    assert len(asked) == 2 and page.is_hidden("#error") and page.is_visible("#strip") and page.locator("#strip polyline").count() == 2
    page.close()


def test_stop_ends_the_work(page, server):
    choose_seconds(page, 120)
    page.click("#generate")
    wait_for(page, "#status", "^Segment")
    page.click("#stop")
    server.wait_until_idle()
    assert page.text_content("#status") == "Stopped." and page.is_enabled("#generate")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser, server, shots, scheme):
    context = browser.new_context(viewport=dict(width=360, height=740), device_scale_factor=2, has_touch=True, is_mobile=True, color_scheme=scheme)
    page = context.new_page()
    page.goto(server.url)
    page.check("[value=arc]")
    check_sizes(page, roll=(280, 208))
    box = page.locator(".square").bounding_box()
    page.touchscreen.tap(box["x"] + 50, box["y"] + 60)
    page.touchscreen.tap(box["x"] + 200, box["y"] + 200)
    assert page.locator(".square .point").count() == 2
    choose_seconds(page, 8)
    page.tap("#generate")
    wait_for(page, "#status", "^Done")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate("[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.getBoundingClientRect().height < 40).map(b => b.id)")
    assert small == []
    photograph(page, f"phone-{scheme}", shots)
    context.close()


def test_dark_on_a_desk(browser, server, shots):
    context = browser.new_context(viewport=dict(width=1100, height=800), color_scheme="dark")
    page = context.new_page()
    page.goto(server.url)
    choose_seconds(page, 8)
    generate(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 20, 26)"
    photograph(page, "dark", shots)
    context.close()


def test_the_policy_lets_nothing_foreign_in(page):
    assert "'unsafe" not in SECURITY_HEADERS["Content-Security-Policy"]
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
            await player.unlock(); player.load(seconds); player.update(notes, seconds); player.play(); }""", [notes, seconds])
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


def test_a_generated_piece_sounds_its_notes(page):
    page.add_init_script("window.recordedSeconds = 9\n" + RECORDER)
    page.goto(page.home)
    choose_seconds(page, 8)
    page.fill("#seed", "7")
    generate(page)
    sound = record(page, 9).sum(0)
    notes = page.evaluate("async () => (await import('/page/player.js')).player.notes")
    spectrum, hz = np.abs(np.fft.rfft(sound))**2, np.fft.rfftfreq(len(sound), 1/RATE)
    inside = (hz > 60) & (hz < 2000)
    chroma = np.bincount(np.round(12*np.log2(hz[inside]/440) + 69).astype(int) % 12, spectrum[inside], 12)
    wanted = np.bincount([n["pitch"] % 12 for n in notes], [n["velocity"]**2*n["duration_s"] for n in notes], 12)
    assert np.corrcoef(np.sqrt(chroma), np.sqrt(wanted))[0, 1] > 0.6 and page.wrong == []


STRUCK = """
window.struck = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at) { struck.push(at); start.call(this, at); };
"""


def test_notes_wait_for_their_samples(page):
    "Neither the first note nor a later one is lost when its sample comes late."
    page.add_init_script(STRUCK)
    page.goto(page.home)
    held = {}
    page.route("**/piano/*.ogg", lambda route: held.setdefault(route.request.url.rsplit("/")[-1], route))
    page.click("header") # a gesture, without which no sound is made
    page.evaluate("""async notes => { const { player } = await import('/page/player.js'); window.player = player;
        await player.unlock(); player.load(2); player.update(notes, 2); player.play(); }""",
        table((0, 0.3, 60, 100), (0.5, 0.3, 72, 100), (0.6, 0.3, 60, 100)))
    while len(held) < 2: page.wait_for_timeout(20)
    page.wait_for_timeout(300)
    assert page.evaluate("[player.playing, player.now, struck.length]") == [True, 0, 0]
    held["60-loud.ogg"].continue_()
    page.wait_for_function("() => player.now === 0.5 && !player.timer")
    assert page.evaluate("struck.length") == 1 and page.text_content("#play") == "Pause"
    held["72-loud.ogg"].continue_()
    page.wait_for_function("() => !player.playing")
    first, second, third = page.evaluate("struck")
    assert third - second == pytest.approx(0.1, abs=1e-6) and second > first and page.wrong == []


@pytest.mark.parametrize("answer, says", [
    (dict(status=404), "the server answered 404"), (dict(body="no sound"), "cannot decode Ogg Vorbis"), (None, "cannot be reached")])
def test_a_piano_that_cannot_be_had_is_told_of(page, shots, answer, says):
    page.route("**/piano/*.ogg", lambda route: route.fulfill(**answer) if answer else route.abort())
    choose_seconds(page, 4)
    page.fill("#seed", "7")
    page.click("#generate")
    wait_for(page, "#error", says)
    playwright.expect(page.locator("#save-midi")).to_be_enabled(timeout=60_000) # the piece itself comes
    assert page.text_content("#play") == "Play"
    photograph(page, "no-piano", shots)
    page.unroute("**/piano/*.ogg")
    page.click("#play")
    page.wait_for_function("() => document.getElementById('position').value > 0")
    assert page.is_hidden("#error")


def test_a_new_piece_forgets_the_samples_of_the_last(page):
    loud, soft = table((0, 1, 60, 100), (0, 1, 60, 20))
    page.evaluate("""async note => { window.player = (await import('/page/player.js')).player;
        await player.unlock(); player.load(2); await player.piano.fetch([note]); }""", loud)
    held = "note => player.piano.has(note)"
    assert page.evaluate(held, loud) and not page.evaluate(held, soft)
    page.evaluate("player.load(2)")
    assert not page.evaluate(held, loud)
