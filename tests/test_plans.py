"A model that plans, with random weights: what is asked stands in its headers, and the music does not depend on who decodes."
import numpy as np
import pytest
import torch

from psychoscore.compose import Composer
from psychoscore.draft import Manner
from psychoscore.kernel import ENVIRONMENT, choose_kernel
from psychoscore.model import ModelConfig, make_model
from psychoscore.notes import MODES, Key, make_notes
from psychoscore.planner import NOT_KNOWN, PlannedSegments, Planner, words_of
from psychoscore.profile import PsychometricProfile, ProfileTrajectory
from psychoscore.request import Request
from psychoscore.tokens import FAMILIES, PLAN, SEG

SIZES = [len(FAMILIES[name]) for name in PLAN]
LOUDNESS, DENSITY = PLAN.index("LOUDNESS"), PLAN.index("DENSITY")


@pytest.fixture(scope="module")
def planner():
    "Loudness follows entropy, and trauma chooses the mode."
    rng = np.random.default_rng(0)
    words = np.stack([rng.integers(0, size, 2000) for size in SIZES], 1).astype(np.int8)
    places = np.stack([np.clip(0.8*words[:, 0] + rng.uniform(0, 0.2, 2000), 0, 1), words[:, LOUDNESS]/11], 1)
    return Planner(PlannedSegments(words, np.full_like(words, NOT_KNOWN), places.astype(np.float32)), places)


@pytest.fixture(scope="module")
def model():
    made = make_model(ModelConfig(width=64, layers=2, heads=2, mlp_width=128), seed=1).eval()
    with torch.no_grad(): made.condition.weight[1:].normal_(std=0.05)
    return made


def composer(model, planner=None): return Composer(model, {"key_relative": True}, planner=planner)


def test_the_planner_is_asked_for_every_segment(model, planner):
    "Words are those of the planner: loud where entropy is high, minor where trauma is."
    for trauma, entropy in ((0.05, 0.1), (0.95, 0.9)):
        piece = composer(model, planner).compose(PsychometricProfile(trauma, entropy), seconds=10, seed=3)
        words, _ = words_of(piece.ids)
        assert words.shape == (3, len(PLAN)) and (words >= 0).all()
        assert (np.abs(words[:, LOUDNESS]/11 - entropy) < 0.3).all()
        assert piece.key.mode == MODES[int(trauma > 0.5)] and (words[:, 0] == (trauma > 0.5)).all()


def test_an_arc_turns_once(model, planner):
    arc = ProfileTrajectory(((0.0, PsychometricProfile(0.05, 0.1)), (40.0, PsychometricProfile(0.95, 0.9))))
    words, _ = words_of(composer(model, planner).compose(arc, seconds=40, seed=0).ids)
    assert words[0, 0] == 0 and words[-1, 0] == 1 and (np.diff(words[:, 0]) >= 0).all()
    assert words[0, LOUDNESS] < 5 and words[-1, LOUDNESS] > 7


def test_a_mode_that_is_asked_for_holds(model, planner):
    for mode in MODES:
        words, _ = words_of(composer(model, planner).compose(PsychometricProfile(0.5, 0.5), seconds=12, mode=mode, seed=0).ids)
        assert (words[:, 0] == MODES.index(mode)).all()


def test_without_a_planner_plans_are_drawn(model):
    pieces = [composer(model).compose(PsychometricProfile(0.5, 0.5), seconds=8, seed=seed) for seed in range(4)]
    words = np.concatenate([words_of(piece.ids)[0] for piece in pieces])
    assert (words >= 0).all() and len(np.unique(words, axis=0)) == len(words)


