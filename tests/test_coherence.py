"`psychoscore coherence` on little music of one's own: what can be measured is, and what cannot is told, with the way out."
import json

import numpy as np
import pandas as pd
import pytest

from psychoscore.model import ModelConfig, make_model, save_model
from psychoscore.notes import make_notes, midi_bytes

CORNERS = np.array([[0.2, 0.8], [0.8, 0.7], [0.8, 0.2], [0.2, 0.3]]) # The middles of the four quadrants


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    "Random weights: they hear how fast and how high music is."
    folder = tmp_path_factory.mktemp("model")
    save_model(make_model(ModelConfig(width=32, layers=1, heads=2, mlp_width=64, context=512)), folder, {"key_relative": True})
    return folder


def write_clips(folder, n, corners=(0, 1, 2, 3), songs=None, splits=None, unlabelled=0):
    "MIDI files and their labels."
    rng, rows = np.random.default_rng(0), []
    for i in range(n):
        trauma, entropy = (CORNERS[corners[i % len(corners)]] + rng.uniform(-0.1, 0.1, 2)).round(3)
        pitch = 60 + rng.integers(0, 12, 40) - round(20*trauma)
        notes = make_notes(np.cumsum(rng.uniform(0.5, 1, 40)*(0.6 - 0.5*entropy)), np.full(40, 0.2), pitch, 64)
        (folder/f"{i}.mid").write_bytes(midi_bytes(notes))
        rows.append(dict(path=f"{i}.mid", trauma="" if i < unlabelled else trauma, entropy=entropy))
        if songs: rows[-1]["song"] = f"song{i % songs}"
        if splits: rows[-1]["split"] = splits[i % len(splits)]
    pd.DataFrame(rows).to_csv(folder/"labels.csv", index=False)


@pytest.fixture
def judge(command, model, tmp_path):
    "Write clips, prepare them, and judge the model."
    def run(n, *options, split="validation", **what):
        write_clips(tmp_path, n, **what)
        prepared = command("prepare", "--labels", tmp_path/"labels.csv", "--copies", 1, *options, "--out", tmp_path/"data")
        assert prepared.returncode == 0, prepared.stderr
        ended = command("coherence", "--model", f"mine={model}", "--data", tmp_path/"data", "--split", split, "--out", tmp_path/"found"/"coherence.json")
        return ended, json.loads((tmp_path/"found"/"coherence.json").read_text()) if ended.returncode == 0 else None
    return run


def test_thirty_clips_as_they_are_dealt_hold_out_too_little(judge, tmp_path):
    ended, _ = judge(30)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "songs for training and 3 held out: each needs 5" in ended.stderr and "--fold 1/3" in ended.stderr
    assert not (tmp_path/"found").exists()


def test_thirty_clips_of_which_a_third_is_held_out(judge):
    ended, report = judge(30, "--fold", "1/3")
    assert ended.returncode == 0, ended.stderr
    assert (report["songs"], report["train_clips"]) == (10, 20)
    mean = report["means"]["mine"]
    for name in ("rank_correlation", "uniformity", "neighbor_error.trauma", "linear_probe.valence", "linear_probe.arousal"): assert np.isfinite(list(mean[name].values())).all(), name
    assert "alignment" in report["left_out"] # in some draws no two of ten songs are alike
    for name, why in report["left_out"].items(): assert f"{name} was left out: {why}\n" in ended.stderr


def test_three_hundred_clips_lack_nothing(judge):
    ended, report = judge(300)
    assert (ended.returncode, ended.stderr, report["left_out"]) == (0, "", {}) and report["songs"] == 30


def test_few_songs_of_many_clips_are_few(judge):
    ended, _ = judge(60, songs=8)
    assert ended.returncode == 2 and "6 labelled songs for training and 1 held out" in ended.stderr


def test_few_songs_held_out_are_told_with_what_that_means(judge):
    ended, report = judge(30, splits=["train"]*4 + ["validation"])
    assert ended.returncode == 0 and report["songs"] == 6
    assert "6 songs are held out: with fewer than 10, intervals over songs are narrower than they should be" in ended.stderr
    told = json.dumps(report, allow_nan=False) # numbers, all of them
    assert "neighbor_error" in told


def test_a_class_that_is_missing_takes_nothing_away(judge):
    ended, report = judge(60, "--fold", "1/3", corners=(0, 1, 2))
    assert ended.returncode == 0 and report["left_out"] == {}
    assert {f"linear_probe.{name}" for name in ("quadrant", "arousal", "valence")} < set(report["means"]["mine"])


def test_a_dial_that_never_moves_is_left_out_with_its_reason(judge):
    ended, report = judge(60, "--fold", "1/3", corners=(0, 1)) # high entropy everywhere
    assert ended.returncode == 0 and list(report["left_out"]) == ["linear_probe.arousal"]
    assert "linear_probe.arousal was left out: needs two classes or more, and 5 training songs of each" in ended.stderr


def test_clips_with_one_label_are_not_judged(judge):
    _, report = judge(60, "--fold", "1/3", unlabelled=12)
    assert report["clips"] + report["train_clips"] == 48
    json.dumps(report, allow_nan=False)


def test_a_split_that_is_not_there_is_told_with_those_that_are(judge):
    ended, _ = judge(30, "--fold", "1/3", split="test")
    assert ended.returncode == 2 and "no own pieces in its test split: it has 20 songs in train and 10 songs in validation" in ended.stderr


def test_the_packaged_model_is_one_to_compare_with(judge, command, model, tmp_path):
    judge(30, "--fold", "1/3")
    ended = command("coherence", "--model", "before=packaged", "--model", f"mine={model}", "--data", tmp_path/"data", "--split", "validation", "--out", tmp_path/"two.json")
    assert ended.returncode == 0 and "mine - before: rank_correlation" in ended.stdout, ended.stderr
