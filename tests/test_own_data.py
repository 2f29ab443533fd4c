"Your own labelled MIDI, from a shell: labels, a prepared folder, a model that starts from the packaged one, a piece."
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from psychoscore.notes import midi_bytes
from psychoscore.synthetic import compose_pair

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
    assert set(pieces.trauma.round(6)) == {0.1, 0.9} and set(pieces.source) == {"emopia"} and set(pieces.split) >= {"train", "validation"}
    (mine/"quick.json").write_text(json.dumps(dict(max_steps=1, warmup_steps=1, log_interval=1, mix=dict(context=256, batch_tokens=256), contrast=dict(rows=0))))
    result = psychoscore("train", "--data", mine/"data", "--config", mine/"quick.json", "--init", "packaged", "--out", mine/"run")
    assert result.returncode == 0, result.stderr
    about = json.loads((mine/"run"/"psychoscore.json").read_text())
    assert about["config"]["init"] == "packaged" and about["step"] == 1
    assert about["val_nats_per_note"] < 15 # random weights are far beyond 20
    result = psychoscore("compose", "--model", mine/"run", "--trauma", 0.8, "--seconds", 4, "--seed", 0, "-o", mine/"piece.mid")
    assert result.returncode == 0 and (mine/"piece.mid").stat().st_size > 100, result.stderr


def test_every_wrong_row_is_told_and_nothing_written(mine):
    (mine/"labels.csv").write_text("path,trauma,entropy\n0.mid,2,0\n1.mid,0,sad\n2.mid,0,0\n")
    result = psychoscore("prepare", "--labels", mine/"labels.csv", "--out", mine/"data")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "line 2: trauma must be in [0, 1], got 2" in result.stderr and "line 3: entropy must be a number" in result.stderr
    assert not (mine/"data").exists()
