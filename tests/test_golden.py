"""The same music, tokens and figures as yesterday, to the byte: what a change of structure must leave alone.

Written anew, where something is meant to change, by `python tests/test_golden.py`.
"""
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from psychoscore.compose import Composer
from psychoscore.request import Request
from psychoscore.dial import Grid, calibrate
from psychoscore.explain import explain
from psychoscore.evaluate import estimate_profile
from psychoscore.features import features_table
from psychoscore.midi import read_midi
from psychoscore.notes import midi_bytes
from psychoscore.profile import PsychometricProfile
from psychoscore.synthetic import compose_pair
from psychoscore.tokens import encode

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).with_suffix(".json")
HURT, CALM = PsychometricProfile(trauma=0.9, entropy=0.8), PsychometricProfile(trauma=0.15, entropy=0.2)


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def examples() -> list[np.ndarray]:
    return [read_midi(path).notes for path in sorted((ROOT/"reports/examples").glob("*.mid"))]


def pairs() -> str:
    "Thirty rule-made pairs with their profiles, as MIDI."
    made = [compose_pair(3, index) for index in range(30)]
    return sha256(*(midi_bytes(pair.notes) + repr(pair.profile).encode() for pair in made))


def tokens() -> str:
    "The pairs and the example pieces, relative to their key and as they are."
    pieces = [compose_pair(3, index).notes for index in range(10)] + examples()
    return sha256(*(encode(notes, HURT, key_relative=relative).ids.tobytes() for notes in pieces for relative in (True, False)))


def composed() -> str:
    "A piece of every way to ask for one, as MIDI and as sheet music."
    composer, prompt = Composer.from_pretrained(), examples()[0]
    prompt = prompt[prompt["onset_s"] < 4]
    requests = [
        Request(HURT, seconds=10, seed=1), Request(CALM, seconds=6, seed=2, key="Db", mode="minor"),
        Request([(0, HURT), (8, CALM)], seconds=12, seed=3), Request(arc="storm", seconds=10, seed=4),
        Request(CALM, seconds=6, seed=5, candidates=1), Request(HURT, seconds=6, seed=6, temperature=0.8),
        Request(HURT, seconds=6, seed=7, top_p=0.9, min_p=0.02, no_repeat=4), Request(CALM, seconds=6, seed=8, takes=3),
        Request(HURT, seconds=10, seed=9, prompt=prompt), Request(CALM, seconds=8, seed=10, vary=examples()[1]),
        Request(PsychometricProfile(), seconds=6, seed=11, use_dynamic_temperature=False, candidates=2, plan={"density": 6}),
    ]
    pieces = composer.compose_batch(requests)
    streamed = [segment.notes.tobytes() for segment in composer.stream(HURT, seconds=10, seed=1)]
    return sha256(*(piece.encoded(suffix) for piece in pieces for suffix in (".mid", ".musicxml", ".json")), *streamed)


def heard() -> list[float]:
    "What the listener hears in the examples."
    found = [estimate_profile(notes) for notes in examples()]
    return [number for profile in found for estimate in profile for number in estimate]


def measured() -> list[float]:
    "Every feature, summed over the examples."
    return features_table(examples()).sum().tolist()


def reported() -> dict[str, float]:
    "The figures of a small dial, and what moves in a small explanation."
    composer = Composer.from_pretrained()
    dial = calibrate(composer, Grid(steps=2, repeats=2, seconds=4, seed=5), n_bootstrap=20)
    moved = explain(composer, HURT, seeds=4, seconds=4, n_bootstrap=20)
    return dial.summary.value.to_dict() | {f"{row.dial}, {row.kind} {row.what}": row.change for row in moved.itertuples()}


PARTS = dict(pairs=pairs, tokens=tokens, composed=composed, heard=heard, measured=measured, reported=reported)


@pytest.mark.parametrize("part", PARTS)
def test_it_is_what_it_was(part):
    found, golden = PARTS[part](), json.loads(GOLDEN.read_text())[part]
    if not isinstance(golden, str): golden = pytest.approx(golden, rel=1e-6, nan_ok=True) # sums differ from CPU to CPU
    assert found == golden


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: make() for name, make in PARTS.items()}, indent=1) + "\n")
