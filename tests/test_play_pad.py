"The pad in a real JupyterLab, in a real Chromium: it plays, what is played is in the kernel, and it looks as JupyterLab does."
import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import drag
from execnb.nbio import mk_cell, new_nb, write_nb

from psychoscore.candidates import Chooser
from psychoscore.compose import Composer
from psychoscore.midi import read_midi
from psychoscore.request import Request
from psychoscore.tokens import SEGMENT_S

pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
pytest.importorskip("anywidget", reason="anywidget is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
CELLS = "from psychoscore.play import Pad\npad = Pad()\npad", "other = Pad()\nother"
PAGE = Path(__file__).parent.parent/"psychoscore/assets/page"
TOKEN = "for-the-tests"
PANEL = "[...jupyterapp.shell.widgets('main')].find(widget => widget.context?.path === 'pad.ipynb')"
RUN = f"""async () => {{ await jupyterapp.restored;
  while (!{PANEL}) await new Promise(again => setTimeout(again, 50));
  const panel = {PANEL};
  await Promise.all([panel.revealed, panel.context.ready, panel.sessionContext.ready]);
  jupyterapp.shell.activateById(panel.id);
  await jupyterapp.commands.execute('notebook:run-all-cells'); }}"""
THEME = "async theme => { await jupyterapp.restored; await jupyterapp.commands.execute('apputils:change-theme', { theme }); }"
BESIDE = "() => jupyterapp.commands.execute('docmanager:open', { path: 'beside.md', options: { mode: 'split-right' } }).then(() => {})"
EXECUTE = """async code => {
  const kernel = PANEL.sessionContext.session.kernel;
  let said = '';
  const asked = kernel.requestExecute({ code });
  asked.onIOPub = message => { if (message.header.msg_type === 'stream') said += message.content.text; };
  const { content } = await asked.done;
  if (content.status !== 'ok') throw new Error(`${content.ename}: ${content.evalue}`);
  return said;
}""".replace("PANEL", PANEL)
STRUCK = """
// Notes as they are given to the audio clock, and decoded samples
window.struck = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at) { struck.push({ at, now: this.context.currentTime, seconds: this.buffer.duration }); start.call(this, at); };
"""
SOUNDS = "() => document.body.classList.contains('sounding')"


@contextmanager
def jupyterlab(within, cells, **environment):
    "Address of a JupyterLab with a notebook of these cells; it knows nothing of the user's settings, and asks nobody for news."
    folder, home = within/"work", within/"jupyter"
    folder.mkdir()
    notebook = new_nb([mk_cell(cell) for cell in cells], meta=dict(kernelspec=dict(name="python3", display_name="Python 3", language="python")))
    write_nb(notebook, folder/"pad.ipynb")
    (folder/"beside.md").write_text("beside\n")
    settings = home/"config"/"lab"/"user-settings"/"@jupyterlab"/"apputils-extension"/"notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(dict(fetchNews="false", checkForUpdates=False)))
    own = {f"JUPYTER_{name.upper()}_DIR": str(home/name) for name in ("config", "data", "runtime")} | dict(IPYTHONDIR=str(home/"ipython"))
    with (home/"log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1",
                                    "--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"],
                                   stdout=log, stderr=log, cwd=folder, env=os.environ | own | environment)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/lab", (home/"log").read_text())):
            assert process.poll() is None, (home/"log").read_text()
            time.sleep(0.05)
        yield found[0]
    finally:
        process.terminate() # and with it the kernels
        process.wait(60)


@contextmanager
def opened_notebook(lab):
    "Its notebook, opened in Chromium."
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--autoplay-policy=user-gesture-required"])
        page = browser.new_page(viewport=dict(width=1280, height=900), accept_downloads=True)
        page.set_default_timeout(120_000) # the kernel is a process that has yet to start
        page.add_init_script(STRUCK)
        page.goto(f"{lab}/tree/pad.ipynb?token={TOKEN}")
        page.wait_for_function("() => globalThis.jupyterapp !== undefined")  # a busy machine takes its time
        yield page
        browser.close()


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    "The notebook that the tests share."
    with jupyterlab(tmp_path_factory.mktemp("pad"), CELLS) as lab, opened_notebook(lab) as page: yield page


