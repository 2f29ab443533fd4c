"""How well one take does what the dials ask, and what each part of the mechanism gives: one row an arm and judge.

Every arm composes the square (five by five points, half a minute each) and the arcs of single dials, with seeds of the
development protocol, which may be looked at as often as one likes. Rows are written as an arm ends, and arms that have
rows are not composed again. Beside the dial a row says how far arcs are heard to move it, how well the words of the
plan are followed, how drawn arcs of five points are followed over time, how far pieces are from real clips in seven
statistics, and what a piece costs.
Usage: python bench/control.py --model FOLDER [--only ARM ...] [--repeats 4] [--arcs 12] [--processes 2] [--out reports/bench/control.csv]
"""
import time

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from bench.common import make_parser, run_script
from psychoscore.arcs import compose_arcs, measure_arcs, single_dial_arcs
from psychoscore.candidates import played_values
from psychoscore.compose import Composer
from psychoscore.descriptors import DESCRIPTORS, bin_of
from psychoscore.dial import Grid, compose_grid, compose_shared, distance, summarise_dial
from psychoscore.estimators import STATISTICS, reference
from psychoscore.features import excerpt
from psychoscore.judges import judges
from psychoscore.measure import hear_all
from psychoscore.planner import words_of
from psychoscore.profile import CIRCUMPLEX, ProfileTrajectory, PsychometricProfile
from psychoscore.protocol import DEVELOPMENT_SEED
from psychoscore.request import Request
from psychoscore.scores import song_interval
from psychoscore.tokens import segment_starts

SECONDS, ARC_SECONDS = 30, 40
POINTS, WINDOW_S, HOP_S = 5, 8, 2 # Of a drawn arc; of what is heard along it
# Arm -> what is changed of the composer's planner (None for no planner), and options of every request
ARMS = {
    "1 candidate": ({}, dict(candidates=1)), "2 candidates": ({}, dict(candidates=2)),
    "4 candidates": ({}, dict(candidates=4)), "8 candidates": ({}, dict(candidates=8)),
    "16 candidates": ({}, dict(candidates=16)),
    "plans drawn by the model": (None, dict(candidates=1)),
    "8 candidates, by words alone": (dict(by_dials=0.0), dict(candidates=8)),
    "temperature 1": ({}, dict(temperature=1.0)),
    "bandwidth .04": (dict(bandwidth=0.04), {}), "bandwidth .1": (dict(bandwidth=0.1), {}),
    "change .1": (dict(change=0.1), {}), "change .3": (dict(change=0.3), {}),
    "dials by half": (dict(by_dials=0.5), {}), "dials by two": (dict(by_dials=2.0), {})}


class Arm(Composer):
    "A composer whose requests have options of their own."
    def __init__(self, whole, name):
        changes, self.options = ARMS[name]
        planner = None if changes is None or whole.manner.planner is None else whole.manner.planner._replace(**changes)
        super().__init__(whole.llama, whole.about, whole.folder, planner)

    def compose_batch(self, requests, progress=False):
        return super().compose_batch([request.again(**self.options) for request in requests], progress)


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
    return {f"follows {d.name}": spearmanr(asked[both[:, k], k], played[both[:, k], k]).statistic
            for k, d in enumerate(DESCRIPTORS)}


def dial_figures(table):
    "The figures of a dial, each with its interval."
    return {f"{figure}{end}": at[column] for figure, at in summarise_dial(table).iterrows()
            for column, end in (("value", ""), ("low", ", low"), ("high", ", high"))}


def arc_figures(composed, judge):
    "Of each dial: how far its arcs are heard to move it, drift taken off, and how far steady pieces differ."
    arcs = measure_arcs(composed, judge)
    own = arcs[[row.arc.startswith(f"{row.dial} from") for row in arcs.itertuples()]]
    names = ("net", "net_low", "net_high", "steady")
    return {f"{row.arc}, {name}": getattr(row, name) for row in own.itertuples() for name in names}


