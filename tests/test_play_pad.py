"The pad in a real JupyterLab, in a real Chromium: its size, its colours, what it sends, and where the ring stands."
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from conftest import drag
from execnb.nbio import mk_cell, new_nb, write_nb

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
CELL = """from psychoscore.evaluate import estimate_profile
from psychoscore.play import Play
play = Play()
play.seconds.value = 4
play"""
TOKEN = "for-the-tests"
PANEL = "[...jupyterapp.shell.widgets('main')].find(widget => widget.context?.path === 'pad.ipynb')"
RUN_ALL = f"""async () => {{ await jupyterapp.restored;
  while (!{PANEL}) await new Promise(again => setTimeout(again, 50));
  const panel = {PANEL};
  await Promise.all([panel.revealed, panel.context.ready, panel.sessionContext.ready]);
  jupyterapp.shell.activateById(panel.id);
  await jupyterapp.commands.execute('notebook:run-all-cells'); }}"""
THEME = "async theme => { await jupyterapp.restored; await jupyterapp.commands.execute('apputils:change-theme', { theme }); }"
BESIDE = "() => jupyterapp.commands.execute('docmanager:open', { path: 'beside.md', options: { mode: 'split-right' } }).then(() => {})"
ASK = """async expression => {
  const kernel = PANEL.sessionContext.session.kernel;
  let said = '';
  const asked = kernel.requestExecute({ code: `import json; print(json.dumps(${expression}))` });
  asked.onIOPub = message => { if (message.header.msg_type === 'stream') said += message.content.text; };
  const { content } = await asked.done;
  if (content.status !== 'ok') throw new Error(`${content.ename}: ${content.evalue}`);
  return JSON.parse(said.trim().split('\\n').at(-1));
}""".replace("PANEL", PANEL)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "Address of a JupyterLab that the tests share; it knows nothing of the user's settings, and asks nobody for news."
    folder, home = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("jupyter")
    notebook = new_nb([mk_cell(CELL)], meta=dict(kernelspec=dict(name="python3", display_name="Python 3", language="python")))
    write_nb(notebook, folder/"pad.ipynb")
    (folder/"beside.md").write_text("beside\n")
    settings = home/"config"/"lab"/"user-settings"/"@jupyterlab"/"apputils-extension"/"notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(dict(fetchNews="false", checkForUpdates=False)))
    own = {f"JUPYTER_{name.upper()}_DIR": str(home/name) for name in ("config", "data", "runtime")} | dict(IPYTHONDIR=str(home/"ipython"))
    with (home/"log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1",
                                    "--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"],
                                   stdout=log, stderr=log, cwd=folder, env=os.environ | own)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab", (home/"log").read_text())):
            assert process.poll() is None, (home/"log").read_text()
            time.sleep(0.05)
        yield found[0]
    finally:
        process.terminate() # and with it the kernels
        process.wait(60)


@pytest.fixture(scope="module")
def opened(lab):
    "The notebook, opened in Chromium."
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        page = browser.new_page()
        page.set_default_timeout(120_000) # the kernel is a process that has yet to start
        page.goto(f"{lab}/tree/pad.ipynb?token={TOKEN}")
        page.wait_for_function("() => globalThis.jupyterapp !== undefined")  # a busy machine takes its time
        yield page
        browser.close()


@pytest.fixture
def page(opened):
    "The notebook, its cell run anew."
    opened.set_viewport_size(dict(width=1280, height=900))
    opened.evaluate(RUN_ALL)
    opened.wait_for_selector(".square")
    wrong = []
    note = lambda error: wrong.append(str(error))
    opened.on("pageerror", note)
    yield opened
    opened.remove_listener("pageerror", note)
    assert wrong == []


def ask(page, expression):
    "What an expression is in the notebook's kernel."
    return page.evaluate(ASK, expression)


def wait_until(page, expression, wanted):
    "Wait until an expression is so in the notebook's kernel: widgets hold changes back while it is busy."
    for _ in range(300):
        if (found := ask(page, expression)) == wanted: return found
        page.wait_for_timeout(100)
    raise AssertionError(f"{expression} is {found}, not {wanted}")


def place(page, selector):
    "Where the middle of a mark stands in the square, as a profile."
    square, mark = (page.locator(s).bounding_box() for s in (".square", selector))
    return dict(trauma=(mark["x"] + mark["width"]/2 - square["x"])/square["width"], entropy=1 - (mark["y"] + mark["height"]/2 - square["y"])/square["height"])


def about(profile): return pytest.approx(profile, abs=0.01) # what is sent has two decimals


