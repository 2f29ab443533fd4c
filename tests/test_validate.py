"""What people rated against what ears hear: from the shell, on made-up ratings and on real ones."""
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from psychoscore.notes import end_s, midi_bytes
from psychoscore.profile import PsychometricProfile
from psychoscore.synthetic import compose_pair
from psychoscore.validate import load_ratings, validate

REAL = Path(os.environ.get("PSYCHOSCORE_DATA", "nowhere"))/"vgmidi_half"


@pytest.fixture
def ratings(tmp_path):
    "Twelve pieces of three series, rated by the profiles that they were composed for."
    rng, rows, measures, folder = np.random.default_rng(3), [], {}, tmp_path/"rated"
    (folder/"midi").mkdir(parents=True)
    for i in range(12):
        profile, name = PsychometricProfile(*rng.random(2)), f"{'abc'[i % 3]}_secret {i}.mid"
        notes = compose_pair(i, 1, profile).notes
        (folder/"midi"/name).write_bytes(midi_bytes(notes))
        rows.append({"midi": name, "seconds": end_s(notes), "valence_mean": 1 - 2*profile.trauma, "arousal_mean": 2*profile.entropy - 1})
        measures[name] = {"valence": [0.0]*8, "arousal": list(range(8))}
    pd.DataFrame(rows).to_csv(folder/"labels.csv", index=False)
    (folder/"per_measure.json").write_text(json.dumps(measures))
    return folder


def test_the_command_writes_figures_and_neither_names_nor_ratings(ratings, tmp_path, command):
    result = command("validate", "--ratings", ratings, "--out", tmp_path/"out")
    assert result.returncode == 0, result.stderr
    assert "12 pieces of 3 series" in result.stdout and "note rate" in result.stdout
    written = (tmp_path/"out"/"ratings.json").read_text()
    assert "secret" not in written
    assert json.loads(written)["dials"]["entropy"]["listener"]["over pieces"][0] > 0.6


def test_a_series_column_is_heeded_and_no_rating_is_learned_from(ratings):
    labels = pd.read_csv(ratings/"labels.csv")
    labels["series"] = "one"
    labels["arousal_mean"] *= -1
    before = validate(load_ratings(ratings), n_bootstrap=20)
    labels.to_csv(ratings/"labels.csv", index=False)
    after = validate(load_ratings(ratings), n_bootstrap=20)
    assert (before["series"], after["series"]) == (3, 1)
    one, other = (found["dials"]["entropy"]["listener"]["over pieces"][0] for found in (before, after))
    assert one == pytest.approx(-other)


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda folder: (folder/"labels.csv").unlink(), "no labels.csv in"),
    (lambda folder: (folder/"per_measure.json").write_text("[1"), "cannot read"),
    (lambda folder: (folder/"per_measure.json").write_text("[]"), "must give a_secret 0.mid a list each"),
    (lambda folder: (folder/"midi"/"a_secret 3.mid").unlink(), "a_secret 3.mid"),
    (lambda folder: (folder/"labels.csv").write_text("a,b\n1,2\n"), "needs the columns midi, seconds, valence_mean, arousal_mean"),
    (lambda folder: (folder/"labels.csv").write_bytes(b"\xff\xfe\x00"), "cannot read"),
    (lambda folder: (folder/"labels.csv").write_text(""), "cannot read"),
])
def test_a_folder_that_is_something_else_is_one_line(spoil, says, ratings, command):
    spoil(ratings)
    result = command("validate", "--ratings", ratings)
    assert result.returncode == 2 and result.stdout == ""
    last, = result.stderr.strip().splitlines()
    assert says in last


@pytest.mark.skipif(not REAL.is_dir(), reason="needs rated pieces in vgmidi_half of PSYCHOSCORE_DATA")
def test_people_hear_arousal_and_valence_where_the_listener_does():
    found = validate(load_ratings(REAL), n_bootstrap=50)
    assert found["pieces"] == 102 and found["series"] == 7
    arousal, valence = (found["dials"][dial]["listener"]["over pieces"][0] for dial in ("entropy", "trauma"))
    assert arousal > 0.6 and valence > 0.5
