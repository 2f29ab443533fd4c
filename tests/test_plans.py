"A model that plans, with random weights: what is asked stands in its headers, and the music does not depend on who decodes."
import json
import time

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from psychoscore.cli import app
from psychoscore.batching import Job, Turns
from psychoscore.compose import Composer
from psychoscore.descriptors import DESCRIPTORS, bin_of
from psychoscore.draft import Manner
from psychoscore.kernel import ENVIRONMENT, choose_kernel
from psychoscore.model import ModelConfig, make_model, save_model
from psychoscore.notes import MODES, Key, make_notes
from psychoscore.planned import shift_of
from psychoscore.planner import NOT_KNOWN, PlannedSegments, Planner, words_of
from psychoscore.profile import PsychometricProfile, ProfileTrajectory
from psychoscore.request import Request, command_options
from psychoscore.serve import make_app
from psychoscore.settings import Settings
from psychoscore.tokens import FAMILIES, PLAN, SEG, key_shift

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
    "The segments of a prompt have its own plan; the one it breaks off in, and those after it, are planned."
    tune = make_notes(np.arange(24)/2, np.full(24, 0.4), 60 + np.arange(24) % 8, 90)
    for made in (composer(model, planner), composer(model)):
        piece = made.compose(PsychometricProfile(0.5, 0.1), seconds=24, seed=0, prompt=tune)
        words, _ = words_of(piece.ids)
        loud = np.searchsorted((81.9, 88.3), 87)  # the level that 90 is put on
        assert (words[:2, LOUDNESS] == 10 + loud - 1).all() and (words[3:] >= 0).all()
        assert np.array_equal(piece.notes["pitch"][:20], tune["pitch"][:20])


def test_the_same_bytes_whoever_decodes(model, planner, monkeypatch):
    "numpy, every instruction set that is here, alone and in a batch."
    wishes = [Request(PsychometricProfile(t, e), seconds, seed) for t, e, seconds, seed in ((0.1, 0.9, 6, 0), (0.9, 0.2, 13, 1), (None, 0.5, 9, 2))]
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


def test_candidates_come_nearer_to_their_plan(model, planner):
    "Each segment is the nearest of its candidates; a piece does not depend on its company, and a stream is the piece."
    from psychoscore.candidates import mismatch
    made, profile = composer(model, planner), PsychometricProfile(0.4, 0.7)
    wishes = [Request(profile, 12, seed, candidates=n) for seed in range(2) for n in (1, 6)]
    def away(wish):
        draft = made.draft(wish.again(candidates=1))
        draft.ids = made.compose_batch([wish])[0].ids.tolist()
        draft.starts = np.flatnonzero(np.array(draft.ids) == SEG).tolist()
        return np.mean([mismatch(draft, number) for number in range(len(draft.starts))])
    alone = [made.compose_batch([wish])[0] for wish in wishes]
    assert [p.ids.tobytes() for p in made.compose_batch(wishes)] == [p.ids.tobytes() for p in alone]
    assert np.mean([away(w) for w in wishes[1::2]]) < np.mean([away(w) for w in wishes[::2]]) - 0.02
    stream = made.stream(profile, 12, seed=1, candidates=6)
    while True:
        try: next(stream)
        except StopIteration as over: piece = over.value; break
    assert np.array_equal(piece.ids, alone[3].ids)


def test_without_plans_candidates_cannot_be_compared():
    old = Composer(make_model(ModelConfig(width=64, layers=1, heads=2, mlp_width=64, plans=False), seed=1), {"key_relative": True})
    with pytest.raises(ValueError, match="candidates must be 1: this model knows no plans"): old.compose(PsychometricProfile(0.5, 0.5), candidates=2)
    with pytest.raises(ValueError, match="candidates must be"): Request(candidates=0, profile=PsychometricProfile())


# --- words that are given

LOUD_AND_LOUDER = {"density": 6.0, "loudness": [(0, 40), (30, 90)]}


def words_asked(made, plan, **options):
    "The plans in the headers of a piece, by name."
    piece = made.compose(PsychometricProfile(0.5, 0.5), seed=0, plan=plan, **options)
    return dict(zip(PLAN, words_of(piece.ids)[0].T)), piece


