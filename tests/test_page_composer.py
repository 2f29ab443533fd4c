"""The model in the page composes what Python composes, token by token; in node, which reads the page's own modules.

The default run takes some of the pieces; `python tests/test_page_composer.py` takes all.
"""
import base64
import json
import math
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from psychoscore.candidates import mismatch, played_values
from psychoscore.compose import Composer
from psychoscore.descriptors import DESCRIPTORS
from psychoscore.draft import warmed
from psychoscore.midi import read_midi
from psychoscore.notes import NOTE, make_notes, midi_bytes
from psychoscore.planned import plan_table
from psychoscore.profile import ARCS, PsychometricProfile, ProfileTrajectory, profile_bins
from psychoscore.request import Request
from psychoscore.tokens import VOCABULARY, Grammar, conditions, encode, header_ids, key_shift
from psychoscore.temperature import calculate_dynamic_temperature

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
    dict(profile=dials(0.0, 1.0), seconds=31.7, seed=15, candidates=1, plan={"loudness": 100, "chord": 3}),
    dict(arc="awakening", seconds=20, seed=16, temperature=0.6, mode="major"),
    dict(profile=dials(0.33, 0.66), seconds=25, seed=17, min_p=0.05, no_repeat=8, candidates=2),
    dict(profile=dials(0.66, 0.33), seconds=18, seed=18, top_p=0.8, candidates=2),
    dict(profile=dials(0.7, 0.8), seconds=30, seed=19, prompt="2 to 9", candidates=1, no_repeat=5),
    dict(profile=dials(0.2, 0.1), seconds=24, seed=20, vary="3", candidates=3),
]
SOME = [0, 3, 5, 6, 7, 13]


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


@needs_node
def test_pieces_are_python_s_token_by_token(composer):
    for asked, found in zip(PIECES_RUN := [PIECES[i] for i in SOME], in_page("compose", requests=[*map(for_page, PIECES_RUN)])):
        check_piece(asked, found, composer)


if __name__ == "__main__":
    python, total = Composer.from_pretrained(), 0.0
    for asked, found in zip(PIECES, in_page("compose", requests=[*map(for_page, PIECES)])):
        try: piece = check_piece(asked, found, python)
        except AssertionError as error:
            theirs, mine = np.array(found["ids"]), python.compose_batch([request(asked)])[0].ids
            n = min(len(theirs), len(mine))
            print("DIFFERS", asked, np.flatnonzero(theirs[:n] != mine[:n])[:1], len(mine), str(error)[:200])
        else: print(f"equal: {len(piece.ids):5} tokens, {found['seconds']:5.1f} s of composing for {piece.seconds:g} s of music: {asked}")