def compose_drawn(composer, n, processes):
    "Pieces of arcs through points that are drawn at random, one each."
    rng, times = np.random.default_rng(DEVELOPMENT_SEED), np.linspace(0, ARC_SECONDS, POINTS)
    drawn = [[PsychometricProfile(*map(float, dials)) for dials in rng.random((POINTS, 2)).round(3)] for _ in range(n)]
    arcs = [ProfileTrajectory(tuple(zip(times.tolist(), points))) for points in drawn]
    return compose_shared(composer, [Request(arc, ARC_SECONDS, DEVELOPMENT_SEED + k) for k, arc in enumerate(arcs)], processes=processes)[0]


def drawn_figures(pieces, judge):
    "Correlation of what is asked with what is heard in windows along a piece: its mean over pieces, with an interval."
    starts = np.arange(0, ARC_SECONDS - WINDOW_S + 1, HOP_S)
    followed = []
    for piece in pieces:
        parts = [excerpt(piece.notes, start, WINDOW_S) for start in starts]
        sounding = np.array([len(part) > 1 for part in parts])
        heard = judge([part for part, is_heard in zip(parts, sounding) if is_heard])
        asked = np.array([piece.trajectory.vectors(np.linspace(start, start + WINDOW_S, 9)).mean(0)[:2] for start in starts])[sounding]
        followed.append([np.corrcoef(asked[:, k], heard[:, k])[0, 1] for k in range(2)])
    rows = np.arange(len(pieces))
    found = {d.name: song_interval(lambda r, at=np.array(followed)[:, k]: float(np.nanmean(at[r])), rows, 1000) for k, d in enumerate(CIRCUMPLEX)}
    return {f"drawn arcs, {name}{end}": value for name, of in found.items() for value, end in zip(of, ("", ", low", ", high"))}


def main():
    parser = make_parser(__doc__, "bench/control.csv")
    parser.add_argument("--model", help="folder of a model; the packaged one by default")
    parser.add_argument("--only", nargs="*", choices=ARMS, default=list(ARMS))
    parser.add_argument("--repeats", type=int, default=4, help="pieces at each of 25 points")
    parser.add_argument("--arcs", type=int, default=12, help="pieces of each arc; 0 for none")
    parser.add_argument("--drawn", type=int, default=24, help="pieces of drawn arcs; 0 for none")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    whole, ears = Composer.from_pretrained(args.model), judges()
    rows = pd.read_csv(args.out).to_dict("records") if args.out.exists() else []
    real = reference()["train"]
    for name in args.only:
        if any(row["arm"] == name for row in rows): continue
        composer, began = Arm(whole, name), time.perf_counter()
        asked, pieces, _ = compose_grid(composer, Grid(5, args.repeats, SECONDS, DEVELOPMENT_SEED), processes=args.processes)
        spent = args.processes*(time.perf_counter() - began)/len(pieces)
        followed = follows(composer, pieces) if composer.manner.plans else {}
        arcs = compose_arcs(composer, args.arcs, ARC_SECONDS, DEVELOPMENT_SEED, args.processes, single_dial_arcs(ARC_SECONDS)) if args.arcs else {}
        drawn = compose_drawn(composer, args.drawn, args.processes) if args.drawn else []
        for judge, table in hear_all(asked, pieces, ears).items():
            far = {f"distance, {said}": distance(table[column].to_numpy(), real[column].to_numpy()) for said, column in STATISTICS.items()}
            moved = arc_figures(arcs, ears[judge]) if arcs else {}
            along = drawn_figures(drawn, ears[judge]) if drawn else {}
            found = dial_figures(table) | moved | along | followed | far
            rows.append({"arm": name, "judge": judge, "pieces": len(pieces), "s a piece and core": round(spent, 2)} | {figure: round(value, 3) for figure, value in found.items()})
        args.out.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(args.out, index=False)
        print(pd.DataFrame(rows[-len(ears):]).T.to_string(), flush=True)


if __name__ == "__main__": run_script(main)
