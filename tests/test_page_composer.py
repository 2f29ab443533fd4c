"""The model in the page composes what Python composes, token by token; in node, which reads the page's own modules.

The default run takes some of the pieces; `python tests/test_page_composer.py` takes all.
"""
import base64
import json
import re
import runpy
import shutil
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from psychoscore.candidates import Chooser, mismatch, played_values
from psychoscore.compose import Composer
from psychoscore.decoding import MARGIN, draw
from psychoscore.descriptors import DESCRIPTORS
from psychoscore.draft import warmed
from psychoscore.midi import read_midi
from psychoscore.musicxml import musicxml_bytes
from psychoscore.notes import NOTE, Key, estimate_key, make_notes, midi_bytes
from psychoscore.planner import NOT_KNOWN, place_of
from psychoscore.profile import PsychometricProfile, ProfileTrajectory, make_arc
from psychoscore.request import Request
from psychoscore.temperature import calculate_dynamic_temperature
from psychoscore.tokens import EOS, FAMILIES, FIRST, HEADER_LENGTH, PLAN, SEG, VOCABULARY, Grammar, conditions, decode, header_ids, quantise, segment_starts

ROOT = Path(__file__).parent.parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs node, which runs the page's modules")


def in_page(job: str, **given):
    "What a job of page_model.mjs finds."
    run = subprocess.run([NODE, str(ROOT/"tests/page_model.mjs")], input=json.dumps(dict(job=job, **given)), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def rows(notes: np.ndarray) -> list[dict]: return [dict(zip(NOTE.names, note)) for note in notes.tolist()]


def example(number: int) -> np.ndarray: return read_midi(sorted((ROOT/"reports/examples").glob("*.mid"))[number]).notes


def dials(trauma=None, entropy=None) -> dict: return dict(trauma=trauma, entropy=entropy)


PIECES = [ # As the page asks for them
    dict(profile=dials(0.8, 0.2), seconds=10, seed=1),
    dict(profile=dials(0.1, 0.9), seconds=16.5, seed=2, key="Bb", mode="minor", candidates=2),
    dict(arc="storm", seconds=22, seed=3, candidates=3),
    dict(profile=[[0, dials(0.9, 0.7)], [5, dials(0.3, 0.7)], [11.3, dials(0.1, 0.25)]], seconds=13, seed=4, plan={"density": [[0, 3], [12, 12]], "register": 70}),
    dict(profile=dials(0.5, 0.5), seconds=9, seed=5, temperature=1.3, top_p=0.9, min_p=0.01, no_repeat=3, candidates=1),
    dict(profile=dials(entropy=0.9), seconds=7, seed=6, use_dynamic_temperature=False),
    dict(profile=dials(0.2, 0.3), seconds=14, seed=7, prompt="0 to 6", candidates=2),
    dict(profile=dials(0.9, 0.9), seconds=12, seed=8, vary="1", keep=2.5, key="G"),
    dict(profile=dials(0.05, 0.95), seconds=60, seed=9, candidates=2), # slides
    dict(profile=dials(0.95, 0.05), seconds=60, seed=10, key="F#"),
    dict(profile=dials(), seconds=8, seed=11),
    dict(arc="healing", seconds=40, seed=12, candidates=4, plan={"density": 14}),
    dict(profile=dials(0.5, 1.0), seconds=4, seed=2**31 + 5, candidates=16),
    dict(profile=dials(1.0, 0.0), seconds=4.03125, seed=2**70, key="Cb"),
    dict(profile=dials(0.0, 1.0), seconds=31.7, seed=15, candidates=1, plan={"density": 14, "chord": 3}),
    dict(arc="awakening", seconds=20, seed=16, temperature=0.6, mode="major"),
    dict(profile=dials(0.33, 0.66), seconds=25, seed=17, min_p=0.05, no_repeat=8, candidates=2),
    dict(profile=dials(0.66, 0.33), seconds=18, seed=18, top_p=0.8, candidates=2),
    dict(profile=dials(0.7, 0.8), seconds=25, seed=19, prompt="2 to 21", candidates=2, no_repeat=5), # slides as candidates part
    dict(profile=dials(0.2, 0.1), seconds=24, seed=20, vary="3", candidates=3),
]
SOME = [0, 3, 5, 6, 7, 13, 18]


def with_notes(asked: dict) -> dict: # With note tables
    "Notes for the names of examples."
    asked = dict(asked)
    if "prompt" in asked:
        number, until = map(int, asked["prompt"].split(" to "))
        asked["prompt"] = (notes := example(number))[notes["onset_s"] < until]
    if "vary" in asked: asked["vary"] = example(int(asked["vary"]))
    return asked


def for_page(asked: dict) -> dict:
    return {name: rows(value) if isinstance(value, np.ndarray) else value for name, value in with_notes(asked).items()}


def request(asked: dict) -> Request:
    "The same for Python."
    asked, profile = with_notes(asked), asked.get("profile")
    def point(given): return PsychometricProfile(**given)
    if profile is not None: asked["profile"] = point(profile) if isinstance(profile, dict) else [(at, point(p)) for at, p in profile]
    return Request(**asked)


def check_piece(asked, found, composer):
    piece = composer.compose_batch([request(asked)])[0]
    assert found["ids"] == piece.ids.tolist(), asked
    assert found["notes"] == rows(piece.notes) and found["temperatures"] == list(piece.temperatures) and found["key"] == str(piece.key), asked
    assert base64.b64decode(found["midi"]) == midi_bytes(piece.notes), asked
    return piece


@pytest.fixture(scope="module")
def composer(): return Composer.from_pretrained()


@pytest.fixture(scope="module")
def golden(composer):
    "Drafts that Python has finished, one of them with a prompt, and how the page asks for them."
    asked = [PIECES[i] for i in (3, 5, 6, 9)]
    drafts = [composer.draft(request(one)) for one in asked]
    chooser = Chooser(composer.weights)
    chooser.add(drafts)
    while chooser.pieces: chooser.step()
    return list(zip(asked, drafts))


def test_constants_are_fresh():
    script = runpy.run_path(str(ROOT/".ci/make_page_constants.py"))
    assert script["CONSTANTS"].read_text() == script["script"](), "run `python .ci/make_page_constants.py`"


@needs_node
def test_pieces_are_python_s_token_by_token(composer):
    asked = [PIECES[i] for i in SOME]
    for one, found in zip(asked, in_page("compose", requests=[*map(for_page, asked)]), strict=True):
        check_piece(one, found, composer)


@needs_node
def test_segments_are_those_of_a_stream(composer):
    asked = [PIECES[i] for i in (5, 6)]
    for one, found in zip(asked, in_page("compose", requests=[*map(for_page, asked)]), strict=True):
        streamed = composer._segments(composer.draft(request(one)))
        assert [(s["number"], s["start_s"], s["notes"], s["temperature"]) for s in found["segments"]] == [(s.number, s.start_s, rows(s.notes), s.temperature) for s in streamed]


@needs_node
def test_a_segment_tells_its_plan(composer):
    asked = PIECES[3]
    (found,), piece = in_page("compose", requests=[for_page(asked)]), composer.compose_batch([request(asked)])[0]
    for told, row in zip(found["segments"], piece.plan.to_dict("records"), strict=True):
        assert (told["start_s"], told["end_s"]) == (row["start_s"], row["end_s"])
        for d in DESCRIPTORS:
            plan = told["plan"][d.name]
            assert (plan["from"], plan["to"]) == pytest.approx((row[f"{d.name}_from"], row[f"{d.name}_to"]))
            assert d.name == "sustain" or plan["played"] == pytest.approx(row[f"{d.name}_played"], abs=0.1), d.name # the table knows of keys struck again


@needs_node
def test_grammar_masks(golden):
    "Of every token, all that might have come instead."
    pieces = [(np.array(draft.ids), -(-draft.request.steps//128) - 1, draft.shift) for _, draft in golden]
    found = in_page("grammar", pieces=[dict(ids=ids.tolist(), left=left, shift=shift) for ids, left, shift in pieces])
    for (ids, left, shift), masks in zip(pieces, found, strict=True):
        grammar, wanted = Grammar(left, shift), []
        for token in ids[3:]:
            if VOCABULARY[token].startswith(("LEFT", "TRAUMA", "ENTROPY")): continue
            wanted.append("".join(map(str, grammar.allowed().astype(int))))
            grammar.push(token)
        assert masks == wanted and len({*masks}) > 50


@needs_node
def test_grammar_masks_of_what_no_model_writes():
    "Walks among all that may come, with silent segments."
    rng, pieces = np.random.default_rng(6), []
    for shift in (-6, 0, 5):
        grammar, ids, masks, silent = Grammar(8, shift), [0, 0, SEG], [], False
        while ids[-1] != EOS:
            allowed = grammar.allowed()
            masks.append("".join(map(str, allowed.astype(int))))
            if grammar.position == 0 and ids[-1] != SEG and not grammar.notes: silent = rng.random() < 0.5
            may = np.flatnonzero(allowed)
            ids.append(SEG if allowed[SEG] and (silent or rng.random() < 0.02) else int(rng.choice(may)))
            grammar.push(ids[-1])
        pieces.append((dict(ids=ids, left=8, shift=shift), masks))
    assert in_page("grammar", pieces=[given for given, _ in pieces]) == [masks for _, masks in pieces]


@needs_node
def test_notes_on_the_grid():
    rng, n, pieces = np.random.default_rng(7), 300, []
    for finer in (64, 1000): # 64: halfway between steps
        pieces.append(make_notes(0.5 + rng.integers(0, 3*finer, n)/finer, rng.integers(0, 8*finer, n)/finer, rng.integers(21, 109, n), rng.integers(1, 128, n)))
    assert in_page("quantised", pieces=[*map(rows, pieces)]) == [np.stack(quantise(notes), 1).tolist() for notes in pieces]


def read_score(document):
    "What music21 reads of a score: of each staff its signs, and all that is written, when, for how long and how it is tied."
    from music21 import converter
    score = converter.parse(document, format="musicxml")
    def of(staff, kind): return staff.recurse().getElementsByClass(kind).first()
    def item(e): return (e.getOffsetInHierarchy(score), e.quarterLength, e.isRest or [(p.nameWithOctave, p.accidental and p.accidental.displayStatus) for p in e.pitches],
                         e.tie and e.tie.type, e.isRest or e.volume.velocity)
    staves = [(of(staff, "Key"), of(staff, "TimeSignature").ratioString, of(staff, "Clef").sign, [*map(item, staff.recurse().notesAndRests)]) for staff in score.parts]
    tempo, words = of(score, "MetronomeMark"), of(score, "TextExpression")
    return score.metadata.bestTitle, score.metadata.composer, tempo.number, words.content, [(key.sharps, key.mode, *rest) for key, *rest in staves]


@needs_node
def test_scores_are_python_s(composer):
    "What is read of them; composed pieces, and notes that no piece has."
    pytest.importorskip("music21", reason="the extra notation is not installed")
    rng = np.random.default_rng(8)
    anything = make_notes(np.sort(rng.integers(0, 1300, 200))/32, rng.integers(1, 80, 200)/32, rng.integers(21, 109, 200), rng.integers(1, 128, 200))
    pieces = [(piece.notes, piece.key) for piece in composer.compose_batch([Request(profile=PsychometricProfile(*point), seconds=12, seed=seed, candidates=1) for seed, point in enumerate([(0.1, 0.1), (0.9, 0.9), (0.8, 0.2)])])]
    pieces += [(notes := example(number), estimate_key(notes)[0]) for number in (0, 4)]
    pieces += [(anything, Key(tonic, mode, asked)) for tonic, mode, asked in ((1, "major", "C#"), (11, "major", "Cb"), (3, "minor", None), (9, "minor", None))]
    found = in_page("musicxml", pieces=[dict(notes=rows(notes), key=str(key)) for notes, key in pieces])
    for (notes, key), document in zip(pieces, found, strict=True):
        ours, theirs = read_score(document), read_score(musicxml_bytes(notes, key))
        assert ours == theirs and len(theirs[-1]) == 2 and min(len(staff[-1]) for staff in theirs[-1]) > 1, key
        beams = re.findall('<beam number="(.)">(.*?)</beam>', document)
        for level in "12": # each that begins ends
            kinds = "".join({"begin": "(", "end": ")", "continue": "-"}.get(kind, "") for number, kind in beams if number == level)
            assert re.fullmatch(r"(\(-*\))*", kinds), kinds


def close_call(composer, number):
    "A request, and logits after its header whose best two tokens are as close as may be, or where truncation decides."
    asked = dict(profile=dials(0.3, 0.6), seconds=8, seed=number, temperature=[0.4, 1.0, 1.7][number % 3])
    draft, logits = composer.draft(request(asked)), np.random.default_rng(number).normal(size=len(VOCABULARY))
    allowed, noise = draft.allowed(), draft.noise.at(draft.place)
    reached = np.where(allowed, draft.scaled(logits, allowed) + noise, -np.inf)
    best, second = np.argsort(reached)[:-3:-1]
    if number < 30:
        def raised(by): return np.where(np.arange(len(logits)) == second, logits + by, logits)
        low, high = 0.0, float(reached[best] - reached[second])*2*draft.temperature + 1
        while high - low > 1e-9: # by halves, until the best leads by so much
            middle = (low + high)/2
            (winner,), (lead,) = draw([draft], raised(middle)[None], allowed[None], noise[None])
            low, high = (middle, high) if winner == best and lead > MARGIN*[0.3, 0.97, 1.03][number//10] else (low, middle)
        return asked, raised(low)
    scaled = np.where(allowed, draft.scaled(logits, allowed), -np.inf)
    share, off = np.exp(scaled - scaled.max()), [-3e-4, -1e-5, 1e-5, 3e-4][number % 4]
    if number % 2: return asked | dict(top_p=max(float(share[scaled > scaled[best]].sum()/share.sum()) + off, 0.01)), logits
    return asked | dict(min_p=min(float(share[best])*(1 + off), 0.99)), logits


@needs_node
def test_the_referee_is_asked_where_python_asks(composer):
    cases, wanted = [close_call(composer, number) for number in range(40)], []
    for asked, logits in cases:
        draft = composer.draft(request(asked))
        given = [draft], logits[None], draft.allowed()[None], draft.noise.at(draft.place)[None]
        (winner,), (lead,) = draw(*given, MARGIN)
        is_asked = bool(lead < MARGIN or (("top_p" in asked or "min_p" in asked) and winner != draw(*given, -MARGIN)[0][0]))
        wanted.append([int(draw(*given)[0][0] if is_asked else winner), is_asked])
    found = in_page("draws", cases=[dict(request=for_page(asked), logits=logits.tolist()) for asked, logits in cases])
    assert found == wanted and 15 < sum(is_asked for _, is_asked in wanted) < len(wanted) - 10, sum(is_asked for _, is_asked in wanted)


@needs_node
def test_conditions(golden):
    found = in_page("conditions", pieces=[draft.ids for _, draft in golden])
    assert found == [conditions(np.array(draft.ids)).ravel().tolist() for _, draft in golden]


@needs_node
def test_headers_and_temperatures():
    values = [None, *np.linspace(0, 1, 81).tolist(), 0.1 + 0.2]
    profiles = [PsychometricProfile(a, b) for a in values for b in values[::7]]
    found = in_page("headers", vectors=[[p.trauma, p.entropy] for p in profiles], left=20)
    assert [f["header"] for f in found] == [header_ids(20, p)[1:] for p in profiles]
    assert [f["temperature"] for f in found] == [calculate_dynamic_temperature(p) for p in profiles]


@needs_node
def test_trajectories_to_the_last_bit():
    rng, moments = np.random.default_rng(0), [0, 0.1, 1/3, 2, 7.77, 19.999, 20, 31]
    asked = [("storm", make_arc("storm", 31.7)), ("healing", make_arc("healing", 31.7))]
    for n in (1, 2, 5):
        frames = [(float(at), PsychometricProfile(*rng.random(2).tolist())) for at in np.cumsum(rng.random(n)*9)]
        asked.append(([[at, dials(p.trauma, p.entropy)] for at, p in frames], ProfileTrajectory(tuple(frames))))
    found = in_page("trajectories", asked=[dict(profile=profile, seconds=31.7, at=moments) for profile, _ in asked])
    assert found == [trajectory.vectors(moments).tolist() for _, trajectory in asked]


@needs_node
def test_plans_that_are_drawn(composer):
    rng, planner = np.random.default_rng(1), composer.manner.planner
    def plan(): return np.where(rng.random(9) < rng.random(), NOT_KNOWN, [rng.integers(len(FAMILIES[name])) for name in PLAN])
    draws = [(np.where(rng.random(2) < 0.15, np.nan, rng.random(2)), plan() if rng.random() < 0.7 else None, plan(), float(rng.random())) for _ in range(150)]
    found = in_page("plans", draws=[dict(dials=[None if np.isnan(x) else x for x in point.tolist()], last=None if last is None else last.tolist(), given=given.tolist(), share=share)
                                    for point, last, given, share in draws])
    for (point, last, given, share), drawn in zip(draws, found, strict=True):
        assert drawn["isMinor"] == planner.is_minor(point, share) and drawn["words"] == planner.draw(point, last, given, share).tolist()
        assert drawn["place"] == pytest.approx(place_of(planner, given).tolist(), rel=1e-9)


@needs_node
def test_tonics_and_keys():
    seeds = [*range(300), 2**31 - 1, 2**32, 2**53 + 1, 3**100]
    assert in_page("tonics", seeds=[*map(str, seeds)]) == [Request(PsychometricProfile(), seed=seed).tonic for seed in seeds]
    pieces = [example(i) for i in range(5)]
    assert in_page("keys", pieces=[*map(rows, pieces)]) == [str(estimate_key(notes)[0]) for notes in pieces]


@needs_node
def test_temperature_among_pitches():
    rng, grammar = np.random.default_rng(2), Grammar(3)
    for token in [FIRST[name] for name in PLAN]: grammar.push(token)
    logits, allowed = rng.normal(size=len(VOCABULARY)).astype(np.float32)*4, grammar.allowed()
    found = in_page("warmed", logits=logits.tolist(), allowed=allowed.astype(int).tolist(), temperature=0.6)
    assert found == pytest.approx(warmed(logits.astype(float), allowed, 0.6).tolist(), rel=1e-12, abs=1e-12)


@needs_node
def test_mismatch_of_segments(golden):
    found = in_page("mismatches", pieces=[dict(request=for_page(asked), ids=draft.ids, starts=draft.starts) for asked, draft in golden])
    for (_, draft), segments in zip(golden, found, strict=True):
        for number, segment in enumerate(segments):
            played = played_values(draft, number).tolist()
            assert [np.nan if x is None else x for x in segment["played"]] == pytest.approx(played, rel=1e-12, abs=1e-12, nan_ok=True)
            assert segment["away"] == pytest.approx(mismatch(draft, number), rel=1e-9)


@needs_node
def test_midi_bytes():
    rng, pieces = np.random.default_rng(3), [make_notes([0.0], [1.0], [60], [64])]
    for n in (20, 400): # crowded: many events at one tick
        pieces.append(make_notes(rng.integers(0, n, n)/32, rng.integers(1, 64, n)/32, rng.integers(21, 109, n), rng.integers(1, 128, n)))
    assert [*map(base64.b64decode, in_page("midi", pieces=[*map(rows, pieces)]))] == [*map(midi_bytes, pieces)]


@needs_node
def test_what_follows_the_finger_is_what_a_trajectory_asks_for(composer):
    "A profile that is changed before each segment, and a trajectory with these profiles in their middles."
    points = [dials(0.9, 0.2), dials(0.4, 0.35), dials(0.1, 0.8), dials(0.3, 0.3)]
    found = in_page("follow", request=dict(profile=dials(0.5, 0.5), seconds=14, seed=5, candidates=2), profiles=points)
    middles = zip((0.0, 4.0, 8.0, 12.0), points)
    piece = composer.compose([(at, PsychometricProfile(**point)) for at, point in middles], seconds=14, seed=5, candidates=2)
    assert found["ids"] == piece.ids.tolist() and [change["number"] for change in found["changes"]] == [0, 1, 2, 3]


@needs_node
def test_going_back(composer):
    asked, warmer = dict(profile=dials(0.8, 0.3), seconds=10, seed=3, candidates=2, no_repeat=2), dict(temperature=1.4)
    found = in_page("goBack", request=asked, seed=77, **warmer)
    straight, other = found["straight"], found["other"]
    assert (found["number"], found["rows"]) == (1, 1) and found["again"] == straight
    last = [i for i, token in enumerate(straight) if token == SEG][-1]
    assert other[:last] == straight[:last] and other != straight and other[-1] == EOS and found["repeated"] == other
    assert found["changes"] == [[{"number": 2, "seed": 77}], [{"number": 0} | warmer]] # what was asked for since holds from where it went on
    assert found["moved"] == found["movedRepeated"]
    assert [straight, found["moved"]] == [piece.ids.tolist() for piece in composer.compose_batch([request(asked), request(asked | warmer)])]


@needs_node
def test_a_piece_without_an_end_until_it_is_told(composer):
    found = in_page("endless", request=dict(profile=dials(0.9, 0.1), seed=4, candidates=2))
    ids, segments = np.array(found["ids"]), found["segments"]
    headers = ids[segment_starts(ids)[:, None] + np.arange(1, HEADER_LENGTH)]
    calm, glad = (header_ids(15, PsychometricProfile(*point))[2:] for point in ((0.9, 0.1), (0.1, 0.8)))
    assert (headers[:, 0] - FIRST["LEFT"]).tolist() == [15, 15, 15, 15, 15, 1, 0] and headers[:, 1:].tolist() == [calm]*3 + [glad]*4
    assert [s["start_s"] for s in segments] == [4.0*k for k in range(7)] and ids[-1] == EOS
    assert [s["plan"]["density"]["from"] for s in segments[3:]] == [8.0]*4 and found["repeated"] == found["ids"]
    heard = decode(ids, Key(Request(PsychometricProfile(), seed=4).tonic, "major"))
    assert [n["pitch"] for n in found["notes"]] == heard["pitch"].tolist() and max(n["onset_s"] + n["duration_s"] for n in found["notes"]) == 28


@needs_node
def test_a_piece_without_an_end_goes_on_after_what_it_varied():
    "Two bars in C are kept nearly whole; behind them there is music as there is without them."
    given = [dict(onset_s=i/4, duration_s=0.25, pitch=60 + [0, 4, 7, 12][i % 4], velocity=70) for i in range(28)]
    found = in_page("endless", request=dict(profile=dials(0.3, 0.5), seed=4, candidates=1, vary=given, keep=10))
    kept, later = ([n for n in found["notes"] if (n["onset_s"] < 7) == is_early] for is_early in (True, False))
    assert len({(n["onset_s"], n["pitch"]) for n in kept} & {(n["onset_s"], n["pitch"]) for n in given}) > 20
    assert [sum(8 <= n["onset_s"] - 4*k < 12 for n in later) > 3 for k in range(5)] == [True]*5


@needs_node
def test_what_cannot_be_asked_for():
    wrong = [dict(takes=2), dict(guidance=2), dict(profile=dials(1.5)), dict(arc="storms"), dict(arc="storm", endless=True), dict(endless=True, seconds=4), dict(seconds=0.5),
             dict(candidates=17), dict(plan={"speed": 3}), dict(plan={"density": 99}), dict(key="H"), dict(mode="dorian"), dict(profile=[[3, dials(1)], [2, dials(1)]])]
    assert all(in_page("wrong", requests=wrong)) and in_page("wrong", requests=[{}, dict(endless=True)]) == [None, None]


WORKER = """
const folder = new URL("/model/", location), page = "/page/model/";
const bytes = at => fetch(at).then(answer => answer.arrayBuffer()), json = name => fetch(new URL(name, folder)).then(answer => answer.json());
const [{ loadEngine }, { readPlanner }, { Composer }] = await Promise.all(["engine.js", "planner.js", "composer.js"].map(name => import(page + name)));
const [wasm, weights, planner, config, about] = await Promise.all([bytes(page + "kernel.wasm"), bytes("/model/model.safetensors"), bytes("/model/planner.npz"), json("config.json"), json("psychoscore.json")]);
const composer = new Composer(await loadEngine({ wasm, weights, config }), await readPlanner(planner), about);
onmessage = async ({ data }) => {
  const run = composer.begin(data);
  for await (const segment of run.segments()) postMessage({ segment });
  postMessage({ ids: run.draft.ids });
};
postMessage({ ready: true });
"""


def test_in_a_worker_of_a_browser(composer, tmp_path):
    "From files alone."
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if chromium is None: pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    (tmp_path/"worker.js").write_text(WORKER)
    (tmp_path/"index.html").write_text("<!doctype html><title>worker</title>")
    for name in ("model", "page"): (tmp_path/name).symlink_to(ROOT/"psychoscore/assets"/name)
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *said): pass
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    Thread(target=server.serve_forever, daemon=True).start()
    asked = PIECES[13] | dict(seed=13)
    with playwright.sync_playwright() as p, p.chromium.launch(executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]) as browser:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        heard = page.evaluate("""asked => new Promise((done, failed) => {
            const worker = new Worker("worker.js", { type: "module" }), heard = [];
            worker.onerror = event => failed(new Error(event.message));
            worker.onmessage = ({ data }) => { if (data.ready) worker.postMessage(asked); heard.push(data); if (data.ids) done(heard); };
        })""", asked)
    server.shutdown()
    assert heard[-1]["ids"] == composer.compose_batch([request(asked)])[0].ids.tolist() and len(heard) == 4


if __name__ == "__main__":
    python, total = Composer.from_pretrained(), 0.0
    for asked, found in zip(PIECES, in_page("compose", requests=[*map(for_page, PIECES)])):
        try: piece = check_piece(asked, found, python)
        except AssertionError as error:
            theirs, mine = np.array(found["ids"]), python.compose_batch([request(asked)])[0].ids
            n = min(len(theirs), len(mine))
            print("DIFFERS", asked, np.flatnonzero(theirs[:n] != mine[:n])[:1], len(mine), str(error)[:200])
        else: print(f"equal: {len(piece.ids):5} tokens, {found['seconds']:5.1f} s of composing for {piece.seconds:g} s of music: {asked}")