def test_a_prompt_is_described_not_planned(model, planner):
    "The segments of a prompt have its own plan; the one it breaks off in has none; those after it are planned."
    tune = make_notes(np.arange(24)/2, np.full(24, 0.4), 60 + np.arange(24) % 8, 90)
    for made in (composer(model, planner), composer(model)):
        piece = made.compose(PsychometricProfile(0.5, 0.1), seconds=24, seed=0, prompt=tune)
        words, _ = words_of(piece.ids)
        loud = np.searchsorted((81.9, 88.3), 87)  # the level that 90 is put on
        assert (words[:2, LOUDNESS] == 10 + loud - 1).all() and (words[3:] >= 0).all()
        assert np.array_equal(piece.notes["pitch"][:20], tune["pitch"][:20])


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_same_bytes_whoever_decodes(model, planner, guidance, monkeypatch):
    "numpy, every instruction set that is here, alone and in a batch."
    wishes = [Request(PsychometricProfile(t, e), seconds, seed, guidance=guidance) for t, e, seconds, seed in ((0.1, 0.9, 6, 0), (0.9, 0.2, 13, 1), (None, 0.5, 9, 2))]
    said = {}
    for name in ["numpy", *filter(None, [choose_kernel().name]), "avx2"]:
        monkeypatch.setenv(ENVIRONMENT, name)
        try: choose_kernel()
        except ValueError: continue # not on this machine
        made = composer(model, planner)
        together = [piece.ids.tobytes() for piece in made.compose_batch(wishes)]
        assert together == [made.compose_batch([wish])[0].ids.tobytes() for wish in wishes]
        said[name] = together
    assert len({tuple(of) for of in said.values()}) == 1


def test_a_stream_is_the_piece(model, planner):
    made, wish = composer(model, planner), dict(seconds=14, seed=5)
    stream, parts = made.stream(PsychometricProfile(0.3, 0.6), **wish), []
    while True:
        try: parts.append(next(stream))
        except StopIteration as over: piece = over.value; break
    streamed = np.concatenate([part.notes for part in parts])  # a note may be cut by what comes later
    for name in ("onset_s", "pitch", "velocity"): assert np.array_equal(streamed[name], piece.notes[name])
    assert (piece.ids == SEG).sum() == len(parts) == 4 and piece.key == Key(piece.key.tonic, piece.key.mode)


def test_models_without_plans_have_none(planner):
    old = Composer(make_model(ModelConfig(width=64, layers=1, heads=2, mlp_width=64, plans=False), seed=1), {"key_relative": True})
    assert old.manner == Manner(plans=False)
    piece = old.compose(PsychometricProfile(0.5, 0.5), seconds=8, seed=0)
    assert piece.ids.max() < old.llama.shape.vocabulary


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_candidates_come_nearer_to_their_plan(model, planner, guidance):
    "Each segment is the nearest of its candidates; a piece does not depend on its company, and a stream is the piece."
    from psychoscore.candidates import mismatch
    made, profile = composer(model, planner), PsychometricProfile(0.4, 0.7)
    wishes = [Request(profile, 12, seed, candidates=n, guidance=guidance) for seed in range(2) for n in (1, 6)]
    def away(wish):
        draft = made.draft(wish.again(candidates=1))
        draft.ids = made.compose_batch([wish])[0].ids.tolist()
        draft.starts = np.flatnonzero(np.array(draft.ids) == SEG).tolist()
        return np.mean([mismatch(draft, number) for number in range(len(draft.starts))])
    alone = [made.compose_batch([wish])[0] for wish in wishes]
    assert [p.ids.tobytes() for p in made.compose_batch(wishes)] == [p.ids.tobytes() for p in alone]
    assert np.mean([away(w) for w in wishes[1::2]]) < np.mean([away(w) for w in wishes[::2]]) - 0.02
    stream = made.stream(profile, 12, seed=1, candidates=6, guidance=guidance)
    while True:
        try: next(stream)
        except StopIteration as over: piece = over.value; break
    assert np.array_equal(piece.ids, alone[3].ids)


def test_without_plans_candidates_cannot_be_compared():
    old = Composer(make_model(ModelConfig(width=64, layers=1, heads=2, mlp_width=64, plans=False), seed=1), {"key_relative": True})
    with pytest.raises(ValueError, match="knows no plans"): old.compose(PsychometricProfile(0.5, 0.5), candidates=2)
    with pytest.raises(ValueError, match="candidates must be"): Request(candidates=0, profile=PsychometricProfile())
