"The docs site: built, its links checked, and looked at in a real Chromium, at two widths."
import functools
import http.server
import importlib.util
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
WIDTHS = dict(desk=(1280, 900), phone=(390, 844))
VIEWED = ["index.html", "tutorials/first_arc.html", "contrastive.html", "music/profile.html", "howto/own_midi.html", "explanation/dial.html", "api.html", "reports/report/report.html", "reports/examples/index.html"]


@pytest.fixture(scope="module")
def make_docs():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT/".ci/make_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- the checks find what they are for

PAGE = '<html><head><link rel="canonical" href="https://example.org/"></head><body><h2 id="here">Here</h2><img src="dot.png"><a href="https://example.org/">out</a>%s</body></html>'

def problems(make_docs, folder, body="", css=""):
    (folder/"sub").mkdir()
    (folder/"dot.png").write_bytes(b"")
    (folder/"style.css").write_text(css)
    (folder/"index.html").write_text(PAGE % body)
    (folder/"sub"/"page.html").write_text('<a href="../index.html#here">Up</a>')
    return make_docs.check_site(folder)


@pytest.mark.parametrize("body", ["", '<a href="sub/page.html">', '<a href="index.html#here">', '<a href="#here">', '<a href="sub/../dot.png">', '<a href="#top">'])
def test_a_sound_page_has_no_problem(make_docs, tmp_path, body): assert problems(make_docs, tmp_path, body) == []


@pytest.mark.parametrize("body, css, said", [
    ('<a href="gone.html">', "", "links to gone.html, which is not there"),
    ('<a href="sub/page.html#gone">', "", "links to sub/page.html#gone, where no such place is"),
    ('<a href="#gone">', "", "links to #gone"),
    ('<img src="gone.png">', "", "links to gone.png, which is not there"),
    ('<audio src="sub/gone.mp3"></audio>', "", "links to sub/gone.mp3"),
    ('<script src="https://cdn.example/x.js"></script>', "", "fetches https://cdn.example/x.js"),
    ('<img src="//cdn.example/x.png">', "", "fetches //cdn.example/x.png"),
    ('<link rel="stylesheet" href="http://cdn.example/x.css">', "", "fetches http://cdn.example/x.css"),
    ("", "@import url('https://fonts.example/x');", "fetches https://fonts.example/x"),
])
def test_each_fault_is_found(make_docs, tmp_path, body, css, said):
    found = problems(make_docs, tmp_path, body, css)
    assert len(found) == 1 and said in found[0]


def test_links_lead_to_files_of_the_repository(make_docs):
    links = make_docs.Links({"05_serve.ipynb": "serve.ipynb", "howto/serve.ipynb": "howto/serve.ipynb"})
    assert links.rewrite("[a](../05_serve.ipynb#x) [b](https://example.org) [c](../../settings.ini)", "nbs/howto/serve.ipynb", "howto/serve.html") \
        == f"[a](../serve.html#x) [b](https://example.org) [c]({links.git % 'blob'}settings.ini)"
    assert links.broken == []
    links.rewrite("[a](../serve.html) `[code](nowhere)`\n```\n[fenced](nowhere)\n```\n[c](../06_gone.ipynb)", "nbs/howto/serve.ipynb", "howto/serve.html")
    assert [line.split(",")[0] for line in links.broken] == ["nbs/howto/serve.ipynb links to ../serve.html", "nbs/howto/serve.ipynb links to nowhere", "nbs/howto/serve.ipynb links to ../06_gone.ipynb"]


def test_what_quarto_adds_for_widgets_is_removed(make_docs, tmp_path):
    page = tmp_path/"page.html"
    page.write_text('<html><head><script src="https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js"></script><script>define(\'jquery\', [],function() {return window.jQuery;})</script><script src="site.js"></script></head></html>')
    make_docs.drop_widget_scripts(page)
    assert page.read_text() == '<html><head><script src="site.js"></script></head></html>'


# ---- the site itself

