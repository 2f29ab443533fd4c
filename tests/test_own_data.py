"Your own labelled MIDI, from a shell: labels, a prepared folder, a model that starts from the packaged one, a piece."
import json
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from psychoscore import cli
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


def test_a_file_of_one_line_keeps_what_makes_fine_tuning_safe(mine, command):
    "And the end line says that the interval is of few songs; labels that are other ones end the run, in words."
    assert command("prepare", "--labels", mine/"labels.csv", "--copies", 1, "--out", mine/"data").returncode == 0
    (mine/"ok.json").write_text(json.dumps(dict(max_steps=1, mix=dict(context=512, batch_tokens=512), muon_lr=1e-3)))
    result = command("train", "--data", mine/"data", "--init", "packaged", "--config", mine/"ok.json", "--out", mine/"run")
    assert result.returncode == 0, result.stderr
    known, expected = (json.loads((mine/"run"/"psychoscore.json").read_text())["config"], TRAIN_CONFIGS["finetune"])
    assert known["validate_start"] and known["mix"]["rehearsal"] == expected.mix.rehearsal and known["dropout"] == expected.dropout
    assert (known["max_steps"], known["mix"]["batch_tokens"], known["muon_lr"]) == (1, 512, 1e-3)
    assert pd.read_csv(mine/"run"/"log.csv").step.tolist() == [0, 1]
    assert ("too narrow, for it is of fewer than 10 songs" in result.stderr) != ("No step was better" in result.stderr)
    labels = pd.read_csv(mine/"labels.csv")
    labels.assign(arousal=0.9).to_csv(mine/"labels.csv", index=False)
    with pytest.warns(UserWarning, match="held other data, which is replaced"):
        assert command("prepare", "--labels", mine/"labels.csv", "--copies", 1, "--out", mine/"data").returncode == 0
    result = command("train", "--resume", "--out", mine/"run")
    assert result.returncode == 2 and "was prepared anew" in result.stderr and "sha256" not in result.stderr


@pytest.mark.parametrize("arguments", [("prepare", "--labels", "labels.csv"), ("synthesize", "--num-pairs", 2), ("report", "--data", "data"),
                                       ("train", "--data", "data"), ("synthesize", "--num-pairs", 2, "--midi-dir", ".")])
def test_nothing_is_written_among_files_of_something_else(mine, command, monkeypatch, arguments):
    monkeypatch.chdir(mine)
    if "data" in arguments: assert command("prepare", "--labels", "labels.csv", "--copies", 1, "--out", "data").returncode == 0
    there = sorted(mine.iterdir())
    result = command(*arguments, "--out", "new" if "--midi-dir" in arguments else ".")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert f"psychoscore: . holds files that `psychoscore {arguments[0]}` has not written, 0.mid, 1.mid, 2.mid and " in result.stderr
    assert "more: choose another folder" in result.stderr and sorted(mine.iterdir()) == there


def test_packaged_is_a_model_to_every_command(mine, command, monkeypatch):
    monkeypatch.chdir(mine)
    assert command("compose", "--model", "packaged", "--seconds", 2, "--seed", 0, "-o", "a.mid").returncode == 0
    assert command("compose", "--seconds", 2, "--seed", 0, "-o", "b.mid").returncode == 0
    assert (mine/"a.mid").read_bytes() == (mine/"b.mid").read_bytes()
    assert command("index", ".", "--model", "packaged", "--out", "all.index").returncode == 0
    result = command("search", "--index", "all.index", "--model", "packaged", "--trauma", 0.5, "-k", 1)
    assert result.returncode == 0 and result.stdout.count("\n") == 1
    for group in cli.app.registered_commands: # the one other takes NAME=packaged
        if "model" in (options := signature(group.callback).parameters): assert options["model"].annotation is cli.Model, group.callback


def test_what_is_not_there_or_is_no_midi_is_named(mine, command):
    assert command("prepare", "--labels", mine/"labels.csv", "--copies", 1, "--out", mine/"data").returncode == 0
    result = command("train", "--data", mine/"data", "--out", mine/"run", "--config", mine/"nope.json")
    assert result.returncode == 2 and f"no file {mine}/nope.json: give tiny, small" in result.stderr
    (mine/"big.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt " + bytes(2**21))
    result = command("listen", mine/"big.wav")
    assert result.returncode == 2 and "not a MIDI file, but a RIFF file, such as WAV" in result.stderr
    (mine/"labels.csv").write_text("path,trauma\n0.mid,1\n,0\n")
    result = command("prepare", "--labels", mine/"labels.csv", "--out", mine/"other")
    assert result.returncode == 2 and "line 3: the path is empty" in result.stderr and "PosixPath" not in result.stderr


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