@pytest.mark.parametrize("has_planner", [True, False])
def test_what_is_asked_stands_in_every_header(model, planner, has_planner):
    "At the middle of each segment, 2 to 30 s: with a planner, around it; without one, the model draws the rest."
    words, piece = words_asked(composer(model, planner if has_planner else None), LOUD_AND_LOUDER, seconds=32, key="C")
    assert words["DENSITY"].tolist() == [6]*8
    assert words["LOUDNESS"].tolist() == [bin_of(np.full((1, 8), 40 + 50/30*t))[0, 2] for t in range(2, 32, 4)] and len({*words["LOUDNESS"]}) > 4
    free, _ = words_asked(composer(model, planner if has_planner else None), None, seconds=32, key="C")
    assert (words["SPREAD"] >= 0).all() and len({*words["SPREAD"]}) > 1 and free["DENSITY"].tolist() != [6]*8
    assert piece.request.plan.at(30)[2] == 90


def test_a_piece_that_begins_within_a_segment_is_asked_in_time(model, planner):
    "10 s are 2 s and two segments, whose middles are at 0, 4 and 8 s."
    words, _ = words_asked(composer(model, planner), {"loudness": [(0, 30), (3.9, 30), (4, 100)]}, seconds=10)
    assert words["LOUDNESS"].tolist() == [0, 11, 11]


@pytest.mark.parametrize(("key", "bin"), [("C", 5), ("D", 4), ("A", 6), ("F#", 2)])
def test_register_is_the_one_that_sounds(model, planner, key, bin):
    "64 is asked: transposed to C it is 62 from D, 67 from A, 58 from F#."
    for relative, expected in ((True, bin), (False, 5)):
        made = Composer(model, {"key_relative": relative}, planner=planner)
        words, piece = words_asked(made, {"register": 64}, seconds=8, key=key)
        assert words["REGISTER"].tolist() == [expected]*2
        table = piece.plan
        assert (table.register_from <= 64).all() and (table.register_to > 64).all()
        assert shift_of(piece.ids, piece.notes) == (key_shift(Key(piece.key.tonic, "major")) if relative else 0)


def test_what_a_prompt_plays_stays_as_it_is(model, planner):
    tune = make_notes(np.arange(24)/2, np.full(24, 0.4), 60 + np.arange(24) % 8, 90)
    for made in (composer(model, planner), composer(model)):
        words, _ = words_asked(made, {"loudness": 30}, seconds=24, prompt=tune)
        assert (words["LOUDNESS"][:2] > 9).all() and (words["LOUDNESS"][2:] == 0).all()  # the one it breaks off in is asked, too


def test_the_table_of_a_piece(model, planner):
    words, piece = words_asked(composer(model, planner), LOUD_AND_LOUDER, seconds=30)
    table = piece.plan
    assert table.start_s.tolist() == [0, *range(2, 30, 4)] and table.end_s.tolist() == [*range(2, 31, 4)]
    assert (table["mode"] == piece.key.mode).all() and (table.density_from == 6).all() and (table.density_to == 7).all()
    onsets = piece.notes["onset_s"]
    for row in table.itertuples():
        inside = piece.notes[(onsets >= row.start_s) & (onsets < row.end_s)]
        if len(inside): assert np.isclose(row.loudness_played, inside["velocity"].mean()) and np.isclose(row.register_played, inside["pitch"].mean())
        assert np.isclose(row.density_played, len(inside)/(row.end_s - row.start_s))
    assert (np.digitize(table.loudness_from, DESCRIPTORS[2].edges) == words["LOUDNESS"]).all()


