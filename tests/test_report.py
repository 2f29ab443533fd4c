"The report from the shell: both protocols at a tiny size."
import json, re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from psychoscore import protocol
from psychoscore.report import report_page

ROOT = Path(__file__).parent.parent
TINY = ("--steps", 2, "--repeats", 1, "--seconds", 6, "--takes", 2)


def test_the_development_protocol_leaves_no_look(tmp_path, data, command):
    result = command("report", "--data", data, "--development", *TINY, "--arcs", 1, "--out", tmp_path/"report")
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (tmp_path/"report").iterdir()} == {"report.json", "report.md", "dial.png", "arcs.png", "real.png"}
    report = json.loads((tmp_path/"report"/"report.json").read_text())
    assert report["pieces"] == {"default": 4, "takes": 8} and report["protocol"]["seed"] == protocol.DEVELOPMENT_SEED
    assert {row["n"] for rows in report["arcs"].values() for row in rows} == {1} and report["seconds"]["composing"] > 0
    page = (tmp_path/"report"/"report.md").read_text()
    assert page == report_page(report, looks=0) and "The development protocol" in page and "takes 2 instead of 8" in page and "Nobody has taken the listening test" in page


def test_every_look_at_the_release_protocol_is_written_down(tmp_path, data, command, monkeypatch):
    "In the folder of the last report, which holds what people rated as well; the sizes are made small here, behind the command's back."
    real = protocol.protocol_of
    small = dict(steps=2, repeats=1, seconds=6, takes=1, arcs=0)
    monkeypatch.setattr(protocol, "protocol_of", lambda composer, development, **sizes: real(composer, development, **small))
    result = command("report", "--data", data, "--out", tmp_path)
    assert result.returncode == 0 and result.stdout.strip().endswith("looks.csv"), result.stderr
    assert "; look 1 at the release protocol of this model." in (tmp_path/"report.md").read_text()
    looks, report = pd.read_csv(tmp_path/"looks.csv", dtype=str), json.loads((tmp_path/"report.json").read_text())
    assert looks.seed.tolist() == [str(report["protocol"]["seed"])] and report["model"]["digest"].startswith(looks.model[0])
    assert command("report", "--data", data, "--development", *TINY, "--takes", 1, "--arcs", 0, "--out", tmp_path).returncode == 0
    assert len(pd.read_csv(tmp_path/"looks.csv")) == 1


def judge_by(seed, error):
    "A judge that hears what was asked for, by the order of the pieces, with an error of its own."
    asked = np.array([[trauma, entropy] for trauma in (0, 0.5, 1) for entropy in (0, 0.5, 1) for _ in range(4)])
    return lambda notes: (asked[:len(notes)] + np.random.default_rng(seed).normal(0, error, (len(notes), 2)))


@pytest.mark.parametrize(("error", "agrees"), [(0.2, True), (50, False)])
def test_a_claim_needs_both_judges(error, agrees):
    "One judge that was fooled is not enough."
    from psychoscore.dial import Grid, hear
    from psychoscore.measure import measure_dial, same_side
    from psychoscore.notes import make_notes
    from types import SimpleNamespace
    asked = Grid(steps=3, repeats=4).asked()
    pieces = [SimpleNamespace(notes=make_notes(np.arange(8)/4, np.full(8, 0.2), 60, 80))]*len(asked)
    found = measure_dial({name: hear(asked, pieces, judge) for name, judge in (("fooled", judge_by(0, 0.2)), ("other", judge_by(3, error)))}, 200)
    for axis in ("trauma", "entropy"):
        assert found["fooled"][f"rank correlation, {axis}"]["low"] > 0.5
        assert same_side([found[who][f"rank correlation, {axis}"] for who in ("fooled", "other")]) == agrees


def test_the_model_card_says_what_was_measured():
    "Every row of its table is that of the packaged setting, and its nats are those of the packaged weights."
    card = (ROOT/"reports/MODEL_CARD.md").read_text()
    about = json.loads((ROOT/"psychoscore/assets/model/psychoscore.json").read_text())
    arm = f"{about['sampling']['candidates']} candidates"
    control = pd.read_csv(ROOT/"reports/bench/control.csv").set_index(["arm", "judge"]).loc[arm]
    rows = re.findall(r"^\| ([^|]+) \| \d+ \| ([^|]+) \| ([^|]+) \|$", card, re.M)
    assert len(rows) == 13
    for figure, *cells in rows:
        low = next(name for name in (f"{figure}, low", f"{figure}_low") if name in control)
        names = figure, low, low.replace("low", "high")
        assert cells == ["{:.2f} ({:.2f} to {:.2f})".format(*control.loc[judge, [*names]]) for judge in ("features", "notes")]
    for source in ("val", "synthetic", "corpus"): assert f"{about[source + '_nats_per_note']:.2f}" in card
