"The page in a real Chromium: drag, generate, hear, download, errors, keyboard, a phone's width, light and dark."
import re
import shutil

import pytest

from psychoscore.notes import read_midi
from psychoscore.serve import SECURITY_HEADERS

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
    page.goto(server.url)
    page.wait_for_selector("#generate:enabled") # the dials are known
    yield page
    context.close()


def drag(page, *points):
    "Press at the first point (trauma, entropy), move through the others, release."
    box = page.locator(".square").bounding_box()
    at = [(box["x"] + trauma*box["width"], box["y"] + (1 - entropy)*box["height"]) for trauma, entropy in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]: page.mouse.move(x, y, steps=4)
    page.mouse.up()


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
    notes = read_midi(tmp_path/"a.mid")
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
    assert "profile.trauma: trauma must be in [0, 1], got 1.7" in page.text_content("#error")
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