def test_drag_compose_and_see_where_it_was_heard(page, shots):
    heard = "{name: e.value for name, e in estimate_profile(play.pieces[-1].notes)._asdict().items()}"
    box = page.locator(".square").bounding_box()
    assert (box["width"], box["height"]) == (352, 352)
    assert page.locator(".square .label").all_text_contents() == ["restless", "calm", "serene", "wounded"]
    assert page.locator(".measured").count() == 0 and ask(page, "play.pad.measured") is None # nothing is composed yet
    assert place(page, ".thumb") == about(ask(page, "play.pad.point")) == dict(trauma=0.8, entropy=0.2)
    assert page.locator(".jp-OutputArea select").evaluate("menu => menu.selectedOptions[0]?.text") == "any"
    drag(page, (0.5, 0.5), (0.2, 0.9))
    point = wait_until(page, "play.pad.point", about(dict(trauma=0.2, entropy=0.9)))
    assert place(page, ".thumb") == about(point)
    page.click(".jp-OutputArea button:text('Compose')")
    page.wait_for_selector("audio")
    assert ask(page, "[vars(p) for _, p in play.pieces[-1].trajectory.keyframes][0]") == point
    assert place(page, ".measured") == about(ask(page, heard))
    sizes = page.evaluate("""async () => { const [image, audio] = ['.widget-image', 'audio'].map(s => document.querySelector(s));
        await image.decode(); if (!audio.duration) await new Promise((ready, failed) => { audio.onloadedmetadata = ready; audio.onerror = failed; });
        return [image.naturalWidth, image.clientWidth, audio.clientWidth, audio.duration]; }""")
    assert min(sizes[:3]) > 300 and sizes[3] > 4
    page.screenshot(path=shots/"pad-composed.png")
    ask(page, "[setattr(play.pad, 'point', dict(trauma=0.9, entropy=0.1)), play.compose() and None]") # from Python
    page.wait_for_function("document.querySelectorAll('audio').length === 2") # to be compared
    assert place(page, ".thumb") == about(dict(trauma=0.9, entropy=0.1)) and len(set(ask(page, "[p.ids.tobytes().hex() for p in play.pieces]"))) == 2
    assert place(page, ".measured") == about(ask(page, heard)) and page.locator(".measured").count() == 1


def test_a_path_is_drawn(page):
    drag(page, (0.9, 0.9), (0.1, 0.1))
    wait_until(page, "play.pad.point", about(dict(trauma=0.1, entropy=0.1)))
    assert ask(page, "play.pad.path") == [] and page.locator(".point").count() == 0
    page.check(".jp-OutputArea input[type=checkbox]")
    wait_until(page, "play.pad.drawing", True)
    drag(page, (0.9, 0.9), (0.5, 0.5), (0.1, 0.1))
    shown = page.locator(".point").count()
    assert 3 <= shown <= 8 and place(page, ".point >> nth=0") == about(dict(trauma=0.9, entropy=0.9)) and place(page, ".point >> nth=-1") == about(dict(trauma=0.1, entropy=0.1))
    wait_until(page, "len(play.pad.request(4).keyframes)", shown)


@pytest.mark.parametrize("measured", ["None", "{}", "dict(trauma=0.5)"])
def test_no_ring_where_nothing_was_heard(page, measured):
    ask(page, "setattr(play.pad, 'measured', dict(trauma=0.3, entropy=0.4))")
    page.wait_for_selector(".measured")
    assert place(page, ".measured") == about(dict(trauma=0.3, entropy=0.4))
    ask(page, f"setattr(play.pad, 'measured', {measured})")
    page.wait_for_selector(".measured", state="detached")


@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_it_is_as_light_as_jupyterlab(page, shots, theme, system):
    page.emulate_media(color_scheme=system)
    page.evaluate(THEME, theme)
    page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    ink = page.locator(".square .label").first.evaluate("label => getComputedStyle(label).color.match(/\\d+/g).map(Number)")
    assert (min(ink) > 200) if theme.endswith("Dark") else (max(ink) < 50), ink
    page.screenshot(path=shots/f"pad-{theme.split()[-1]}-{system}.png")


def test_beside_another_document(page, shots):
    "All of it can be reached in a narrow view: the options go below the square, which is as wide as there is room."
    page.click(".jp-OutputArea button:text('Compose')")
    page.wait_for_selector("audio")
    page.evaluate(BESIDE)
    for window in 1280, 900:
        page.set_viewport_size(dict(width=window, height=900))
        page.wait_for_function("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(() => drawn(true))))")
        page.screenshot(path=shots/f"pad-beside-{window}.png")
        view, box = page.locator(".jp-OutputArea-output").bounding_box(), page.locator(".square").bounding_box()
        assert box["width"] == pytest.approx(min(352, view["width"]), abs=1) == box["height"] and box["width"] > 150, (window, view, box)
        for part in page.locator(".jp-OutputArea .widget-vbox .jupyter-widgets").all():
            inner = part.bounding_box()
            assert inner["width"] > 50 and inner["x"] + inner["width"] <= view["x"] + view["width"], (window, view, inner, part.get_attribute("class"))
        below = page.locator(".jp-OutputArea button:text('Compose')").bounding_box()
        assert below["y"] > box["y"] + box["height"], (window, box, below)
