"MidiTok reads and writes the very ids of EMOPIA's clips, from what a checkpoint carries."
import os

import numpy as np
import pytest
from miditok import MusicTokenizer

from psychoscore.emopia import load_emopia
from psychoscore.model import ModelConfig, make_model, save_model
from psychoscore.midi import read_midi
from psychoscore.notes import make_notes
from psychoscore.tokens import FAMILY, SEG, STEP_S, decode, encode

IN_A_SCORE = np.isin(FAMILY, ["BOS", "SEG", "TIMESHIFT", "PITCH", "VELOCITY", "DURATION"])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save_model(make_model(ModelConfig(width=16, layers=1, heads=2, mlp_width=16)), folder, {"key_relative": True})
    return MusicTokenizer.from_pretrained(folder)


@pytest.mark.skipif("PSYCHOSCORE_DATA" not in os.environ, reason="needs EMOPIA")
def test_every_clip_has_the_same_ids_and_notes(tokenizer):
    clips = load_emopia()
    assert len(clips) == 1078
    for path in clips.path:
        ids = encode(read_midi(path).notes).ids
        score, ours = tokenizer.decode([ids.tolist()]), decode(ids)
        found = score.tracks[0].notes.numpy()
        theirs = make_notes(found["time"]*STEP_S/2, found["duration"]*STEP_S/2, found["pitch"], found["velocity"])
        assert np.array_equal(theirs["onset_s"] - theirs["onset_s"][0], ours["onset_s"]), path
        for name in ("pitch", "velocity"): assert np.array_equal(theirs[name], ours[name]), path
        kept = ids[IN_A_SCORE[ids]].tolist()
        assert tokenizer(score)[0].ids == kept[:len(kept) - (kept[-1] == SEG)], path
