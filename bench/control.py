"""How well one take does what the dials ask, and what each part of the mechanism gives: one row an arm and judge.

Every arm composes the square (five by five points) and the arcs of single dials with seeds of the development protocol,
which may be looked at as often as one likes. A row of every judge is written as an arm ends, and arms that have rows are
not composed again. Beside the dial it says how well the words of the plan are followed, and how far pieces are from
real clips.
Usage: python bench/control.py --model FOLDER [--only ARM ...] [--repeats 4] [--arcs 12] [--processes 2] [--out reports/bench/control.csv]
"""
import time
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from bench.common import make_parser, run_script
from psychoscore.arcs import compose_arcs, hear_ends
from psychoscore.candidates import played_values
from psychoscore.compose import Composer
from psychoscore.descriptors import DESCRIPTORS, bin_of
from psychoscore.dial import AXES, Grid, compose_grid, summarise_dial
from psychoscore.judges import judges
from psychoscore.measure import hear_all
from psychoscore.planner import words_of
from psychoscore.protocol import DEVELOPMENT_SEED
from psychoscore.tokens import segment_starts

SECONDS = 30
# Arm -> what is changed of the composer's planner (None for no planner), and options of every request
ARMS = {
    "as it comes": ({}, {}),
    "drawn plans": (None, {}),
    "2 candidates": ({}, dict(candidates=2)), "4 candidates": ({}, dict(candidates=4)), "8 candidates": ({}, dict(candidates=8)),
    "guidance 2": ({}, dict(guidance=2.0)),
    "bandwidth .04": (dict(bandwidth=0.04), {}), "bandwidth .1": (dict(bandwidth=0.1), {}),
    "change .1": (dict(change=0.1), {}), "change .3": (dict(change=0.3), {})}


def arm_of(composer, name):
    "The composer of an arm, and the options of its requests."
    planner, options = ARMS[name]
    changed = composer.manner.planner and planner is not None and composer.manner.planner._replace(**planner)
    return Composer(composer.llama, composer.about, composer.folder, changed or None), options


def follows(composer, pieces):
    "Rank correlation of each word asked with what was played, over segments."
    asked, played = [], []
    for piece in pieces:
        draft = composer.draft(piece.request)
        draft.ids, draft.starts = piece.ids.tolist(), segment_starts(piece.ids).tolist()
        asked.append(words_of(piece.ids)[0][:, 1:])
        played.append(bin_of(np.stack([played_values(draft, number) for number in range(len(draft.starts))])))
    asked, played = np.concatenate(asked), np.concatenate(played)
    both = (asked >= 0) & (played >= 0)
    return {f"follows {d.name}": spearmanr(asked[both[:, k], k], played[both[:, k], k]).statistic for k, d in enumerate(DESCRIPTORS)}


def arc_moves(composer, n, judge, processes, options):
    "Of each dial: half of the difference between arcs that rise and arcs that fall, and between steady pieces."
    raise NotImplementedError


def main():
    parser = make_parser(__doc__, "bench/control.csv")
    parser.add_argument("--model", help="folder of a model; the packaged one by default")
    parser.add_argument("--only", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--repeats", type=int, default=4, help="pieces at each of 25 points")
    parser.add_argument("--arcs", type=int, default=12, help="pieces of each arc")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    whole, ears = Composer.from_pretrained(args.model), judges()
    rows = pd.read_csv(args.out).to_dict("records") if args.out.exists() else []
    for name in args.only:
        if any(row["arm"] == name for row in rows): continue
        composer, options = arm_of(whole, name)
        began = time.process_time()
        asked, pieces, _ = compose_grid(composer, Grid(5, args.repeats, SECONDS, DEVELOPMENT_SEED), processes=args.processes, **options)
        spent = (time.process_time() - began)/len(pieces)
        followed = follows(composer, pieces) if composer.manner.plans else {}
        for judge, table in hear_all(asked, pieces, ears).items():
            figures = summarise_dial(table)
            row = {"arm": name, "judge": judge, "pieces": len(pieces), "s a piece": round(spent, 2) if args.processes == 1 else None}
            for figure, at in figures.iterrows(): row |= {figure: round(at.value, 3), f"{figure}, low": round(at.low, 3), f"{figure}, high": round(at.high, 3)}
            rows.append(row | {word: round(value, 3) for word, value in followed.items()})
        args.out.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(args.out, index=False)
        print(pd.DataFrame(rows)[lambda t: t.arm == name][["judge", *(c for c in rows[-1] if c.startswith(("rank", "corners", "cross")) and not c.endswith(("low", "high")))]].to_string(), flush=True)


if __name__ == "__main__": run_script(main)
