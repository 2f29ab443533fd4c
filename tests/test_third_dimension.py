"A third dial is one line: a copy of the package with that line goes through every command, the server, the pad and the page."
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import psychoscore
from conftest import Server, drag

ROOT = Path(__file__).parent.parent
LINE = '    Dimension("entropy", "calm", "restless", "arousal, Russell\'s circumplex (1980)"),\n'
MORE = '    Dimension("dominance", "powerless", "in charge", "dominance, Mehrabian and Russell (1974)"),\n'

COMMANDS = """
import contextlib, io, json, shutil, sys
from pathlib import Path
import numpy as np
from psychoscore import cli
from psychoscore.notes import make_notes, midi_bytes

def command(*arguments, code=0):
    "What the command says on stdout and stderr."
    said, wrong, sys.argv = io.StringIO(), io.StringIO(), ["psychoscore", *map(str, arguments)]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        try: cli.main()
        except SystemExit as left: assert left.code == code, (arguments, left.code, said.getvalue(), wrong.getvalue())
    return said.getvalue(), wrong.getvalue()

for name in ("compose", "search", "explain"): assert "--dominance" in command(name, "--help")[0], name
assert "--dominance" in command("explain", "--trauma", 0.5, "--entropy", 0.5, code=2)[1]

# Own labels, some without the new dial, as EMOPIA's are; rules, which ignore it.
rng, music = np.random.default_rng(0), Path("music")
music.mkdir()
labels = ["path,trauma,entropy,dominance,split"]
for i in range(48):
    notes = make_notes(np.arange(60)*0.25, np.full(60, 0.25), rng.integers(50, 80, 60), rng.integers(40, 90, 60))
    (music/f"{i}.mid").write_bytes(midi_bytes(notes))
    labels.append(f"{i}.mid,{i % 2},{0.3 + 0.4*(i//2 % 2)},{'' if i % 3 else rng.random()},{'train' if i < 24 else 'validation' if i < 28 else 'test'}")
(music/"labels.csv").write_text("\\n".join(labels))
command("synthesize", "--num-pairs", 8, "--jobs", 1, "--out", "pairs", "--stats", "--midi-dir", "pairs/midi")
command("prepare", "--labels", music/"labels.csv", "--synthetic", "pairs", "--copies", 1, "--out", "data")
command("prepare", "--labels", music/"labels.csv", "--copies", 1, "--out", "own")
from psychoscore.dataset import PreparedDataset
pieces = PreparedDataset("data").pieces
own, made = pieces[pieces.source == "own"], pieces[pieces.source == "synthetic"]
assert own.dominance.notna().sum() == 16 and made.dominance.isna().all() and made.trauma.notna().all()

# Contrastive rows compare trauma and entropy, so that a piece without the new dial can be drawn.
Path("tiny.json").write_text(json.dumps(dict(model=dict(width=64, layers=1, heads=2, mlp_width=64, context=1024), mix=dict(context=256, batch_tokens=512),
                                             contrast=dict(rows=8, tokens=128), max_steps=2, warmup_steps=1, eval_interval=2)))
command("train", "--data", "own", "--config", "tiny.json", "--out", "run")

model, dials = ("--model", "run"), ("--trauma", 0.1, "--entropy", 0.2, "--dominance", 0.9)
brief = (*model, "--seconds", 4, "--seed", 0)
command("compose", *dials, "--at", 3, "--dominance", 0.1, *brief, "-o", "piece.json")
frames = json.loads(Path("piece.json").read_text())["profile"]
assert [(f["at"], f["trauma"], f["dominance"]) for f in frames] == [(0, 0.1, 0.9), (3, 0.1, 0.1)]
said, wrong = command("compose", *dials, "--takes", 2, *brief, "-o", "best.mid")
assert "dominance 0.90" in said and wrong == "not heard, so not compared: dominance; the estimators know trauma and entropy\\n"
assert command("compose", *dials, *brief, "-o", "piece.mid", "-o", "piece.png", "-o", "piece.musicxml")[1] == ""
command("compose", "--dominance", 0.9, "--vary", "piece.mid", *model, "-o", "varied.mid")
command("compose", "--arc", "healing", *brief, "-o", "arc.mid")
assert "--trauma, --entropy or --dominance after it" in command("compose", "--at", 2, *brief, "-o", "x.mid", code=2)[1]
assert "--dominance and --at" in command("compose", "--arc", "arch", "--dominance", 1, *brief, "-o", "x.mid", code=2)[1]
assert "dominance must be in [0, 1], got 2" in command("compose", "--dominance", 2, "-o", "x.mid", code=2)[1]

said, wrong = command("listen", "piece.mid", "--json")
assert {"trauma", "entropy"} <= set(json.loads(said)) and "dominance" not in said and "not heard" in wrong
grid = (*model, "--steps", 2, "--repeats", 1, "--seconds", 4)
said, wrong = command("calibrate", *grid, "--figure", "dial.png", "--table", "dial.csv")
assert "4 pieces" in said and "not heard" in wrong and "rank correlation, trauma" in said and "dominance" not in said
command("calibrate", *grid, "--temperature", 0.9, "--temperature", 1)
assert "dominance 0.20 to 0.80" in command("explain", *dials[:4], "--dominance", 0.5, *model, "--seconds", 4, "--seeds", 4, "--figure", "moves.png")[0]
said, wrong = command("report", "--data", "own", *grid, "--takes", 1, "--arcs", 0, "--development", "--out", "report")
assert "not heard" in wrong and "heard as trauma" in Path("report/report.md").read_text()

command("coherence", "--model", "three=run", "--data", "own", "--out", "coherence.json")
command("probe", "--data", "own", *model)
command("index", "music", "--out", "pieces.index", *model)
assert "dominance not given" in command("search", "--index", "pieces.index", "--trauma", 0.8, "-k", 1, *model)[0]
assert "no other dimension, which nothing estimates; got" in command("search", "--index", "pieces.index", "--trauma", 0.8, "--dominance", 0.8, *model, code=2)[1]
command("search", "--index", "pieces.index", "--like", "piece.mid", *model)
shutil.copytree("run", "planned") # toy music teaches no planner
shutil.copy(Path(cli.__file__).parent/"assets/model/planner.npz", "planned")
assert "use the version that made it" in command("compose", *dials, "-o", "x.mid", code=2)[1] # the packaged model has two dials
"""

