"""A generator that is tuned against the listener's features is exposed by an ear of another kind, and an honest one is not."""
import os
from pathlib import Path

import numpy as np
import pytest

from psychoscore.judges import Answers, feature_judge, fit_pair_ear, judges, listener_ear, please, share_heard
from psychoscore.profile import PsychometricProfile
from psychoscore.synthetic import compose_pair

REAL = Path(os.environ.get("PSYCHOSCORE_DATA", "nowhere"))/"emopia"
TUNED = 60 # Pieces


def by_rules(n, seed):
    "Pieces, the profiles that they were made for, and what stands for their song."
    profiles = np.random.default_rng(seed).random((n, 2))
    return [compose_pair(seed, k, PsychometricProfile(*p)).notes for k, p in enumerate(profiles)], profiles, np.arange(n)


def from_emopia(split):
    "Clips, their labels and their songs."
    from psychoscore.emopia import load_emopia
    from psychoscore.midi import read_midi
    clips = load_emopia().query(f"split in {split}")
    return [read_midi(path).notes for path in clips.path], clips[["trauma", "entropy"]].to_numpy(), clips.song_id.to_numpy()


def halves(pieces, profiles, songs):
    "Two parts without a song in common."
    names = np.random.default_rng(0).permutation(np.unique(songs))
    first = np.isin(songs, names[:len(names)//2])
    return [([pieces[k] for k in np.flatnonzero(side)], profiles[side], songs[side]) for side in (first, ~first)]


@pytest.fixture(scope="module", params=["rules", pytest.param("emopia", marks=pytest.mark.skipif(not REAL.is_dir(), reason="needs emopia in PSYCHOSCORE_DATA"))])
def found(request):
    "Shares of what was asked for that ears hear, of a cheat, of an honest generator, and of an idle one."
    learned, music = (by_rules(400, 1), by_rules(400, 2)) if request.param == "rules" else (from_emopia(["train"]), from_emopia(["validation", "test"]))
    ears = {"listener": listener_ear, "feature judge": feature_judge, "note judge": judges()["notes"], "pairs of notes": fit_pair_ear(*learned[:2])}
    if request.param == "emopia": del ears["feature judge"], ears["note judge"] # they learned from the clips that are heard here
    def hear(wanted, pieces, groups): return Answers(wanted, {name: ear(pieces) for name, ear in ears.items()}, groups)
    honest, known = halves(*music)
    rng = np.random.default_rng(5)
    wishes, own = rng.random((TUNED, 2)), rng.permutation(len(honest[0]))[:TUNED]
    tuned = [please(honest[0][k], wish, seed=number) for number, (k, wish) in enumerate(zip(own, wishes, strict=True))]
    real = hear(known[1], *known[::2])
    return {"cheat": share_heard(hear(wishes, tuned, np.arange(TUNED)), real), "honest": share_heard(hear(honest[1], *honest[::2]), real),
            "idle": share_heard(hear(wishes, [honest[0][k] for k in own], np.arange(TUNED)), real)}


def of(found, generator, ear): return found[generator].query("ear == @ear").set_index("dial")


def test_the_listener_hears_what_the_cheat_was_asked_for(found):
    cheat, idle = of(found, "cheat", "listener"), of(found, "idle", "listener")
    assert (cheat.low > 0.2).all() and (cheat.low > idle.high).all(), found


def test_an_ear_without_its_features_hears_less_of_the_cheat(found):
    gap = of(found, "cheat", "pairs of notes")
    assert (gap.less_low > 0).all(), found["cheat"]


def test_the_note_judge_hears_less_of_the_cheat(found):
    if "note judge" not in set(found["cheat"].ear): pytest.skip("the note judge learned from these clips")
    assert (of(found, "cheat", "note judge").less_low > 0).all(), found["cheat"]
    assert (of(found, "honest", "note judge").less < of(found, "cheat", "note judge").less_low).all(), found["honest"]


def test_an_honest_generator_shows_no_such_gap(found):
    gap, cheat = of(found, "honest", "pairs of notes"), of(found, "cheat", "pairs of notes")
    assert (gap.less_low < 0).all() and (gap.less < cheat.less_low).all(), found["honest"] # an ear that hears more exposes nothing
    assert (of(found, "honest", "listener").low > 0.5).all()


def test_a_judge_of_the_same_features_is_taken_in(found):
    if "feature judge" not in set(found["cheat"].ear): pytest.skip("the feature judge learned from these clips")
    features, pairs = of(found, "cheat", "feature judge"), of(found, "cheat", "pairs of notes")
    assert (features.low > 0.2).all() and (features.share > pairs.share).all(), found["cheat"]
