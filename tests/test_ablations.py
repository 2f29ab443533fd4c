"The ablations when they are killed, and when the code changes between two arms."
import json
from pathlib import Path

from bench import ablations
import numpy as np
import pandas as pd
import pytest

from psychoscore.comparison import judge
from psychoscore.dataset import SourcePiece, prepare
from psychoscore.notes import make_notes
from psychoscore.profile import PsychometricProfile

CENTRES = np.array([[0.2, 0.8], [0.8, 0.7], [0.8, 0.2], [0.2, 0.3]])


def stand_in(number, source, split):
    rng = np.random.default_rng(number)
    profile = PsychometricProfile(*(CENTRES[number % 4] + rng.uniform(-0.01, 0.01, 2)))
    notes = make_notes(np.cumsum(rng.uniform(0.2, 0.5, 60)), np.full(60, 0.2), 60 + rng.integers(0, 12, 60) - round(20*profile.trauma), 64)
    return SourcePiece(f"{source}{number}", f"song{source}{number}", source, split, "CC0", notes, profile)


@pytest.fixture
def given(tmp_path, monkeypatch):
    "What to call the script with, on forty training pieces of each source and twenty of EMOPIA to score."
    if not Path(".git").exists(): pytest.skip("not a git checkout")
    monkeypatch.setattr(ablations, "judge", lambda *folders: judge(*folders, n_bootstrap=20))
    monkeypatch.setattr(ablations, "TRAINING_CODE", ["LICENSE"]) # a file that has not changed, whatever else has
    pieces = [stand_in(i, source, "train") for source in ("emopia", "synthetic") for i in range(40)] + [stand_in(i, "emopia", "validation") for i in range(40, 60)]
    prepare(pieces, tmp_path/"data", copies=1)
    return ["--tiny", "--data", f"{tmp_path}/data", "--runs", f"{tmp_path}/runs", "--out", f"{tmp_path}/reports/runs", "--only", "without-s0", "rank_n_contrast-0.1-s0", "e"]


def test_killed_and_given_again(given, tmp_path, monkeypatch):
    fit, begun = ablations.fit, []

    def killed(data, folder, *rest, **options):
        begun.append(folder.name)
        if folder.name.startswith("rank") and begun.count(folder.name) == 1: raise KeyboardInterrupt
        return fit(data, folder, *rest, **options)
    monkeypatch.setattr(ablations, "fit", killed)
    with pytest.raises(KeyboardInterrupt): ablations.main(given)
    first = json.loads((tmp_path/"reports/runs/sweep.json").read_text())
    assert list(first["models"]) == ["without"]
    ablations.main(given)
    assert begun == ["without-s0", "rank_n_contrast-0.1-s0", "rank_n_contrast-0.1-s0", "e"] # what had ended is not trained again
    both = json.loads((tmp_path/"reports/runs/sweep.json").read_text())
    assert both["models"]["without"] == first["models"]["without"] and list(both["differences"]) == ["rank_n_contrast-0.1 - without"]
    assert len(both["models"]["without"][0]["checkpoint"]["git_commit"]) == 40
    assert pd.read_csv(tmp_path/"reports/runs/ablations.csv").arm.tolist() == ["e"]


def test_an_arm_that_was_told_to_stop_is_not_scored(given, tmp_path, monkeypatch):
    fit = ablations.fit
    monkeypatch.setattr(ablations, "fit", lambda *arguments, **options: fit(*arguments, max_minutes=0, **options))
    with pytest.raises(SystemExit, match="without-s0 was told to stop"): ablations.main(given)
    assert not (tmp_path/"runs/without-s0/coherence.npz").exists()


def test_other_code_is_refused(given, tmp_path, monkeypatch):
    ablations.main([*given[:-3], "e"])
    (tmp_path/"runs/e/.git_commit").write_text("4b825dc642cb6eb9a060e54bf8d69288fbee4904") # git's name for no files at all
    with pytest.raises(SystemExit, match="LICENSE differ now"): ablations.main([*given[:-3], "e"])
    (tmp_path/"runs/e/.git_commit").unlink()
    with pytest.raises(SystemExit, match="nobody knows by which code"): ablations.main([*given[:-3], "e"])
    with pytest.raises(SystemExit): ablations.main([*given[:-3], "e-absolute"]) # without its folder