PYTHON = """
import importlib.util, json
import numpy as np
from fastapi.testclient import TestClient
from psychoscore.audition import mismatches
from psychoscore.compose import Composer
from psychoscore.contrastive import profile_similarity
from psychoscore.dial import plot_dial
from psychoscore.profile import DIMENSIONS, PsychometricProfile as P
from psychoscore.serve import make_app
from psychoscore.settings import Settings
from psychoscore.synthetic import compose_pair

assert [d.name for d in DIMENSIONS] == ["trauma", "entropy", "dominance"]
three, two = compose_pair(0, 3, P(0.1, 0.2, 0.9)), compose_pair(0, 3, P(0.1, 0.2))
assert (three.notes == two.notes).all() and three.profile == P(0.1, 0.2) # rules do not claim what they ignore
assert profile_similarity(P(0.1, 0.2, 0.9), P(0.1, 0.2)) == 1
composer = Composer.from_pretrained("run")
piece = composer.compose([(0, P(0.1, 0.2, 0.9)), (6, P(0.9, 0.2, 0.1))], seconds=8, seed=0)
assert len(piece.notes) and "dominance" in str(piece.trajectory.mean(8)) and "in charge" in piece.trajectory._repr_html_()
from dataclasses import replace
from psychoscore.profile import as_trajectory
same = [replace(piece, trajectory=as_trajectory(P(0.1, 0.2, dominance))) for dominance in (None, 0, 1)]
assert np.ptp(mismatches(same)) < 1e-6 < mismatches(same)[0] # sums differ in their last digit

with TestClient(make_app(Settings(model="run", index="pieces.index"), composer)) as client:
    while client.get("/readyz").status_code != 200: pass
    told = client.get("/v1/model").json()["dimensions"]
    assert [(d["name"], d["estimated"]) for d in told] == [("trauma", True), ("entropy", True), ("dominance", False)] and told[2]["high"] == "in charge"
    schema = client.get("/v1/openapi.json").json()
    assert "dominance" in schema["components"]["schemas"]["PsychometricProfile"]["properties"] and "dominance" not in schema["components"]["schemas"]["MeasuredProfile"]["properties"]
    for example in schema["paths"]["/v1/generate"]["post"]["requestBody"]["content"]["application/json"]["examples"].values():
        asked = example["value"] | {"seconds": 4, "takes": 2}
        answer = client.post("/v1/generate", json=asked, headers={"Accept": "application/json"})
        assert answer.status_code == 200 and answer.json()["requested"]["dominance"] == 0.5 and set(answer.json()["measured"]) == {"trauma", "entropy"}
        assert answer.headers["Psychoscore-Measured"].startswith("trauma=") and "dominance" not in answer.headers["Psychoscore-Measured"]
        assert client.post("/v1/stream", json=example["value"] | {"seconds": 4}).text.count('"event":"done"') == 1
    assert client.post("/v1/generate", json={"profile": {"dominance": 2}}).json()["errors"][0]["field"] == "profile.dominance"
    assert set(client.post("/v1/profile", content=open("piece.mid", "rb").read()).json()["profile"]) == {"trauma", "entropy"}
    assert client.post("/v1/search", json={"profile": {"trauma": 0.5}, "k": 1}).json()[0]["profile"]["dominance"] is None
    assert client.post("/v1/search", json={"profile": {"dominance": 0.5}}).status_code == 422

if importlib.util.find_spec("anywidget"):
    from psychoscore.play import gesture_of
    assert gesture_of([dict(trauma=0.8, entropy=0.2, dominance=0.7)]).at(0) == P(0.8, 0.2, 0.7)
"""

