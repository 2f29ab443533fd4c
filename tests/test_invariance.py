"An estimate moves only when the music does: on the example pieces, on rule-made pairs, and on EMOPIA where it is at hand."
import os
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench.invariance import CHANGES, LARGE, SMALL, heard, jittered, measured, movements, values

from psychoscore.emopia import find_emopia
from psychoscore.evaluate import estimate_curve
from psychoscore.features import FEATURES, features
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.synthetic import compose_pair

needs_emopia = pytest.mark.skipif("PSYCHOSCORE_DATA" not in os.environ, reason="PSYCHOSCORE_DATA is not set: no EMOPIA files here")
EXAMPLES = sorted((Path(__file__).parents[1]/"reports"/"examples").glob("*.mid"))
JITTERS = [name for name in CHANGES if name.startswith("jitter")]
SILENCE, = (name for name in CHANGES if "silence" in name)
SPREADS = ["polyphony_sd", "rate_change", "loudness_change"] # Roots of what is continuous: from 0 a microsecond raises them to its root
CLOSE = 1e-3
SCALE = [60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62]*4


def emopia_files():
    "One clip in twelve: some 90."
    return [path.read_bytes() for path in sorted((find_emopia()/"midis").glob("*.mid"))[::12]]


@pytest.fixture(scope="module", params=["examples", "pairs", pytest.param("emopia", marks=needs_emopia)])
def pieces(request):
    "What is measured in each piece, before and after every change."
    if request.param == "examples": files = [path.read_bytes() for path in EXAMPLES]
    elif request.param == "pairs": files = [midi_bytes(compose_pair(0, index).notes) for index in range(20)]
    else: files = emopia_files()
    assert len(files) >= 10
    return [measured(data) for data in files]


def shift(before, after):
    "Largest difference of each feature, of spreads the difference of their squares."
    before, after = (pd.DataFrame(rows)[list(FEATURES)] for rows in (before, after))
    for table in (before, after): table[SPREADS] **= 2
    return (after - before).abs().max().sort_values(ascending=False)


@pytest.mark.parametrize("change", JITTERS)
def test_a_microsecond_moves_no_feature(pieces, change):
    far = shift([rows[""] for rows in pieces], [rows[change] for rows in pieces])
    assert far.max() < CLOSE, far.head(3)


def test_silence_in_front_moves_no_feature(pieces):
    far = shift([rows[""] for rows in pieces], [rows[SILENCE] for rows in pieces])
    assert far.max() < 1e-6, far.head(3)


def test_no_estimate_moves(pieces):
    moved = movements(pieces)
    assert set(moved["change"]) == set(CHANGES)
    assert not any(isinstance(row, str) for rows in pieces for row in rows.values())
    by_change = moved.groupby("change")["moved"]
    assert by_change.max().max() < LARGE, by_change.max()
    assert (by_change.agg(lambda m: (m < SMALL).mean()) >= 0.95).all(), by_change.quantile(0.95)


def scale(bpm, overlap_s=0.0, pitches=SCALE):
    "A scale in quarter notes, each held to the next."
    return make_notes(np.arange(len(pitches))*60/bpm, np.full(len(pitches), 60/bpm + overlap_s), pitches, 80)


def test_a_legato_scale_reads_alike_at_every_tempo():
    read = values([heard(midi_bytes(scale(bpm))) for bpm in (120, 125, 130, 160)])[:, 0]
    assert np.ptp(read) < 0.05, read


def edges():
    "Music that sits on every border: 2 and 4 s, 160, 700 and 150 ms, pairs that touch, twelve notes that weigh the same."
    beats = np.arange(33)*0.5
    yield "seconds", make_notes(beats, np.full(33, 0.5), 48 + np.arange(33) % 24, 40 + np.arange(33))
    for length_s in (0.15, 0.16, 0.35, 0.7): yield f"{length_s} s", make_notes(np.arange(40)*length_s, np.full(40, length_s), 48 + np.arange(40)*7 % 24, 80)
    yield "chromatic", make_notes(np.arange(24)/2, np.full(24, 0.5), 60 + np.arange(24) % 12, 80)
    yield "pentatonic", make_notes(np.arange(20)/2, np.full(20, 0.5), [60, 62, 64, 67, 69]*4, 80)
    yield "legato", scale(120, 1e-6)
    yield "two windows", make_notes([0, 0, 0, 2, 2], np.ones(5), [48, 60, 64, 48, 62], [90, 50, 50, 20, 60])
    yield "chords", make_notes(np.repeat(np.arange(10.0), 4), np.tile([0.5, 1, 1, 0.25], 10), np.tile([36, 60, 64, 67], 10), np.tile([90, 20, 40, 70], 10))


@pytest.mark.parametrize("name, notes", list(edges()))
def test_on_a_border_a_microsecond_moves_no_feature(name, notes):
    far = shift([features(notes)]*5, [features(jittered(notes, seed)) for seed in range(5)])
    assert far.max() < CLOSE, far.head(3)


def sequenced(seconds):
    "Chords on every half second that change in pitch, loudness and number, so that each counts where it falls."
    beats = np.repeat(np.arange(0, seconds, 0.5), 3)
    rng = np.random.default_rng(0)
    return make_notes(beats, np.full(len(beats), 0.5), rng.integers(36, 84, len(beats)), rng.integers(20, 120, len(beats)))


@pytest.mark.parametrize("seconds", [45, 60, 75, 120]) # 45 and 75: between one stretch and two, between two and three
def test_in_long_music_a_microsecond_moves_no_estimate(seconds):
    "Stretches and windows have borders, and music on a grid has its chords on them."
    notes = sequenced(seconds)
    before, curve = values([heard(notes)]), estimate_curve(notes, 8).to_numpy()
    for seed in range(5):
        assert np.abs(values([heard(jittered(notes, seed))]) - before).max() < CLOSE
        moved = estimate_curve(jittered(notes, seed), 8).to_numpy()
        assert np.abs(moved[:len(curve)] - curve).max() < CLOSE and len(moved) - len(curve) <= 1 # an end at a step's own may open another


@pytest.mark.parametrize("notes", [
    make_notes(np.arange(31)*3600.0, np.ones(31), 50 + np.arange(31), 80), # thirty hours
    make_notes([0, 1e9], [1, 1], [60, 67], 80),
    make_notes([5], [0], [60], 1),
    make_notes([0]*88, [1]*88, np.arange(21, 109), 64)], ids=["31 notes in 30 hours", "2 notes in 30 years", "no length", "cluster"])
def test_memory_does_not_grow_with_time(notes):
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = features(notes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(list(row.values())).all()
    assert peak < 50e6, peak
