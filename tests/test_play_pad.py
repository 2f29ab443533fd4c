"The pad of the notebook in a real Chromium, with a stand-in for the Jupyter model."
import json
import shutil

import pytest

from psychoscore.play import Pad

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
# The boxes are those of JupyterLab 4.6: an output area, and in it an HBox in which the pad stands beside the options.
PAGE = """<!doctype html><meta charset="utf-8"><style>%s
.output { display: flex; } .panel { flex: 1 1 auto; overflow: auto; min-width: 0; } .hbox { display: flex; flex-direction: row; align-items: stretch; box-sizing: border-box; overflow: auto; }
.vbox { display: flex; flex-direction: column; width: 22rem; flex: none; }</style>
<div class="output"><div class="panel"><div class="hbox"><div id="pad"></div><div class="vbox">options</div></div></div></div><script type="module">
%s
const listeners = {}, values = %s;
window.model = { values, saved: 0, get: name => values[name], save_changes() { this.saved++; },
  set(name, value) { values[name] = value; for (const f of listeners[`change:${name}`] ?? []) f(); }, on: (name, f) => (listeners[name] ??= []).push(f) };
widget.render({ model, el: document.getElementById("pad") });
</script>"""


@pytest.mark.parametrize("width", [900, 320])
def test_drag_draw_and_be_told(tmp_path, width):
    script = str(Pad._esm).replace("export default", "const widget =").replace("export function", "function")
    values = {name: getattr(Pad(), name) for name in ("dimensions", "point", "drawing", "path", "measured")} # as Jupyter sends them
    (tmp_path/"pad.html").write_text(PAGE % (Pad._css, script, json.dumps(values)), encoding="utf-8")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        page, wrong = browser.new_page(viewport=dict(width=width, height=500)), []
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.goto((tmp_path/"pad.html").as_uri())
        box = page.locator(".square").bounding_box()
        assert 250 < box["width"] <= 352 and box["height"] == pytest.approx(box["width"], abs=2), box
        assert page.locator(".square .measured").count() == 0 # nothing is composed yet
        assert page.locator(".square .label").all_text_contents() == ["restless", "calm", "serene", "wounded"]
        def go(trauma, entropy): page.mouse.move(box["x"] + trauma*box["width"], box["y"] + (1 - entropy)*box["height"], steps=5)
        go(0.8, 0.2); page.mouse.down(); page.mouse.up()
        point = page.evaluate("model.values.point")
        assert abs(point["trauma"] - 0.8) < 0.02 and abs(point["entropy"] - 0.2) < 0.02 and page.evaluate("model.saved") > 0
        assert page.evaluate("model.values.path") == [] # nothing is drawn yet
        page.evaluate("model.set('drawing', true)")
        go(0.9, 0.9); page.mouse.down()
        for step in range(1, 9): go(0.9 - step/10, 0.9 - step/10)
        page.mouse.up()
        path = page.evaluate("model.values.path")
        assert 3 <= len(path) <= 8 and path[0]["trauma"] > 0.8 and path[-1]["trauma"] < 0.2
        assert page.locator(".square .point").count() == len(path)
        page.evaluate("model.set('measured', { trauma: 0.3, entropy: 0.4 })")
        assert page.locator(".square .measured").count() == 1
        for nothing in ("null", "{}"):
            page.evaluate(f"model.set('measured', {nothing})")
            assert page.locator(".square .measured").count() == 0, nothing
        page.screenshot(path=tmp_path/"pad.png")
        browser.close()
    assert wrong == []