@pytest.fixture(scope="module")
def site():
    "The site as `make docs` builds it, which fails where a link leads nowhere or a page asks another host."
    result = subprocess.run([sys.executable, ROOT/".ci/make_docs.py"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and ", 0 problems" in result.stdout, (result.stdout + result.stderr)[-3000:]
    return ROOT/"_docs"


def test_every_notebook_and_report_has_a_page(site):
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert len(pages) > len(list(ROOT.glob("nbs/**/[!.]*.ipynb"))) and set(VIEWED) <= pages
    assert {str(path.relative_to(ROOT)).replace("README.md", "index.md").replace(".md", ".html") for path in ROOT.glob("reports/**/*.md")} <= pages


@pytest.fixture(scope="module")
def browser(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None: pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    handler = type("Handler", (http.server.SimpleHTTPRequestHandler,), dict(log_message=lambda *said: None))
    host = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=site))
    threading.Thread(target=host.serve_forever, daemon=True).start()
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        browser.home = f"http://127.0.0.1:{host.server_port}/"
        yield browser
        browser.close()
    host.shutdown()


@pytest.fixture(params=WIDTHS)
def page(browser, request):
    "A page of the given width, with every console error, failed request and foreign host noted."
    width, height = WIDTHS[request.param]
    context = browser.new_context(viewport=dict(width=width, height=height))
    page = context.new_page()
    page.wrong, page.name = [], request.param
    page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.wrong.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith((browser.home, "blob:", "data:")) else page.wrong.append(f"asks {r.url}"))
    page.on("response", lambda r: page.wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    yield page
    context.close()


def test_pages_ask_no_other_host_and_fit_the_width(browser, page, shots):
    for name in VIEWED:
        page.goto(browser.home + name, wait_until="load")
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 1, f"{name} is {wide} px wider than a {page.name}"
        assert page.locator("h1").first.inner_text().strip()
        page.screenshot(path=shots/f"docs-{page.name}-{name.replace('/', '-')}.png")
    assert page.wrong == []


def test_the_landing_page_plays(browser, page):
    page.goto(browser.home)
    players = page.locator("figure.listen")
    assert players.count() == 3
    seconds = page.evaluate("""() => Promise.all([...document.querySelectorAll("figure.listen audio")].map(audio => new Promise((found, failed) => {
        audio.onloadedmetadata = () => found(audio.duration); audio.onerror = failed; audio.preload = "metadata"; audio.load(); })))""")
    assert all(25 < s < 50 for s in seconds) and page.wrong == []
    assert page.evaluate("[...document.querySelectorAll('figure.listen img')].every(img => img.complete && img.naturalWidth > 100)")
    for part, least in ("img", 60), ("audio", 30): # as wide as their card, and high enough to be seen and pressed
        sizes = page.locator(f"figure.listen {part}").evaluate_all("parts => parts.map(e => [e.offsetWidth, e.offsetHeight, e.parentElement.clientWidth])")
        assert all(width > 0.85*card > 200 and height > least for width, height, card in sizes), (part, sizes)


def test_the_landing_page_leads_to_the_instrument(browser, page):
    "In its first screen; what plays there is in test_instrument.py."
    page.goto(browser.home)
    link = page.get_by_role("link", name="Play it in this page")
    assert link.bounding_box()["y"] < page.viewport_size["height"] - 48
    link.click()
    page.wait_for_selector(".thumb")
    assert page.url == f"{browser.home}play/index.html" and page.text_content("#status") == "Press and drag: it plays."
    page.wait_for_function("() => document.documentElement.dataset.kept === 'true'", timeout=60_000) # all its files are there
    assert page.wrong == []


def test_the_landing_page_holds_the_instrument(browser, page):
    "The model is fetched when somebody plays, and then it plays."
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(browser.home)
    instrument = page.frame_locator("iframe.instrument")
    square = instrument.locator(".square")
    square.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert not any("model.safetensors" in url for url in asked)
    square.click()
    expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
    expect(instrument.locator("#status")).to_have_text("It plays, and follows the point.", timeout=60_000)
    assert any("model.safetensors" in url for url in asked) and page.wrong == []
