"""How well words that are given are followed, and the dials beside them, by how much candidates are chosen for those words.

Every word of a plan is asked for at both of its ends, at places of the square that are drawn at random: pieces of 16 s, seeds
of the development protocol, the model's own number of candidates. A row has, for a weight: how far the given word was missed
(ranks of bins, 0 to 1, mean over pieces), the rank correlation of asked and played, and those of each dial with what both
judges hear, with 95 % intervals over pieces.
Usage: python bench/given.py [--model FOLDER] [--weights 0 1 2] [--places 6] [--out reports/bench/given.csv]
"""
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from bench.common import make_parser, run_script
from psychoscore import candidates
from psychoscore.compose import Composer
from psychoscore.descriptors import DESCRIPTORS, bin_of
from psychoscore.dial import compose_shared
from psychoscore.judges import judges
from psychoscore.planned import played_segments
from psychoscore.profile import CIRCUMPLEX, PsychometricProfile
from psychoscore.protocol import DEVELOPMENT_SEED
from psychoscore.request import Request
from psychoscore.scores import song_interval

SECONDS, ENDS = 16, (0.05, 0.95) # Of a piece; where in a word's bins it is asked for
NAMES = [d.name for d in DESCRIPTORS]


def asked_values():
    "Of each word, what lies in its bins near both ends."
    return [(d.name, float(d.edges[round(share*(len(d.edges) - 1))])) for d in DESCRIPTORS for share in ENDS]


def wishes(places):
    "Requests, the word of each, and the profiles."
    rng, asked = np.random.default_rng(DEVELOPMENT_SEED), [of for of in asked_values() for _ in range(places)]
    dials = rng.random((len(asked), 2)).round(3)
    requests = [Request(PsychometricProfile(*map(float, point)), SECONDS, DEVELOPMENT_SEED + k, key="C", plan={name: value})
                for k, (point, (name, value)) in enumerate(zip(dials, asked))]
    return requests, [NAMES.index(name) for name, _ in asked], dials


def ranks(bins, words): return bins[np.arange(len(words)), words]/np.array([len(DESCRIPTORS[k].edges) for k in words])


def figures(pieces, requests, words, dials, ears):
    "Figures of a weight, each with an interval."
    asked = ranks(np.stack([request.plan.bins(0) for request in requests]), words)
    played = ranks(bin_of(np.stack([np.nanmean(played_segments(piece.notes, 0, SECONDS), 0) for piece in pieces])), words)
    found = {"missed": lambda r: np.abs(asked - played)[r].mean(), "given and played": lambda r: spearmanr(asked[r], played[r]).statistic}
    for judge, ear in ears.items():
        heard = ear([piece.notes for piece in pieces])
        for k, d in enumerate(CIRCUMPLEX):
            found[f"{d.name}, {judge}"] = lambda r, heard=heard[:, k], k=k: spearmanr(dials[r, k], heard[r]).statistic
    rows = np.arange(len(pieces))
    return {f"{name}{end}": round(float(value), 3) for name, of in found.items()
            for end, value in zip(("", ", low", ", high"), song_interval(of, rows, 1000))}


def main():
    parser = make_parser(__doc__, "bench/given.csv")
    parser.add_argument("--model", help="folder of a model; the packaged one by default")
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 1, 2])
    parser.add_argument("--places", type=int, default=6, help="of the square, for each end of a word")
    args = parser.parse_args()
    composer, ears, rows = Composer.from_pretrained(args.model), judges(), []
    requests, words, dials = wishes(args.places)
    for weight in args.weights:
        with patch.object(candidates, "BY_GIVEN", weight): pieces = compose_shared(composer, requests, processes=1)[0]
        rows.append({"weight": weight, "pieces": len(pieces)} | figures(pieces, requests, words, dials, ears))
        args.out.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(args.out, index=False)
        print(pd.Series(rows[-1]).to_string(), flush=True)


if __name__ == "__main__": run_script(main)
