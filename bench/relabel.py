"""What relabelled headers are worth, and what relabelling costs.

relabel.csv is the oracle: for each of 25 points of the square, the nearest real clips are chosen by label, by what an
out-of-fold listener hears, or by both, and two independent judges say what they hear in them. All clips are of EMOPIA's
training songs, from which no judge learned; intervals are over songs. `all` is the rank correlation over all clips, `moves`
the share of clips whose dial moves by more than .2, and `ends` the rank correlation of how far the dial moves from a clip's
first twelve seconds to its last with how far the judge hears it move.
relabel_windows.csv tells how what is heard in a segment ranks with the label of its clip, by what is done at the ends of a
piece. relabel_sources.csv tells for each source what hearing takes, in CPU time of one core, and what a line between every
second segment misses; for pairs also how what is heard agrees with what the rules were asked for: over pieces, and over
time within those that move. A source whose folder is not there is left out, with a word.
Usage: PSYCHOSCORE_DATA=folder python bench/relabel.py [--only oracle|windows|sources] [--out reports/bench/relabel.csv]
"""
import time
from itertools import product
from unittest.mock import patch

import numpy as np
import pandas as pd

from bench.common import data_folders, make_parser, run_script
from psychoscore import relabel
from psychoscore.dataset import emopia_pieces
from psychoscore.emopia import load_emopia
from psychoscore.features import excerpt, span_s
from psychoscore.judges import judges
from psychoscore.midi import find_midi, read_midi
from psychoscore.profile import CIRCUMPLEX, as_trajectory
from psychoscore.relabel import SHARES, heard_dials, hear_segments, learn_relabelling, ranked, segment_middles
from psychoscore.scores import rank_agreement, song_interval
from psychoscore.synthetic import compose_pair

NAMES = [d.name for d in CIRCUMPLEX]
CLIPS, STEPS = 4, np.linspace(0, 1, 5) # A point of the square
WEIGHTS = {"label, ranked": 0, "half heard": 0.5, "two thirds heard": 2/3, "heard": 1} # Of what is heard
ENDS_S = 12.0 # Of a clip, at either end
PIECES = 40 # Of each source, to measure with
CORPORA = {"pop909": 909, "asap": None} # Folder of PSYCHOSCORE_DATA: pieces in all; None for those that are there
PAIRS = 50_000


def parts(notes):
    "The first and the last ENDS_S of a clip."
    first_s = float(notes["onset_s"].min())
    return [excerpt(notes, begin, ENDS_S) for begin in (first_s, first_s + span_s(notes) - ENDS_S)]


def moved(pieces, dials):
    "How far dials move from the first ENDS_S to the last."
    found = []
    for piece, of_one in zip(pieces, dials):
        at = segment_middles(piece.notes)
        found.append(of_one[at > at[-1] + 2 - ENDS_S].mean(0) - of_one[at < ENDS_S].mean(0))
    return np.array(found).round(6) # what stays, stays


def oracle(pieces, heard, scale):
    "A row a dial, judge and choice."
    ends = [[part for part in parts(p.notes) if len(part) >= relabel.LEAST_NOTES] for p in pieces]
    long = np.array([len(e) == 2 and span_s(p.notes) >= 2*ENDS_S for p, e in zip(pieces, ends)])
    of_ends = [part for e, keep in zip(ends, long) if keep for part in e]
    judged = {name: (judge([p.notes for p in pieces]), np.diff(judge(of_ends).reshape(-1, 2, 2), axis=1)[:, 0])
              for name, judge in judges().items()}
    labels, songs = np.array([p.profile.vector()[:2] for p in pieces]), np.array([p.song_id for p in pieces])
    cuts = np.cumsum([len(h) for h in heard])[:-1]
    own = ranked(np.repeat(labels, [len(h) for h in heard], 0), scale.label)
    by_ear = ranked(np.concatenate(heard), scale.heard)
    chosen, rows = {"label": np.split(np.repeat(labels, [len(h) for h in heard], 0), cuts)}, []
    for name, weight in WEIGHTS.items():
        both = (1 - weight)*own + weight*by_ear
        chosen[name] = np.split(ranked(both, np.quantile(both, SHARES, axis=0)), cuts)
    points = np.array([*product(STEPS, STEPS)])
    asked = np.repeat(points, CLIPS, 0)
    for choice, dials in chosen.items():
        of_clip, moves = np.array([d.mean(0) for d in dials]), np.mean([np.ptp(d, axis=0) > 0.2 for d in dials], 0)
        near = np.concatenate([((of_clip - point)**2).sum(1).argsort(kind="stable")[:CLIPS] for point in points])
        of_time = moved(pieces, dials)[long]
        for judge, (answers, turns) in judged.items():
            for k, name in enumerate(NAMES):
                said = answers[near]
                found = song_interval(lambda r, a=asked[:, k], b=said[:, k]: rank_agreement(a[r], b[r]), songs[near])
                rows.append({"dial": name, "chosen by": choice, "judge": judge, "clips": len(set(near)),
                             **dict(zip(("rank correlation", "low", "high"), found)),
                             "other dial": rank_agreement(asked[:, k], said[:, 1 - k]),
                             "all": rank_agreement(of_clip[:, k], answers[:, k]), "moves": moves[k],
                             "ends": rank_agreement(of_time[:, k], turns[:, k])})
    return pd.DataFrame(rows).round(3).sort_values(["dial", "judge"], kind="stable", ignore_index=True)