@pytest.fixture
def page(opened):
    "The notebook, its cells run anew."
    opened.set_viewport_size(dict(width=1280, height=900))
    opened.evaluate(RUN)
    wrong = []
    note = lambda error: wrong.append(str(error))
    opened.on("pageerror", note)
    yield opened
    opened.remove_listener("pageerror", note)
    assert wrong == []


def pad_of(page, number=0):
    "The frame of a pad, once its square is there."
    held = page.locator(".jp-OutputArea iframe").nth(number)
    held.scroll_into_view_if_needed()
    frame = held.element_handle().content_frame()
    frame.wait_for_selector(".thumb")
    return frame


def ask(page, expression):
    "What an expression is in the notebook's kernel."
    return json.loads(page.evaluate(EXECUTE, f"import json; print(json.dumps({expression}))").strip().split("\n")[-1])


def wait_for_segments(page, frame, many): frame.wait_for_function("many => Number(document.querySelector('#position').max) >= 4*many", arg=many, timeout=90_000)


def freeze(frame):
    if frame.text_content("#freeze") == "Freeze": frame.click("#freeze")
    playwright.expect(frame.locator("#status")).to_have_text(re.compile("^Frozen"))


def composed(composer, segments):
    "Tokens that Python writes when it is asked for the same, segment by segment as many candidates."
    from psychoscore.play import gesture_of
    draft, chooser = composer.draft(Request(gesture_of(segments), seconds=3600, seed=segments[0]["seed"])), Chooser(composer.weights)
    draft.candidates = segments[0]["candidates"]
    chooser.add([draft])
    while len(draft.starts) <= len(segments):
        draft.candidates = segments[len(draft.starts) - 1]["candidates"]
        chooser.step()
    return draft.ids[:draft.starts[len(segments)]]


def test_drag_hear_and_have(page, shots, tmp_path):
    "And the kernel may be busy meanwhile."
    page.set_viewport_size(dict(width=1440, height=900)) # music beside the square
    frame = pad_of(page)
    frame.wait_for_function("() => document.documentElement.dataset.kept === 'true'") # the model and all of the piano
    drag(page, (0.3, 0.1), (0.4, 0.2), within=frame)
    frame.wait_for_function(SOUNDS)
    assert frame.text_content("#status") == "It plays, and follows the point."
    page.evaluate(f"code => {{ window.busy = ({EXECUTE})(code); }}", "import time; time.sleep(12)")
    frame.wait_for_selector("body.begun") # the plan has come beside the square, which moves by that
    before = len(frame.evaluate("struck"))
    drag(page, (0.4, 0.2), (0.5, 0.9), within=frame)
    wait_for_segments(page, frame, 5)
    struck = frame.evaluate("struck")
    assert len(struck) > before + 10 and not [n for n in struck if n["at"] < n["now"] - 0.2] and min(n["seconds"] for n in struck) > 0.5
    page.evaluate("window.busy")
    page.locator(".jp-NotebookPanel").screenshot(path=shots/"pad.png")
    freeze(frame)
    assert frame.is_hidden("#error") and frame.is_hidden("#link") and page.evaluate("location.hash") == ""
    shown = int(re.search(r"\d+", frame.get_attribute("#roll", "aria-label"))[0])
    assert ask(page, "len(pad.piece.notes)") == shown > 20 and ask(page, "len(pad.takes)") == 1
    with page.expect_download() as midi: frame.click("#midi")
    midi.value.save_as(tmp_path/"a.mid")
    notes = read_midi(tmp_path/"a.mid").notes
    assert ask(page, "pad.piece.notes['pitch'].tolist()") == notes["pitch"].tolist()
    np.testing.assert_allclose(ask(page, "pad.piece.notes['onset_s'].tolist()"), notes["onset_s"], atol=0.002)
    (_, segments), = ask(page, "[*pad._taken.values()]")
    assert ask(page, "pad.piece.ids.tolist()[:-1]") == composed(Composer.from_pretrained(), segments)
    asked = ask(page, "[vars(p) for _, p in pad.arc.keyframes]")
    assert asked[0]["entropy"] < 0.3 and asked[-1] == dict(trauma=0.5, entropy=0.9) and len(asked) == ask(page, "pad.piece.seconds")/SEGMENT_S
    page.evaluate(EXECUTE, f"from psychoscore.evaluate import estimate_profile\nestimate_profile(pad.piece.notes)\nfor kind in '.mid', '.png', '.musicxml', '.mp3': pad.piece.save({str(tmp_path)!r} + '/piece' + kind)\npad.piece.plot(); pad.piece.plan")
    assert ask(page, "pad.composer.compose(pad.arc, seconds=4, seed=1).seconds") == 4
    frame.click("#new-take") # takes that the page chooses between
    frame.wait_for_function(SOUNDS)
    wait_for_segments(page, frame, 1)
    freeze(frame)
    first, second = ask(page, "[p.seed for p in pad.takes]")
    assert ask(page, "pad.piece.seed") == second != first
    frame.locator("#takes button").first.click()
    frame.wait_for_function(SOUNDS)
    assert ask(page, "pad.piece.seed") == first
    frame.click("#play")