def test_models_without_plans_refuse_one(planner):
    old = Composer(make_model(ModelConfig(width=64, layers=1, heads=2, mlp_width=64, plans=False), seed=1), {"key_relative": True})
    with pytest.raises(ValueError, match="plan must be left out: this model knows no plans"): old.compose(plan={"density": 6}, profile=PsychometricProfile())
    table = old.compose(PsychometricProfile(0.5, 0.5), seconds=8, seed=0).plan
    assert table["mode"].isna().all() and table.filter(regex="_(from|to)$").isna().all(axis=None) and table.density_played.notna().all()
    client = TestClient(make_app(Settings(), old))
    with client:
        assert said(client, plan={"density": 6}) == [("plan", "plan must be left out: this model knows no plans")]
        assert client.get("/v1/model").json()["plan"] == []


@pytest.mark.parametrize("wish", [
    dict(plan=LOUD_AND_LOUDER), dict(plan={"register": 60}, key="D"), dict(plan={"chord": [(5, 1.1), (7.25, 1/3 + 1)]}),
    dict(plan={"loudness": [(0, 40), (30, 90)], "density": [(0, 3), (10, 6), (40, 2)]}, profile=ProfileTrajectory(((0.0, PsychometricProfile(0.9)), (10.0, PsychometricProfile(0.4)), (20.0, PsychometricProfile(0.1))))),
    dict(plan={"loudness": [(0, 40), (30, 90)]}, profile=ProfileTrajectory(((10.0, PsychometricProfile(0.9)), (20.0, PsychometricProfile(0.1)))))])
def test_the_command_asks_for_the_same(wish, monkeypatch):
    "What `command_options` writes, the command reads: the very request, with the keyframes of dials and descriptors apart."
    request, asked = Request(**{"profile": PsychometricProfile(0.5)} | wish, seconds=40, seed=3), []
    class Enough(Exception): pass
    class Deaf:
        @classmethod
        def from_pretrained(cls, folder): return cls()
        def compose_batch(self, requests): asked.extend(requests); raise Enough
    monkeypatch.setattr("psychoscore.compose.Composer", Deaf)
    with pytest.raises(Enough): app(["compose", *command_options(request), "-o", "x.mid"], standalone_mode=False)
    assert asked == [request]


@pytest.mark.parametrize(("options", "says"), [
    ("--density 60", "plan.density must be a number from 0 to 40 notes/s, got 60.0"), ("--loudness loud", "Invalid value for '--loudness'"),
    ("--trauma 0.5 --at 30 --loudness 90", "--loudness must stand before the first --at, too"), ("--loudness 40 --at 30 --loudness 200", "from 1 to 127 MIDI velocity, got 200.0"),
    ("--loudness 40 --at 30 --loudness 50 --at 30 --loudness 60", "whose seconds increase"), ("--density 6", "this model knows no plans")])
def test_the_command_says_what_is_wrong_with_a_plan(options, says, command, tmp_path):
    if "no plans" in says:
        save_model(make_model(ModelConfig(width=32, layers=1, heads=2, mlp_width=32, plans=False)), tmp_path/"old", {"key_relative": True})
        options += f" --model {tmp_path/'old'}"
    result = command("compose", *options.split(), "-o", tmp_path/"x.mid")
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and says in result.stderr and not (tmp_path/"x.mid").exists()


def said(client, **body):
    "The errors of a request, (field, message) each."
    answer = client.post("/v1/generate", content=json.dumps({"seconds": 4, "seed": 1} | body), headers={"Content-Type": "application/json"})
    return [(error["field"], error["message"]) for error in answer.json()["errors"]] if answer.status_code == 422 else []