def cut_windows(notes):
    "As `heard_windows`, but cut where the piece ends."
    begins = float(notes["onset_s"].min()) + segment_middles(notes) - relabel.WINDOW_S/2 - relabel.EARLY_S
    return [excerpt(notes, begin, relabel.WINDOW_S) for begin in begins]


def windows(pieces, listeners):
    "A row a way of treating the ends of a piece; every segment is heard."
    rows = []
    for name, cut in (("moved inside", relabel.heard_windows), ("cut", cut_windows)):
        with patch.object(relabel, "heard_windows", cut), patch.object(relabel, "HEARD_EVERY", 1):
            heard = [h for _, h in hear_segments(pieces, listeners.number_of, listeners.models)]
        label = np.repeat([p.profile.vector()[:2] for p in pieces], [len(h) for h in heard], 0)
        flat, first = np.concatenate(heard), np.concatenate([np.arange(len(h)) == 0 for h in heard])
        for which, those in (("all", np.ones(len(flat), bool)), ("first", first)):
            rows.append({"windows": name, "segments": which, "number": int(those.sum()),
                         **{d: rank_agreement(flat[those, k], label[those, k]) for k, d in enumerate(NAMES)}})
    return pd.DataFrame(rows).round(3)


def within(values, owner):
    "Values less the mean of their piece."
    return values - pd.DataFrame(values).groupby(owner).transform("mean").to_numpy()


def measure(notes, listener, number):
    "What a source takes, and what lines miss."
    start = time.process_time()
    heard = [h for at in range(0, len(notes), 32) for h in heard_dials(notes[at:at + 32], listener)]
    took = (time.process_time() - start)/len(notes)
    with patch.object(relabel, "HEARD_EVERY", 1): each = np.concatenate(heard_dials(notes, listener))
    return heard, {"pieces": number, "measured": len(notes), "segments a piece": len(each)/len(notes), "ms a piece": 1000*took,
                   "s in all": took*number, "missed by lines": np.abs(np.concatenate(heard) - each).mean()}


def sources(listener, root):
    "A row a source."
    pairs, rows = [compose_pair(0, k) for k in range(10*PIECES)], []
    heard, row = measure([pair.notes for pair in pairs], listener, PAIRS)
    middles, owner = [segment_middles(pair.notes) for pair in pairs], np.repeat(np.arange(len(pairs)), [len(h) for h in heard])
    rule = np.concatenate([as_trajectory(pair.profile).vectors(at)[:, :2] for pair, at in zip(pairs, middles)])
    heard, moving = np.concatenate(heard), np.array([pair.shape != "still" for pair in pairs])[owner]
    means = [pd.DataFrame(values).groupby(owner).mean().to_numpy() for values in (heard, rule)]
    of_time = [within(values[moving], owner[moving]) for values in (heard, rule)]
    for k, name in enumerate(NAMES):
        row |= {f"{name}, pieces": rank_agreement(means[0][:, k], means[1][:, k]),
                f"{name}, over time": np.corrcoef(of_time[0][:, k], of_time[1][:, k])[0, 1]}
    rows.append({"source": "pairs", **row})
    for name, number in CORPORA.items():
        if not (root/name).is_dir(): print(f"no folder {root/name}: {name} is left out"); continue
        paths = find_midi([root/name])
        some = [paths[k] for k in np.random.default_rng(0).permutation(len(paths))[:PIECES]]
        rows.append({"source": name, **measure([read_midi(path).notes for path in some], listener, number or len(paths))[1]})
    return pd.DataFrame(rows).round(3)


def main():
    parser = make_parser(__doc__, "bench/relabel.csv")
    parser.add_argument("--only", choices=("oracle", "windows", "sources"), help="One table alone.")
    given = parser.parse_args()
    folder, = data_folders(parser, "emopia")
    clips = load_emopia(folder)
    relabelling = learn_relabelling(emopia_pieces(clips[clips.split != "unlisted"]))
    listeners, scale = relabelling
    pieces = [p for p in emopia_pieces(clips[clips.split == "train"]) if p.song_id in listeners.learned_from[-1]]
    def heard(): return [h for _, h in hear_segments(pieces, listeners.number_of, listeners.models)]
    made = {"oracle": lambda: oracle(pieces, heard(), scale), "windows": lambda: windows(pieces, listeners),
            "sources": lambda: sources(listeners.models[-1], folder.parent)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for name, make in made.items():
        if given.only not in (None, name): continue
        table, suffix = make(), "" if name == "oracle" else f"_{name}"
        table.to_csv(given.out.with_name(f"{given.out.stem}{suffix}.csv"), index=False)
        print(table.to_string(index=False), flush=True)


if __name__ == "__main__": run_script(main)
