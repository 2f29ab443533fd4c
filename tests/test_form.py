"What bench/form.py chooses by, and how it measures a tune, where the answer is known."
import numpy as np
import pytest

from bench.form import Arm, deep_share, likeness, of_dials, others_of, source_of, tune, written
from psychoscore.compose import Composer
from psychoscore.model import ModelConfig, make_model
from psychoscore.notes import make_notes
from psychoscore.planner import NOT_KNOWN, PlannedSegments, Planner, words_of
from psychoscore.profile import PsychometricProfile
from psychoscore.request import Request
from psychoscore.tokens import FAMILIES, PLAN, segment_starts

WANTED = np.array([0.3, 0, 0, 0]) # A bass for so much of the time, whatever the dials


@pytest.fixture(scope="module")
def whole():
    "A model that knows nothing, with plans that say nothing."
    rng = np.random.default_rng(0)
    words = np.stack([rng.integers(0, len(FAMILIES[name]), 200) for name in PLAN], 1).astype(np.int8)
    planner = Planner(PlannedSegments(words, np.full_like(words, NOT_KNOWN), places := rng.random((200, 2), np.float32)), places)
    return Composer(make_model(ModelConfig(width=64, layers=1, heads=2, mlp_width=64), seed=1), {"key_relative": True}, planner=planner)


def composed(whole, candidates=4, **how):
    "A piece of seven segments and a half, and a draft that holds it."
    request = Request(PsychometricProfile(0.3, 0.6), 30, 0, candidates=candidates)
    piece, = (arm := Arm(whole, WANTED, **how)).compose_batch([request])
    draft = arm.draft(request)
    draft.ids, draft.starts = piece.ids.tolist(), segment_starts(piece.ids).tolist()
    return arm, draft


def mean_likeness(draft): return np.mean([likeness(draft, number, source_of(number)) for number in (2, 3, 6, 7)])


def test_sections_return_to_the_last_of_their_letter():
    assert [source_of(number) for number in range(9)] == [None, None, 0, 1, None, None, 2, 3, 6]
    assert others_of(3) == [] and others_of(5) == [0, 1, 2, 3] and others_of(7) == [4, 5]


def test_a_plan_returns_and_the_rest_of_it_is_drawn(whole):
    words, by_itself = (words_of(np.array(composed(whole, **how)[1].ids))[0] for how in (dict(returns=True), {}))
    assert (words[[2, 3, 6, 7]] == words[[0, 1, 2, 3]]).all() and (words[:2] == by_itself[:2]).all()
    assert (words[4:6] != words[:2]).any() and (by_itself[[2, 3, 6, 7]] != by_itself[[0, 1, 2, 3]]).any()


def test_notes_return_as_far_as_they_are_made_likelier(whole):
    draft = composed(whole, 1, returns=True, nats=20)[1]
    for number in (3, 6, 7): assert (written(draft, number)[:, [0, 2]] == written(draft, source_of(number))[:, [0, 2]]).all()
    assert mean_likeness(draft) > mean_likeness(composed(whole, 1, returns=True, nats=3)[1]) > mean_likeness(composed(whole, 1, returns=True)[1])


def test_candidates_are_chosen_by_what_has_weight(whole):
    come = composed(whole)
    assert mean_likeness(composed(whole, by_likeness=9)[1]) > mean_likeness(come[1])
    assert composed(whole, by_contrast=9)[1].ids != come[1].ids
    away = [np.mean([arm.off_bass(draft, number) for number in range(8)]) for arm, draft in (come, composed(whole, by_bass=9))]
    assert away[1] < away[0]


def test_a_tune_that_comes_back_is_told_from_a_figure_that_goes_on():
    def even(pitches): return make_notes(np.arange(len(pitches))/2, np.full(len(pitches), 0.5), pitches, 80)
    rng = np.random.default_rng(0)
    theme, other = rng.choice(np.arange(60, 84), (2, 16))
    assert tune(even(np.r_[theme, theme])) > 0.5 and tune(even(np.r_[theme, other])) == 0
    assert tune(even(np.r_[theme, theme + 2])) == tune(even(np.r_[theme, theme]))
    assert tune(even(np.r_[theme, np.tile([60, 64], 4)])) == 0 # within 4 s
    assert np.isnan(tune(even([60, 62])))


def test_time_with_a_bass():
    onset, duration, pitch = np.array([[0, 8, 47], [4, 8, 40], [0, 32, 48]]).T
    assert deep_share(onset, duration, pitch, 0, 32) == 12/32 and deep_share(onset, duration, pitch, 8, 16) == 4/8
    assert (of_dials(np.array([[0.5, 0.25]])) == [1, 0.5, 0.25, 0.125]).all()
