"""How well each choice of listener hears, by cross-validation over EMOPIA's training songs, under every kind of source.

Each choice is learned from four parts of the songs and asked about the fifth, as every kind of source would have written
it. `unseen` repeats that with copies that change no velocity, no grid and no voice. The table tells mean squared errors,
rank correlations and the share of right quadrants: over all kinds but the shortest, for performances, for what is unlike
one (other velocities, a grid, fewer voices), and for that unseen. A second table, long.csv, compares music of minutes as a
whole with the mean over stretches of it. No held-out song and no rating of anyone is looked at.
Usage: PSYCHOSCORE_DATA=folder python bench/listener.py [--only CHOICE ...] [--out reports/bench/listener/search.csv]
"""
import time

import numpy as np
import pandas as pd
from scipy.linalg import solve
from scipy.stats import norm, spearmanr
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

from bench.common import make_parser, run_script
from psychoscore.augment import KINDS, LEAST_NOTES, augmented, of_kind
from psychoscore.scores import quadrants
from psychoscore.emopia import load_emopia
from psychoscore.estimators import ALPHA, BEND, DOUBT, GAMMA, GATE, IS_DYNAMIC, SENSES, kernel, rows_of, rows_of_kind, song_folds
from psychoscore.features import FEATURES, GROUPS, excerpt, features_table
from psychoscore.midi import read_midi
from psychoscore.notes import end_s

SCORES = ("another level", "mixed by voice", "score", "sequenced", "arranged", "8 s of a score") # Unlike a transcribed performance
LEAST_CLIPS = 3 # Of a long piece
SHORT = ("a moment", "a few notes")
LIKE_SCORES = ("outlined", "on a grid", "together", "joined", "scaled", "voiced", "few", "flat") # Changes that `unseen` does without
ALL_NOTES, NAMES = ~IS_DYNAMIC, np.array(list(FEATURES))


def bent(x):
    mean, scale = x.mean(0), x.std(0) + 1e-9
    return lambda q: BEND*np.tanh((q - mean)/scale/BEND)


def clipped(x):
    mean, scale = x.mean(0), x.std(0) + 1e-9
    return lambda q: ((q - mean)/scale).clip(-BEND, BEND)


def ranked(x, points=33):
    at = (np.arange(points) + 0.5)/points
    known, normal = np.quantile(x, at, axis=0) + 1e-9*np.arange(points)[:, None], norm.ppf(at)
    return lambda q: np.stack([np.interp(q[:, k], known[:, k], normal) for k in range(q.shape[1])], 1)


def kernel_ridge(gamma=GAMMA, alpha=ALPHA, senses=SENSES, dynamics=("never", "gated"), prepare=bent, leave_out=(), linear=0.0, doubt=DOUBT, open_at=GATE):
    "Learner: rows to a function that answers. Dynamics, for trauma and entropy: gated, always, or never."
    kept = ~np.isin(NAMES, leave_out)
    seen = [s & kept for s in senses if (s & kept).any()]
    def likeness(a, ga, b, gb):
        by_notes = sum(kernel(a[:, s], b[:, s], gamma) + linear*a[:, s] @ b[:, s].T/s.sum() for s in seen)/len(seen)
        by_dynamics = kernel(a[:, IS_DYNAMIC], b[:, IS_DYNAMIC], gamma)
        made = {"never": lambda: by_notes, "always": lambda: by_notes*(1 + by_dynamics), "gated": lambda: by_notes*(1 + ga[:, None]*gb*by_dynamics)}
        return [made[how]() for how in dynamics]
    def gates(table): return 1/(1 + np.exp((open_at[0] - table["velocity_bits"].to_numpy())/open_at[1]))
    def learn(table, y, clips):
        x, g, base = table[NAMES].to_numpy(), gates(table), y.mean(0)
        ridge = np.diag(alpha*np.where(np.arange(len(x)) < clips, 1.0, doubt)) # the clips as they were played come first
        z = (standard := prepare(x))(x)
        weights = [solve(k + ridge, of_one - m, assume_a="pos") for k, of_one, m in zip(likeness(z, g, z, g), y.T, base, strict=True)]
        return lambda asked: base + np.stack([k @ w for k, w in zip(likeness(standard(asked[NAMES].to_numpy()), gates(asked), z, g), weights, strict=True)], 1)
    return learn


