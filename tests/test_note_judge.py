"The judge that is given notes alone, as it is packaged."
import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from psychoscore.note_judge import ABOUT, WEIGHTS, load_note_judges, note_judge_report, packaged_note_judge, rule_made
from psychoscore.notes import make_notes

ASSETS = files("psychoscore")/"assets"


@pytest.fixture(scope="module")
def pieces(): return [pair.notes for pair in rule_made(24, seed=99)] # Not those that it learned from


def test_the_packaged_judge_is_small_and_says_what_it_is():
    about = note_judge_report()
    assert (ASSETS/WEIGHTS).stat().st_size <= 2_000_000
    assert about["training"]["clips"] == 767 and "validation and test songs" in about["learned_from"]
    low = {dial: about["training"][dial]["rank_correlation"][1] for dial in ("trauma", "entropy")}
    assert low["trauma"] > 0.45 and low["entropy"] > 0.75


def test_answers_are_the_same_again_and_whoever_is_beside(pieces):
    judge = packaged_note_judge()
    answers = judge(pieces)
    assert answers.shape == (24, 2) and (answers >= 0).all() and (answers <= 1).all()
    assert np.array_equal(answers, judge(pieces))
    assert np.allclose(judge(pieces[::-1])[::-1], answers, atol=1e-5)
    assert np.allclose(judge(pieces[3:4]), answers[3:4], atol=1e-5)
    assert judge.embed(pieces[:2]).shape[0] == 2 and np.isfinite(judge.embed(pieces)).all()


def test_it_hears_what_the_rules_meant(pieces):
    truth, answers = np.stack([pair.profile for pair in rule_made(24, seed=99)]), packaged_note_judge()(pieces)
    assert all(np.corrcoef(truth[:, k], answers[:, k])[0, 1] > 0.7 for k in (0, 1))


def test_minor_is_heard_in_every_key():
    def tune(third, tonic):
        chords = [(0, third, 7), (5, 5 + third, 12), (7, 11, 14), (0, third, 7)]
        pitches = [tonic + p for chord in chords*4 for p in chord for _ in range(2)]
        return make_notes(np.arange(len(pitches))*0.25, np.full(len(pitches), 0.5), pitches, 60)
    judge, tonics = packaged_note_judge(), range(54, 66)
    minor, major = (judge([tune(third, tonic) for tonic in tonics])[:, 0] for third in (3, 4))
    assert (minor > major).all() and np.ptp(minor) < 0.2 and np.ptp(major) < 0.2


@pytest.mark.parametrize("seconds", [5, 24, 25, 300])
def test_any_length(seconds):
    rng = np.random.default_rng(seconds)
    piece = make_notes(np.arange(0, seconds, 0.25), np.full(seconds*4, 0.4), rng.integers(40, 90, seconds*4), 70)
    assert np.isfinite(packaged_note_judge()([piece])).all()


def test_one_note_is_judged_and_none_is_refused():
    one = make_notes([3.0], [1.0], [60], [64])
    assert packaged_note_judge()([one]).shape == (1, 2)
    with pytest.raises(ValueError, match="without notes: number 1 of 2") as refused: packaged_note_judge()([one, one[:0]])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("damage", [lambda data: data[:1000], lambda data: data[:-1] + bytes([data[-1] ^ 4]), lambda data: b"", lambda data: data + b"0"])
def test_damaged_weights_are_refused_in_a_line(tmp_path, damage):
    for name in (ABOUT, WEIGHTS): shutil.copy(str(ASSETS/name), tmp_path)
    (tmp_path/WEIGHTS).write_bytes(damage((tmp_path/WEIGHTS).read_bytes()))
    with pytest.raises(ValueError, match="one is damaged") as refused: load_note_judges(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("about", ["", "{}", "[]", json.dumps({"sha256": "0", "judges": 3})])
def test_weights_of_another_file_are_refused(tmp_path, about):
    shutil.copy(str(ASSETS/WEIGHTS), tmp_path)
    (tmp_path/ABOUT).write_text(about)
    with pytest.raises(ValueError, match="do not belong together"): load_note_judges(tmp_path)


def test_weights_that_are_missing_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=ABOUT): load_note_judges(tmp_path)


def test_listening_does_not_load_it():
    code = "import sys, psychoscore.evaluate, psychoscore.report; sys.exit('psychoscore.note_judge' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False).returncode == 0