def test_two_pads_know_nothing_of_each_other(page):
    one, two = pad_of(page), pad_of(page, 1)
    drag(page, (0.2, 0.2), (0.2, 0.3), within=two)
    two.wait_for_function(SOUNDS)
    freeze(two)
    assert ask(page, "[len(pad.takes), len(other.takes)]") == [0, 1] and one.locator("#takes li").count() == 0
    with pytest.raises(playwright.Error, match="press and drag in its square"): ask(page, "pad.piece.seed")


@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_it_is_as_light_as_jupyterlab(page, shots, theme, system):
    page.emulate_media(color_scheme=system)
    frame, is_dark = pad_of(page), theme.endswith("Dark")
    page.evaluate(THEME, theme)
    page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    channels = lambda of, what: frame.evaluate(f"getComputedStyle(document.querySelector('{of}')).{what}.match(/\\d+/g).slice(0, 3).map(Number)")
    ink, paper = channels(".square .label", "color"), channels("body", "backgroundColor")
    assert (min(ink) > 200 and max(paper) < 50) if is_dark else (max(ink) < 50 and min(paper) > 200), (ink, paper)
    page.screenshot(path=shots/f"pad-{theme.split()[-1]}-{system}.png")


def test_wide_and_narrow(page, shots):
    "It is as wide as the cell, and all of it can be reached."
    frame, held = pad_of(page), page.locator(".jp-OutputArea iframe").first
    drag(page, (0.2, 0.2), (0.2, 0.3), within=frame)
    frame.wait_for_function(SOUNDS)
    freeze(frame)
    for window in 1280, 900:
        if window == 900: page.evaluate(BESIDE)
        page.set_viewport_size(dict(width=window, height=900))
        page.wait_for_function("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(() => drawn(true))))")
        page.screenshot(path=shots/f"pad-wide-{window}.png")
        view, box = page.locator(".jp-OutputArea-output").first.bounding_box(), held.bounding_box()
        assert box["height"] == 46*16 and box["width"] <= view["width"] and box["width"] > view["width"] - 20, (window, view, box)
        assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth") and frame.locator("#play").bounding_box()["y"] < box["y"] + box["height"]


def test_modules_name_each_other_in_no_circle_and_one_knows_where_they_are():
    "Or they could not be given addresses one after the other."
    texts = {path.relative_to(PAGE).as_posix(): path.read_text(encoding="utf-8") for path in PAGE.rglob("*.js")}
    named = {path: {os.path.normpath(os.path.join(os.path.dirname(path), to)) for to in re.findall(r'(?:from|import)\s*\(?\s*"(\.[^"]+)"', text)} for path, text in texts.items()}
    assert named["instrument.js"] >= {"live.js", "wave.js", "model/smf.js"} and all(to in texts for them in named.values() for to in them)
    while free := [path for path, them in named.items() if not them & named.keys()]:
        for path in free: del named[path]
    assert not named
    assert [path for path, text in texts.items() if "import.meta" in text] == ["home.js"]