def trees(kind, **settings):
    def learn(table, y, clips):
        grown = kind(100, max_features=0.3, random_state=0, **settings).fit(table[NAMES].to_numpy(), y)
        return lambda asked: grown.predict(asked[NAMES].to_numpy())
    return learn


def mean_of(*learners):
    def learn(table, y, clips):
        models = [one(table, y, clips) for one in learners]
        return lambda asked: np.mean([model(asked) for model in models], 0)
    return learn


def choices():
    "Name -> learner, and number of copies."
    one, forest = (ALL_NOTES,), trees(RandomForestRegressor, min_samples_leaf=8)
    found = {"chosen": (kernel_ridge(), 3)}
    for gamma in (0.2, 0.4, 0.6):
        for alpha in (0.5, 1.0, 2.0):
            for doubt in (1.0, 5.0, 10.0, 20.0):
                if (gamma, alpha, doubt) != (GAMMA, ALPHA, DOUBT): found[f"gamma {gamma}, alpha {alpha}, doubt {doubt:g}"] = (kernel_ridge(gamma, alpha, doubt=doubt), 3)
    found |= {f"dynamics from {bits} bits": (kernel_ridge(open_at=(bits, width)), 3) for bits, width in ((3.5, 0.5), (4.0, 0.4), (4.6, 0.2))}
    found |= {f"{n} copies": (kernel_ridge(), n) for n in (0, 2, 6)}
    found |= {"one kernel for all notes": (kernel_ridge(0.2, senses=one), 3),
              "dynamics never": (kernel_ridge(dynamics=("never", "never")), 3), "dynamics always": (kernel_ridge(dynamics=("always", "always")), 3),
              "dynamics gated, for both": (kernel_ridge(dynamics=("gated", "gated")), 3),
              "clipped features": (kernel_ridge(prepare=clipped), 3), "ranked features": (kernel_ridge(prepare=ranked), 3), "with a linear part": (kernel_ridge(linear=0.1), 3),
              "forest": (forest, 3), "extra trees": (trees(ExtraTreesRegressor, min_samples_leaf=5), 3), "mean with a forest": (mean_of(kernel_ridge(), forest), 3),
              "whole clips alone, ridge and forest": (mean_of(kernel_ridge(0.2, 0.3, one, ("always", "always"), clipped, doubt=1.0), forest), 0)}
    return found | {f"without {group}": (kernel_ridge(leave_out=list(names)), 3) for group, names in GROUPS.items() if group != "dynamics"}


def answers(learn, parts, y, whole, copies, asked):
    "Kind -> answers of models that did not hear the song."
    asked = {kind: table if isinstance(table, tuple) else (table, parts) for kind, table in asked.items()}
    found = {kind: np.empty((len(table), y.shape[1])) for kind, (table, _) in asked.items()}
    for k in np.unique(parts):
        others = parts != k
        model = learn(pd.concat([whole[others], *(table[others] for table in copies)]), np.concatenate([y[others]]*(len(copies) + 1)), others.sum())
        for kind, (table, of_kind_parts) in asked.items(): found[kind][of_kind_parts == k] = model(table[of_kind_parts == k])
    return found


def long_pieces(clips, notes):
    "Clips of one song and class behind one another, from three on: their notes, and the clips of each."
    pieces, owners = [], []
    for _, those in clips.groupby(["song_id", "quadrant"]).groups.items():
        if len(those) < LEAST_CLIPS: continue
        begins, parts = 0.0, []
        for i in those:
            part = notes[i].copy()
            part["onset_s"] += begins - part["onset_s"].min()
            parts.append(part); begins = end_s(np.concatenate(parts))
        pieces.append(np.concatenate(parts)); owners.append(list(those))
    return pieces, owners