PIPELINE = """
import json
from pathlib import Path
import numpy as np
import psychoscore.pipeline as pipeline
from psychoscore.emopia import published_split
from psychoscore.notes import make_notes, midi_bytes

folder, rng, split = Path("emopia"), np.random.default_rng(0), published_split()
ids = [clip for name, n in (("train", 12), ("validation", 4)) for clip in split.index[split == name][::len(split[split == name])//n][:n]]
(folder/"midis").mkdir(parents=True)
for clip in ids: (folder/"midis"/f"{clip}.mid").write_bytes(midi_bytes(make_notes(np.arange(120)*0.2, np.full(120, 0.3), rng.integers(40, 90, 120), rng.integers(30, 100, 120))))
(folder/"label.csv").write_text("ID,4Q,annotator\\n" + "".join(f"{i},{i[1]},A\\n" for i in ids))
Path("brief.json").write_text(json.dumps(dict(max_steps=2, warmup_steps=1)))
done = pipeline.run_pipeline(pipeline.PipelineConfig(emopia=folder, num_clips=16, num_synthetic=4, contrastive_weight=0, config="brief.json", quick=True), "whole")
assert list(done.phase) == list(pipeline.PHASES) and Path("whole/report/report.md").is_file()
"""


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    "A folder that holds a copy of the package with the line."
    folder = tmp_path_factory.mktemp("three")
    shutil.copytree(Path(psychoscore.__file__).parent, folder/"psychoscore", ignore=shutil.ignore_patterns("__pycache__"))
    module = folder/"psychoscore"/"profile.py"
    assert module.read_text().count(LINE) == 1
    module.write_text(module.read_text().replace(LINE, LINE + MORE))
    run(folder, f"import runpy; runpy.run_path({str(ROOT/'.ci/make_page_constants.py')!r}, run_name='__main__')")
    return folder


def run(folder, program):
    "Run Python where the copy is, and give what it prints."
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=folder, env=os.environ | dict(PYTHONPATH=str(folder), OMP_NUM_THREADS="1", TQDM_DISABLE="1"), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def trained(three):
    "The folder once every command has run in it: it holds a model of toy music, without and with a planner."
    run(three, COMMANDS)
    return three


@pytest.fixture(scope="module")
def chromium():
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    return found or pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")


def test_every_command_the_server_and_python(trained): run(trained, PYTHON)


def test_the_pipeline(three): run(three, PIPELINE)


STREAMED = """
import json
from itertools import islice
from psychoscore.compose import Composer
from psychoscore.profile import PsychometricProfile as P
segments = islice(Composer.from_pretrained("planned").stream(P(0.8, 0.2, 0.7), seconds=3600, seed=7, candidates=1), 4)
print(json.dumps([[float(n["onset_s"]), int(n["pitch"]), int(n["velocity"])] for segment in segments for n in segment.notes]))
"""


