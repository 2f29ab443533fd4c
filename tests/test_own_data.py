"Your own labelled MIDI, from a shell: labels, a prepared folder, a model that starts from the packaged one, a piece."
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from psychoscore.dataset import DataMix, SourcePiece, labelled_pieces, prepare
from psychoscore.model import ModelConfig, load_model, make_model, save_model
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.profile import PsychometricProfile
from psychoscore.synthetic import compose_pair
from psychoscore.train import evaluate, fit
from psychoscore.train_config import TRAIN_CONFIGS, ContrastConfig, TrainConfig, load_config

COMMAND = Path(sys.executable).with_name("psychoscore")


def psychoscore(*arguments): return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def mine(tmp_path):
    for i in range(6): (tmp_path/f"{i}.mid").write_bytes(midi_bytes(compose_pair(seed=2, index=i).notes))
    pd.DataFrame(dict(path=[f"{i}.mid" for i in range(6)], valence=[0.1, 0.9]*3, arousal=0.3)).to_csv(tmp_path/"labels.csv", index=False)
    return tmp_path


def test_from_labels_to_music(mine):
    result = psychoscore("prepare", "--labels", mine/"labels.csv", "--copies", 2, "--out", mine/"data")
    assert result.returncode == 0, result.stderr
    pieces = pd.read_parquet(mine/"data"/"pieces.parquet")
    assert set(pieces.trauma.round(6)) == {0.1, 0.9} and set(pieces.source) == {"own"} and set(pieces.split) >= {"train", "validation"}
    result = psychoscore("train", "--data", mine/"data", "--init", "packaged", "--max-steps", 1, "--out", mine/"run")
    assert result.returncode == 0, result.stderr
    assert "1 song validates: with fewer than 10" in result.stderr and "all 1 steps are made; the model in" in result.stderr and "\r" not in result.stderr
    about, log = json.loads((mine/"run"/"psychoscore.json").read_text()), pd.read_csv(mine/"run"/"log.csv")
    assert about["config"]["init"] == "packaged" and about["config"]["patience"] == TRAIN_CONFIGS["finetune"].patience # the default with --init
    assert log.step.tolist() == [0, 1] and about["val_nats_per_note"] == pytest.approx(log.val_nats_per_note.min(), rel=1e-4) # the start is validated, too
    result = psychoscore("compose", "--model", mine/"run", "--trauma", 0.8, "--seconds", 4, "--seed", 0, "-o", mine/"piece.mid")
    assert result.returncode == 0 and (mine/"piece.mid").stat().st_size > 100, result.stderr


def test_every_wrong_row_is_told_and_nothing_written(mine):
    (mine/"labels.csv").write_text("path,trauma,entropy\n0.mid,2,0\n1.mid,0,sad\n2.mid,0,0\n")
    result = psychoscore("prepare", "--labels", mine/"labels.csv", "--out", mine/"data")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "line 2: trauma must be in [0, 1], got 2" in result.stderr and "line 3: entropy must be a number" in result.stderr
    assert not (mine/"data").exists()


def test_every_song_validates_in_one_of_the_folds(mine, command):
    held_out = []
    for k in (1, 2, 3):
        result = command("prepare", "--labels", mine/"labels.csv", "--copies", 1, "--fold", f"{k}/3", "--out", mine/f"fold{k}")
        assert result.returncode == 0, result.stderr
        pieces = pd.read_parquet(mine/f"fold{k}"/"pieces.parquet")
        held_out += pieces.song_id[pieces.split == "validation"].tolist()
        assert set(pieces.split) == {"train", "validation"}
    assert sorted(held_out) == sorted(str(i) for i in range(6))


def test_own_songs_choose_and_emopia_is_watched_and_rehearsed(mine, tmp_path):
    "Both are real music with labels; the model is judged by one's own."
    rng = np.random.default_rng(0)
    def emopia(i): return SourcePiece(f"e{i}", f"e{i}", "emopia", "validation" if i < 3 else "train", "CC0", make_notes(np.arange(80)/4, np.full(80, 0.25), rng.integers(50, 80, 80), 64), PsychometricProfile(i % 2, 0.3))
    data = prepare([*labelled_pieces(mine/"labels.csv"), *map(emopia, range(20))], tmp_path/"both", copies=2)
    assert data.labelled == "own" and (data.pieces.groupby("source")["copy"].max() == 1).all() # both are copied
    shape = ModelConfig(width=32, layers=1, heads=2, mlp_width=64)
    config = TrainConfig(model=shape, max_steps=2, eval_interval=2, mix=DataMix(batch_tokens=1024, rehearsal=0.25), contrast=ContrastConfig(rows=8))
    log = fit(data, tmp_path/"run", config, cpu=True, progress=False)
    model = load_model(tmp_path/"run")[0]
    scores = evaluate(model, data)
    assert set(scores.song_id) == set(data.pieces.query("source == 'own' and split == 'validation'").song_id)
    assert log.val_nats_per_note.iloc[-1] == pytest.approx(scores.note_nats.sum()/scores.notes.sum(), rel=0.01) # bf16 weights
    watched = evaluate(model, data, source="emopia")
    assert log.emopia_nats_per_note.iloc[-1] == pytest.approx(watched.note_nats.sum()/watched.notes.sum(), rel=0.01)


def test_the_shape_is_that_of_the_weights(tmp_path):
    shape = ModelConfig(width=32, layers=1, heads=2, mlp_width=64)
    save_model(make_model(shape), tmp_path/"start", dict(key_relative=True))
    assert load_config(init=str(tmp_path/"start")).model == shape
    with pytest.raises(FileNotFoundError, match="no psychoscore checkpoint in nowhere"): load_config(init="nowhere")
