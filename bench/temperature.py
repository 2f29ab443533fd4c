"""What a temperature does to pitch and rhythm: how varied pieces are at six of them, with both dials in the middle.

Usage: python bench/temperature.py [--model FOLDER] [--out reports/bench/temperature.csv]
"""
import numpy as np
import pandas as pd

from bench.common import make_parser, run_script
from psychoscore.compose import Composer
from psychoscore.profile import PsychometricProfile
from psychoscore.request import Request
from psychoscore.scores import song_interval
from psychoscore.tokens import STEP_S

TEMPERATURES = (0.4, 0.6, 0.8, 1.0, 1.2, 1.5)
PIECES, SECONDS = 20, 20


def entropy_bits(values):
    "Of the distribution of whole numbers."
    share = np.bincount(values)/len(values)
    return float(-(share[share > 0]*np.log2(share[share > 0])).sum())


def features(notes):
    "How varied a piece is."
    waits = np.diff(np.unique(np.rint(notes["onset_s"]/STEP_S).astype(int))).clip(0, 128)
    phrases = np.lib.stride_tricks.sliding_window_view(notes["pitch"], 4)
    return dict(pitch_class_entropy=entropy_bits(notes["pitch"] % 12), rhythm_entropy=entropy_bits(waits),
                distinct_4=len(np.unique(phrases, axis=0))/len(phrases))


def at_temperature(composer, temperature):
    "Means over pieces, with 95 % intervals."
    requests = [Request(PsychometricProfile(0.5, 0.5), SECONDS, seed, temperature) for seed in range(PIECES)]
    table = pd.DataFrame([features(piece.notes) for piece in composer.compose_batch(requests)])
    row = dict(temperature=temperature, pieces=PIECES)
    for name, values in table.items():
        found = song_interval(lambda r, values=values.to_numpy(): values[r].mean(), np.arange(PIECES))
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))
    print(pd.Series(row).round(3).to_dict(), flush=True)
    return row


def main():
    parser = make_parser(__doc__, "bench/temperature.csv")
    parser.add_argument("--model", help="checkpoint folder; the packaged model by default")
    args = parser.parse_args()
    composer = Composer.from_pretrained(args.model)
    rows = [at_temperature(composer, temperature) for temperature in TEMPERATURES]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).round(4).to_csv(args.out, index=False)


if __name__ == "__main__": run_script(main)