def test_over_http(model, planner):
    made = composer(model, planner)
    with TestClient(make_app(Settings(), made)) as client:
        while client.get("/readyz").status_code != 200: time.sleep(0.05)
        answer = client.post("/v1/generate", json={"seconds": 8, "seed": 1, "key": "C", "plan": {"loudness": [[0, 40], [8, 90]]}}, headers={"Accept": "application/json"})
        alone = made.compose(PsychometricProfile(), seconds=8, seed=1, key="C", plan={"loudness": [(0, 40), (8, 90)]})
        assert [note["velocity"] for note in answer.json()["notes"]] == alone.notes["velocity"].tolist()
        for plan, field, says in (
                ({"density": 60}, "plan.density", "from 0 to 40 notes/s, got 60"), ({"densty": 6}, "plan", "did you mean 'density'?"), ({"loudness": [[0, 40], [0, 50]]}, "plan.loudness", "increase"),
                ({"loudness": None}, "plan.loudness", "got None"), ({"loudness": []}, "plan.loudness", "keyframes"), ([6], "plan", "plan must be an object of names and values"), ({"\ud800": 6}, "plan", "no descriptor")):
            [(where, message)] = said(client, plan=plan)
            assert where == field and says in message
        assert [d["name"] for d in client.get("/v1/model").json()["plan"]] == [d.name for d in DESCRIPTORS]
        wish = {"seconds": 9, "seed": 1, "key": "C", "candidates": 4}
        answer = client.post("/v1/generate", json=wish, headers={"Accept": "application/json"})
        alone = made.compose(PsychometricProfile(), seconds=9, seed=1, key="C", candidates=4)
        assert [note["pitch"] for note in answer.json()["notes"]] == alone.notes["pitch"].tolist()
        assert said(client, candidates=9)[0][0] == "candidates"


def test_a_newcomer_does_not_break_into_candidates(model, planner):
    "Jobs with candidates take turns with those that come at any moment; every piece is what it is alone."
    made = composer(model, planner)
    wishes = [Request(PsychometricProfile(0.4, 0.6), 12, seed, candidates=n) for seed, n in ((0, 4), (1, 4), (2, 4), (3, 1), (4, 2))]
    alone = [made.compose_batch([wish])[0].ids.tolist() for wish in wishes]
    jobs = [Job(wish, made.manner, lambda part: None) for wish in wishes]
    for apart in (7, 40, 90):  # steps from one newcomer to the next
        turns, jobs = Turns(made.weights, 6), [Job(wish, made.manner, lambda part: None) for wish in wishes]
        for step in range(20_000):
            if step % apart == 0 and step//apart < len(jobs): turns.new.append(jobs[step//apart])
            if step and all(job.done for job in jobs): break
            turns.step()
        assert [job.ids for job in jobs] == alone and not turns.chooser.sampler.sequences
    spent = {job.request.candidates: job.spent_s for job in jobs[3:]}
    assert all(seconds > 0 for seconds in spent.values())


def test_plans_go_on_from_plans(model):
    "A planner whose music never changes keeps to the plan it began with."
    rng = np.random.default_rng(1)
    words = np.stack([rng.integers(0, size, 400) for size in SIZES], 1).astype(np.int8)
    words[:, 0] = 0
    places = np.full((400, 2), 0.5, np.float32)
    first = np.full((40, len(PLAN)), NOT_KNOWN, np.int8)  # the first segments of clips follow nothing
    steady = Planner(PlannedSegments(words, np.concatenate([first, words[40:]]), places), places, change=0.03)
    free = steady._replace(change=100.0)
    asked = {name: words_of(composer(model, of).compose(PsychometricProfile(0.5, 0.5), seconds=40, seed=0).ids)[0] for name, of in (("steady", steady), ("free", free))}
    changes = {name: np.abs(np.diff(of[1:], axis=0)).mean() for name, of in asked.items()}
    assert changes["steady"] < 0.2*changes["free"]


def test_a_model_that_goes_on_keeps_its_planner(planner, tmp_path):
    "Few songs of one's own teach no planner, and replace none."
    from psychoscore.dataset import SourcePiece, prepare
    from psychoscore.planner import read_planner, save_planner
    from psychoscore.train_config import TrainConfig, find_planner
    tune = make_notes(np.arange(40)/2, np.full(40, 0.4), 60 + np.arange(40) % 8, 90)
    songs = [SourcePiece(f"p{k}", f"s{k}", "own", "train" if k else "validation", "CC0", tune, PsychometricProfile(0.1*k, 0.5)) for k in range(4)]
    data = prepare(songs, tmp_path/"data", copies=1)
    assert find_planner(data, TrainConfig()) is None
    (tmp_path/"start").mkdir(); save_planner(planner, tmp_path/"start")
    kept = find_planner(data, TrainConfig(init=str(tmp_path/"start")))
    assert np.array_equal(kept.places, read_planner(tmp_path/"start").places)
