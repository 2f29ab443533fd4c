"""What teaches a judge that is given notes alone, by folds by song of EMOPIA's held-out clips.

Each row is a way to learn: for how many steps rule-made music comes first, how many judges answer together, and how the
labelled clips are then heard. Each way learns from four parts of the songs and is asked about the fifth; judges of rules
alone have met no clip. Rank correlations of trauma and entropy with 95 % over songs, and mean squared errors. No training
clip and no rating of anyone is looked at. Rows of ways that are not asked for stay as they are.
Usage: PSYCHOSCORE_DATA=folder python bench/note_judge.py [--only NAME ...] [--judges FOLDER] [--out reports/bench/note_judge.csv]
"""
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.common import make_parser, run_script
from psychoscore.emopia import load_emopia
from psychoscore.estimators import excerpt_rows, fit_judge
from psychoscore.features import features_table
from psychoscore.midi import read_midi
from psychoscore.note_judge import NoteJudge, NoteJudges, fine_tune, hear_clips, judge_of_rules, rank_figures, song_parts

FEATURE_JUDGE = "feature judge"
TRIALS = { # Name -> steps of learning from rule-made music, judges, options of `fine_tune`; None: no clip is learned from
    "no rules, clips": (0, 1, {}),
    "250 steps of rules": (250, 1, None),
    "500 steps of rules": (500, 1, None),
    "500 steps of rules, 3 judges": (500, 3, None),
    "250, clips": (250, 1, {}),
    "500, clips": (500, 1, {}),
    "500, clips at rate .0003": (500, 1, dict(rate=3e-4)),
    "500, clips at rate .003": (500, 1, dict(rate=3e-3)),
    "500, clips for 100 steps": (500, 1, dict(steps=100)),
    "500, clips for 1000 steps": (500, 1, dict(steps=1000)),
    "500, clips, dropout .1": (500, 1, dict(dropout=0.1)),
    "500, clips, dropout .5": (500, 1, dict(dropout=0.5)),
    "500, clips, 3 judges": (500, 3, {}),
}


def of_rules(steps: int, seed: int, kept: "Path|None") -> NoteJudge:
    if steps: return judge_of_rules(steps, seed, kept)
    torch.manual_seed(seed)
    return NoteJudge()


class Held:
    "The held-out clips, and what judges of rules heard of them."
    def __init__(self, kept: "Path|None"):
        clips = load_emopia()
        self.clips = clips[clips.split.isin(["validation", "test"])].reset_index(drop=True)
        self.notes = [read_midi(path).notes for path in self.clips.path]
        self.songs, self.truth = self.clips.song_id.to_numpy(), self.clips[["trauma", "entropy"]].to_numpy()
        self.begun = cache(lambda steps, seed: of_rules(steps, seed, kept))
        self.heard = cache(lambda steps, seed: hear_clips(self.begun(steps, seed), self.notes, seed=seed))

    def judge_of_parts(self, name: str, own: np.ndarray): # Notes to answers, (N, P)
        "Learn from some of the clips."
        if name == FEATURE_JUDGE:
            judge = fit_judge(excerpt_rows(self.clips.iloc[own], [self.notes[i] for i in own]))
            return lambda pieces: judge(features_table(pieces))
        steps, number, options = TRIALS[name]
        return NoteJudges([fine_tune(self.begun(steps, seed), self.heard(steps, seed)[:, own], self.truth[own], seed=seed, **options)
                           for seed in range(number)])

    def answers(self, name: str) -> np.ndarray: # (N, P)
        "What a way to learn says of clips whose songs it has not met."
        steps, number, options = TRIALS.get(name, (0, 0, {}))
        if options is None: return NoteJudges([self.begun(steps, seed) for seed in range(number)])(self.notes)
        part, said = song_parts(self.truth, self.songs), np.empty_like(self.truth)
        for k in np.unique(part):
            judge = self.judge_of_parts(name, np.flatnonzero(part != k))
            said[part == k] = judge([self.notes[i] for i in np.flatnonzero(part == k)])
        return said


def main():
    parser = make_parser(__doc__, "bench/note_judge.csv")
    names = [FEATURE_JUDGE, *TRIALS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--judges", type=Path, help="a folder that keeps judges of rules from run to run")
    options = parser.parse_args()
    held, rows = Held(options.judges), {}
    if options.out.is_file(): rows = pd.read_csv(options.out).set_index("way").T.to_dict()
    for name in options.only:
        began, said = time.perf_counter(), held.answers(name)
        rows[name] = {"songs": len(set(held.songs)), "clips": len(said)}
        for k, (dial, figures) in enumerate(rank_figures(said, held.truth, held.songs).items()):
            rows[name] |= dict(zip((dial, f"{dial}_low", f"{dial}_high"), np.round(figures, 3), strict=True))
            rows[name][f"{dial}_error"] = round(float(((said[:, k] - held.truth[:, k])**2).mean()), 4)
        print(f"{name:30} {rows[name]['trauma']:.3f} {rows[name]['entropy']:.3f} {time.perf_counter() - began:.0f} s", flush=True)
        order = [one for one in names if one in rows]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame([rows[one] for one in order], pd.Index(order, name="way"))
        table.astype({"songs": int, "clips": int}).to_csv(options.out)


if __name__ == "__main__": run_script(main)