def cut(notes, length_s):
    "Equal parts of about that length."
    number = max(1, round(end_s(notes)/length_s))
    return [part for k in range(number) if len(part := excerpt(notes, k*end_s(notes)/number, end_s(notes)/number)) >= LEAST_NOTES]


def long_music(clips, notes, whole, y, parts, copies):
    "What the mean over stretches is worth, for long music: a row for each kind of source and length of stretch."
    pieces, owners = long_pieces(clips, notes)
    truth, rows = np.array([y[those].mean(0) for those in owners]), []
    for kind in ("performed", "sequenced", "score"):
        written = [of_kind(piece, kind, np.random.default_rng([1, i])) for i, piece in enumerate(pieces)]
        for length_s in (np.inf, 15, 20, 30, 45):
            divided = [[piece] if np.isinf(length_s) else cut(piece, length_s) for piece in written]
            table, owner = features_table([part for of_one in divided for part in of_one]), np.repeat(np.arange(len(pieces)), list(map(len, divided)))
            part_of_song = np.array([parts[owners[i][0]] for i in owner])
            found = answers(kernel_ridge(), parts, y, whole, copies[:3], {"": (table, part_of_song)})[""]
            means = pd.DataFrame(found).groupby(owner).mean().to_numpy()
            rows.append({"kind": kind, "stretch_s": length_s, "pieces": len(pieces), **{f"mse {dial}": ((means - truth)[:, k]**2).mean() for k, dial in enumerate(("trauma", "entropy"))},
                         **{f"rank {dial}": spearmanr(means[:, k], truth[:, k]).statistic for k, dial in enumerate(("trauma", "entropy"))}})
    return pd.DataFrame(rows).round(4)


def figures(y, found, kinds, suffix):
    "Means over kinds."
    of = lambda measure: float(np.mean([measure(found[kind]) for kind in kinds]))
    rank = lambda k: of(lambda a: spearmanr(a[:, k], y[:, k]).statistic)
    return {f"mse trauma, {suffix}": of(lambda a: ((a - y)[:, 0]**2).mean()), f"mse entropy, {suffix}": of(lambda a: ((a - y)[:, 1]**2).mean()),
            f"rank trauma, {suffix}": rank(0), f"rank entropy, {suffix}": rank(1), f"4Q, {suffix}": of(lambda a: (quadrants(a) == quadrants(y)).mean())}


def main():
    parser = make_parser(__doc__, "bench/listener/search.csv")
    parser.add_argument("--only", nargs="*", default=[""], help="Choices whose name begins so.")
    given = parser.parse_args()
    clips = load_emopia().query("split == 'train'").reset_index(drop=True)
    notes = [read_midi(path).notes for path in clips.path]
    asked = {kind: rows_of_kind(clips, notes, kind) for kind in KINDS}
    whole, y, parts = asked["performed"].table, asked["performed"].profiles, song_folds(asked["performed"])
    copy = lambda seed, without: rows_of(clips, [augmented(n, rng, without) for rng in [np.random.default_rng(seed)] for n in notes], 0).table
    copies = {name: [copy([1, k], without) for k in range(6)] for name, without in (("seen", ()), ("unseen", LIKE_SCORES))}
    asked, rows = {kind: rows.table for kind, rows in asked.items()}, []
    given.out.parent.mkdir(parents=True, exist_ok=True)
    long_music(clips, notes, whole, y, parts, copies["seen"]).to_csv(given.out.with_name("long.csv"), index=False)
    for name, (learn, n) in choices().items():
        if not any(name.startswith(only) for only in given.only): continue
        start = time.perf_counter()
        seen = answers(learn, parts, y, whole, copies["seen"][:n], asked)
        unseen = answers(learn, parts, y, whole, copies["unseen"][:n], {kind: asked[kind] for kind in SCORES}) if n else seen
        rows.append({"choice": name, **figures(y, seen, [kind for kind in KINDS if kind not in SHORT], "all"), **figures(y, seen, ["performed"], "performed"),
                     **figures(y, seen, SCORES, "scores"), **figures(y, unseen, SCORES, "scores unseen")})
        pd.DataFrame(rows).round(4).to_csv(given.out, index=False)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__": run_script(main)
