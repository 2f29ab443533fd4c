"The whole pipeline at small size, on a tiny stand-in for EMOPIA, and on EMOPIA itself where it is given."
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from psychoscore.emopia import published_split
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.pipeline import PHASES, PipelineConfig, phase_train, run_pipeline

needs_emopia = pytest.mark.skipif("PSYCHOSCORE_DATA" not in os.environ, reason="PSYCHOSCORE_DATA is not set: no EMOPIA files here")


@pytest.fixture(scope="module")
def emopia(tmp_path_factory):
    "A folder laid out like EMOPIA: a few of its clip ids from each split, with random music."
    folder, rng, split = tmp_path_factory.mktemp("emopia"), np.random.default_rng(0), published_split()
    ids = [clip_id for name, n in (("train", 24), ("validation", 8), ("test", 4)) for clip_id in split.index[split == name][::len(split[split == name])//n][:n]]
    (folder/"midis").mkdir()
    for clip_id in ids:
        notes = make_notes(np.arange(120)*0.2, np.full(120, 0.3), rng.integers(40, 90, 120), rng.integers(30, 100, 120))
        (folder/"midis"/f"{clip_id}.mid").write_bytes(midi_bytes(notes))
    (folder/"label.csv").write_text("ID,4Q,annotator\n" + "".join(f"{i},{i[1]},A\n" for i in ids))
    return folder


def run(config, workdir):
    said = []
    done = run_pipeline(config, workdir, said.append)
    assert len(said) == len(PHASES)
    return done.set_index("phase"), [line.split()[0] for line in said if "unchanged" not in line]


def test_everything_once_and_then_what_has_changed(emopia, tmp_path, monkeypatch):
    monkeypatch.setattr("psychoscore.pipeline.QUICK_PAIRS", 3000)
    brief = dict(max_steps=4, warmup_steps=1) # what is learned does not matter here
    (tmp_path/"brief.json").write_text(json.dumps(brief))
    config = PipelineConfig(emopia=emopia, num_clips=36, config=str(tmp_path/"brief.json"), quick=True)
    done, ran = run(config, tmp_path)
    assert ran == list(PHASES) and done.seconds["train"] > 0
    assert {"model.safetensors", "psychoscore.json"} <= {p.name for p in (tmp_path/"train").iterdir()}
    assert json.loads((tmp_path/"train"/"psychoscore.json").read_text())["config"]["contrast"]["weight"] == 0.1
    assert {"report.json", "report.md", "dial.png"} <= {p.name for p in (tmp_path/"report").iterdir()}
    before = (tmp_path/"report"/"report.json").read_bytes()
    assert run(config, tmp_path)[1] == []
    assert (tmp_path/"report"/"report.json").read_bytes() == before
    from dataclasses import replace
    own = dict(proportions={"emopia": 0.6, "synthetic": 0.2, "corpus": 0.2}, final_proportions={"emopia": 0.9, "synthetic": 0.1})
    (tmp_path/"own.json").write_text(json.dumps(brief | dict(mix=own, contrast=dict(weight=0.2))))
    other = replace(config, config=str(tmp_path/"own.json"))
    assert run(other, tmp_path)[1] == ["train", "calibrate", "report"]
    trained = json.loads((tmp_path/"train"/"psychoscore.json").read_text())["config"]
    mix = trained["mix"]
    assert trained["contrast"]["weight"] == 0.2
    assert mix["proportions"] == pytest.approx({"emopia": 0.75, "synthetic": 0.25}) and mix["final_proportions"] == pytest.approx(own["final_proportions"])
    (tmp_path/"synthesize"/"manifest.json").unlink()
    assert run(other, tmp_path)[1] == ["synthesize"] # the same bytes again, so nothing follows


@needs_emopia
def test_quick_on_emopia_from_the_shell(tmp_path):
    command = [Path(sys.executable).with_name("psychoscore"), "pipeline", "--include-emopia", "--quick", "--workdir", tmp_path]
    computing = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) # s, which other tests on the same cores disturb less than the clock
    before = computing()
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert computing() - before < 300
    assert [line.split()[0] for line in result.stdout.splitlines()[:7]] == list(PHASES) and "7 of 7 phases were run" in result.stdout


@pytest.mark.parametrize("stopped_at", [5, None])
def test_training_that_was_told_to_stop_is_not_done(data, tmp_path, monkeypatch, stopped_at):
    log = pd.DataFrame(dict(step=[stopped_at] if stopped_at else [], val_nats_per_note=[9.0] if stopped_at else []))
    monkeypatch.setattr("psychoscore.train.fit", lambda *arguments, **options: log)
    with pytest.raises(InterruptedError, match="the same command goes on"): phase_train(PipelineConfig(config="tiny"), tmp_path, dict(tokenise=data))