def test_the_page_has_a_slider_more(trained, chromium, tmp_path, shots):
    "What it says goes to the model, which a key guards, into the address, and nowhere where nothing is heard of it."
    from playwright.sync_api import sync_playwright
    expected = json.loads(run(trained, STREAMED))
    server = Server(tmp_path, "--model", trained/"planned", PYTHONPATH=str(trained), OMP_NUM_THREADS="1", PSYCHOSCORE_API_KEY="open-sesame")
    try:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
            page, wrong = browser.new_page(viewport=dict(width=1100, height=900)), []
            page.on("pageerror", lambda e: wrong.append(str(e)))
            page.on("console", lambda m: wrong.append(m.text) if m.type == "error" and "401 (Unauthorized)" not in m.text else None)
            page.goto(f"{server.url}/#take=1&s=7&k=0_1&a=80-20-70x4")
            page.wait_for_selector(".thumb")
            assert page.locator(".square .label").all_text_contents() == ["restless", "calm", "serene", "wounded"] # the first two
            assert page.locator("label[for=dial-dominance] ~ span").all_text_contents() == ["powerless", "in charge"]
            assert page.input_value("#dial-dominance") == "0.7"
            page.evaluate("async () => { window.player = (await import('/page/player.js')).player; }")
            page.wait_for_selector("#api-key:visible")
            assert page.evaluate("player.written") == 0
            page.fill("#api-key", "open-sesame")
            page.click("#use-key") # and it plays
            page.wait_for_function("() => player.written === 16", timeout=60_000)
            found = page.evaluate("player.notes.map(n => [n.onset_s, n.pitch, n.velocity])")
            assert len(found) == len(expected) > 5 and np.allclose(sorted(found), sorted(expected))
            page.locator("#dial-dominance").fill("0.9")
            page.evaluate("player.seek(16)")
            page.click("#freeze") # go on
            page.wait_for_function("() => /a=80-20-70x4.80-20-90/.test(location.hash)", timeout=60_000)
            assert page.locator(".legend").inner_text().split() == ["trauma", "entropy", "dominance"]
            asked, heard = page.locator("#takes .unseen").text_content().split("; heard: ")
            assert re.search(r"entropy 20 %, dominance 7\d %$", asked) and "entropy" in heard and "dominance" not in heard
            page.screenshot(path=shots/"three.png", full_page=True)
            browser.close()
        assert wrong == []
    finally: server.stop()


def test_the_pad_has_a_slider_more(trained, chromium, tmp_path, shots):
    "What it says goes to the model in the page, and comes back to the kernel."
    from test_play_pad import EXECUTE, RUN, SOUNDS, ask, composed, freeze, jupyterlab, opened_notebook, pad_of, wait_for_segments
    cell = f"from psychoscore.compose import Composer\nfrom psychoscore.play import Pad\npad = Pad(Composer.from_pretrained({str(trained/'planned')!r}))\npad"
    with jupyterlab(tmp_path, [cell], PYTHONPATH=str(trained), OMP_NUM_THREADS="1") as lab, opened_notebook(lab) as page:
        page.evaluate(RUN)
        frame = pad_of(page)
        slider = frame.locator("#dial-dominance")
        slider.fill("0.7")
        drag(page, (0.8, 0.2), (0.8, 0.3), within=frame)
        frame.wait_for_function(SOUNDS)
        slider.fill("0.9")
        wait_for_segments(page, frame, 3)
        freeze(frame)
        page.screenshot(path=shots/"pad-three.png")
        assert frame.is_hidden("#error")
        asked = ask(page, "[vars(point) for _, point in pad.arc.keyframes]")
        assert asked[0]["dominance"] == 0.7 and asked[-1] == dict(trauma=0.8, entropy=0.3, dominance=0.9)
        assert ask(page, "pad.piece.trajectory == pad.arc and pad.composer.compose(pad.arc, seconds=4, seed=1).trajectory == pad.arc")
        page.evaluate(EXECUTE, "from psychoscore.candidates import Chooser\nfrom psychoscore.request import Request\n" + inspect.getsource(composed))
        assert ask(page, "pad.piece.ids.tolist()[:-1] == composed(pad.composer, [*pad._taken.values()][0][1])")
