"""Whether material can be made to return, and a bass to stay, without training: by plan, by choice, by notes that are kept.

Every arm composes the square (five by five points, half a minute each) with seeds of the development protocol. A plan that
returns has the form A A B A: a section is two segments, and a segment that returns is asked for the words of the segment it
returns to. Beside that, candidates are chosen by how like this segment they are (chroma in half seconds and onsets in
eighths, half each), or its notes are made likelier, as those of a piece are that is varied. In arms with a bass, candidates
are chosen by how long a note below C3 sounds, wanted as long as in EMOPIA's training clips at these dials.
Measured are form, how the dials are heard by both judges, and what may suffer. `return` compares chroma, by which candidates
are chosen, too; `tune` does not, for it compares moves of the top line. The real clips are the last half minutes of EMOPIA's
validation split, read from tokens as pieces are. Pieces are written to a second table (form_pieces.csv) as an arm ends, and
arms that it has of the same model are not composed again. The first has a row an arm and figure: value, gain over pieces as
they come (paired by seed), and 95 % intervals of both, over pieces, or songs of real clips.
Usage: PSYCHOSCORE_DATA=folder python bench/form.py [--model FOLDER] [--only ARM ...] [--repeats 2] [--processes 1] [--out reports/bench/form.csv]
"""
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from bench.common import data_folders, make_parser, run_script
from psychoscore.candidates import mismatch
from psychoscore.compose import Composer, model_digest
from psychoscore.dial import AXES, Grid, compose_grid, distance
from psychoscore.draft import Draft, Material, likelier
from psychoscore.emopia import load_emopia
from psychoscore.estimators import STATISTICS, reference
from psychoscore.features import attacks, features_table
from psychoscore.form import AWAY_S, BASS, FORM, likeness_of_moments, measure_form
from psychoscore.judges import judges
from psychoscore.measure import hear_all, last_seconds
from psychoscore.midi import read_midi
from psychoscore.notes import make_notes
from psychoscore.novelty import GramIndex, pitches_of
from psychoscore.planner import NOT_KNOWN
from psychoscore.protocol import DEVELOPMENT_SEED
from psychoscore.scores import song_bootstrap
from psychoscore.tokens import (FIRST, HEADER_LENGTH, PLAN, PLAN_FIRST, SEGMENT_S, SEGMENT_STEPS, STEP_S, VELOCITIES, decode, encode,
                                quantise, written_notes)
from psychoscore.variety import measure_variety

SECONDS, SECTION, LETTERS, RUN = 30, 2, "AABA", 4 # Of a piece, s; segments of a section; sections; moves of a tune
DEFAULT, REAL = "as it comes", "real clips"
# Arm -> whether the plan returns, nats for notes that do, weights beside plan and dials where candidates are compared
ARMS = {
    DEFAULT: {}, "plan returns": dict(returns=True),
    **{f"plan returns, likeness {weight:g}": dict(returns=True, by_likeness=weight) for weight in (0.5, 1)},
    "plan returns, likeness and contrast 1": dict(returns=True, by_likeness=1, by_contrast=1),
    **{f"plan returns, notes by {nats:g} nats": dict(returns=True, nats=nats) for nats in (3, 6)},
    "plan returns, notes by 6 nats, contrast 1": dict(returns=True, nats=6, by_contrast=1),
    "bass 1": dict(by_bass=1)}
MEANS = {**FORM, "best moment": "how near it is, a part of return", "mean moment": "which return takes from it",
         "tune": "share of runs of four moves of the top line that were there 4 s before or more",
         "known": "share of runs of ten intervals that EMOPIA's training clips have"}


def letter_of(number): return LETTERS[number//SECTION % len(LETTERS)]


def source_of(number):
    "The segment that a segment returns to, in the last section of its letter; None where there is none."
    same = [n for n in range(number % SECTION, number, SECTION) if letter_of(n) == letter_of(number)]
    return same[-1] if same else None


def others_of(number):
    "Segments before a section whose letter is another."
    return [n for n in range(number - number % SECTION) if letter_of(n) != letter_of(number)]


def written(draft, first, last=None):
    "Notes of segments from the start of the first, steps: onset, duration, pitch as written, level (N, 4)."
    return written_notes(draft.ids[draft.starts[first]:[*draft.starts[1:], len(draft.ids)][first if last is None else last]])


def rest_before(draft, number): return draft.rest if number == 0 else 0


class Returning(Draft):
    "A draft whose plan returns, and with it notes, which are made likelier."
    shared = (*Draft.shared, "kept")

    def __init__(self, request, manner, nats):
        self.nats = nats
        super().__init__(request, manner)

    def _planned(self, number, given):
        if (source := source_of(number)) is None: return super()._planned(number, given)
        asked = np.array(self.ids[self.starts[source] + HEADER_LENGTH:][:len(PLAN)]) - PLAN_FIRST
        return np.where(given == NOT_KNOWN, asked, given)

    def begin_segment(self, opening):
        super().begin_segment(opening)
        self.kept, source = None, source_of(len(self.starts) - 1)
        if not self.nats or source is None or not len(notes := written(self, source)): return
        onset, duration, pitch, level = notes.T
        sounding = make_notes(onset*STEP_S, duration*STEP_S, pitch - self.shift, VELOCITIES[level])
        self.kept = Material(sounding, self.request.tonic, onset[0], self.shift)
        self.kept.at = {step: forms[:, :1] for step, forms in self.kept.at.items()} # without the other mode's
        self.kept_from = rest_before(self, source)

    def scaled(self, logits, allowed):
        scaled, now = super().scaled(logits, allowed), self.grammar.position
        if self.words or self.kept is None or now < self.kept_from or self.grammar.last in ("PITCH", "VELOCITY"): return scaled
        return likelier(scaled, self.kept.tokens(now, FIRST["PITCH"] + self.grammar.pitch), self.nats)


def outlines(notes, start):
    "What segments are compared by, from a step on: how long pitch classes sound in half seconds, and onsets in eighths."
    sounds, begins = np.zeros((SEGMENT_STEPS, 12)), np.bincount(notes[:, 0], minlength=SEGMENT_STEPS)
    for onset, duration, pitch, _ in notes: sounds[onset:onset + duration, pitch % 12] = 1
    return sounds[start:].reshape(-1, 16, 12).sum(1).ravel(), begins[start:].reshape(-1, 4).sum(1)


def likeness(draft, number, source):
    "The mean of two cosines, from 0 to 1."
    start = rest_before(draft, source)
    pairs = zip(outlines(written(draft, number), start), outlines(written(draft, source), start))
    return np.mean([a @ b/max(np.linalg.norm(a)*np.linalg.norm(b), 1e-9) for a, b in pairs])


def deep_share(onset, duration, pitch, start, end):
    "For how much of the steps from start to end a note below C3 sounds."
    steps, deep = np.arange(start, end)[:, None], pitch < BASS
    return ((onset[deep] <= steps) & (steps < (onset + duration)[deep])).any(1).mean()


def of_dials(dials): return np.stack([np.ones(len(dials)), *dials.T, dials.prod(1)], 1) # (N, 2) -> (N, 4)


class Arm(Composer):
    "A composer whose plans return, or that chooses by more than plan and dials."
    def __init__(self, whole, deep, returns=False, nats=0, by_likeness=0, by_contrast=0, by_bass=0):
        super().__init__(whole.llama, whole.about, whole.folder, whole.manner.planner)
        self.deep, self.returns, self.nats = deep, returns, nats
        self.by_likeness, self.by_contrast, self.by_bass = by_likeness, by_contrast, by_bass

    def draft(self, request):
        return Returning(request, self.manner, self.nats) if self.returns else super().draft(request)

    def compose_batch(self, requests, progress=False):
        with patch("psychoscore.candidates.mismatch", self.mismatch): return super().compose_batch(requests, progress)

    def mismatch(self, draft, number):
        off, source, others = mismatch(draft, number), source_of(number), others_of(number)
        if self.by_likeness and source is not None: off += self.by_likeness*(1 - likeness(draft, number, source))
        if self.by_contrast and others: off += self.by_contrast*np.mean([likeness(draft, number, other) for other in others])
        return off + self.by_bass*self.off_bass(draft, number) if self.by_bass else off

    def off_bass(self, draft, number):
        first = max(number - 1, 0) # what it leaves sounding counts
        (onset, duration, pitch, _), start = written(draft, first, number).T, (number - first)*SEGMENT_STEPS
        played = deep_share(onset, duration, pitch - draft.shift, start + rest_before(draft, number), start + SEGMENT_STEPS)
        dials = draft.request.profile.at(number*SEGMENT_S).vector()[None, :len(AXES)]
        return abs(played - (of_dials(dials) @ self.deep).clip(0, 1).item())


def tune(notes):
    "Of the runs of moves of the top line, the share that were there before; NaN for a piece that is too short."
    first, _ = attacks(notes)
    moves, onset, began = np.diff(np.maximum.reduceat(notes["pitch"].astype(int), first)), notes["onset_s"][first], {}
    if len(moves) < RUN: return np.nan
    runs = [*zip(map(tuple, np.lib.stride_tricks.sliding_window_view(moves, RUN)), onset)]
    for run, at in runs: began.setdefault(run, at)
    again = [began[run] <= at - AWAY_S[0] for run, at in runs if at >= onset[0] + AWAY_S[0]]
    return np.mean(again) if again else np.nan


def rows_of(notes, ids, index):
    "What is measured of pieces and clips alike, a row each."
    features = features_table(notes)[[*STATISTICS.values()]]
    more = pd.DataFrame([(*likeness_of_moments(one), tune(one), index.find(pitches_of(code)).share) for one, code in zip(notes, ids)],
                        columns=[name for name in MEANS if name not in FORM])
    return pd.concat([measure_form(notes), more, features], axis=1)


def read_clips():
    "EMOPIA's training clips, their last half minutes and validation's: tokens of the first, notes, songs and labels of the others."
    clips = load_emopia().query("split in ('train', 'validation')").reset_index(drop=True)
    encoded = [encode(read_midi(path).notes) for path in clips.path]
    last = pd.Series([last_seconds(decode(one.ids, one.key), SECONDS) for one in encoded])
    is_train = (clips.split == "train").to_numpy()
    index = GramIndex({name: pitches_of(one.ids) for name, one, mine in zip(clips.clip_id, encoded, is_train) if mine})
    long = last.notna().to_numpy()
    return index, *((last[long & part].tolist(), clips[long & part]) for part in (is_train, ~is_train))


def bass_by_dials(notes, clips):
    "Least squares of the share of the time with a bass, on the dials and their product, (4,)."
    shares = [deep_share(*quantise(one)[:3], 0, int(SECONDS/STEP_S)) for one in notes]
    return np.linalg.lstsq(of_dials(clips[AXES].to_numpy(float)), np.array(shares), rcond=None)[0]


def figures_of(arm, ears):
    "Figure -> statistic of pieces, from their columns."
    real = reference()["train"]
    found = {name: lambda of, name=name: np.nanmean(of[name]) for name in MEANS}
    found["distance"] = lambda of: np.mean([distance(of[column], real[column].to_numpy()) for column in STATISTICS.values()])
    if arm == REAL: return found
    return found | {f"{axis}, {ear}": lambda of, axis=axis, ear=ear: spearmanr(of[axis], of[f"{axis}, {ear}"]).statistic
                    for axis in AXES for ear in ears}


def summarise(pieces, ears):
    "A row an arm and figure: value, gain over the default, and intervals."
    rows, draws = [], {}
    for arm, own in pieces.groupby("arm", sort=False):
        columns = {name: column.to_numpy() for name, column in own.items()}
        for name, figure in figures_of(arm, ears).items():
            def statistic(r, figure=figure, columns=columns): return figure({of: values[r] for of, values in columns.items()})
            draws[arm, name] = np.append(*song_bootstrap(statistic, columns["song"])) # of the same pieces in every arm
            gain = draws[arm, name] - draws[DEFAULT, name] if arm not in (DEFAULT, REAL) else np.full(2, np.nan)
            rows.append({"arm": arm, "figure": name, **{f"{what}{end}": x for what, values in (("value", draws[arm, name]), ("gain", gain))
                         for end, x in zip(("", ", low", ", high"), (values[0], *np.quantile(values[1:], (0.025, 0.975))))}, "n": len(own)})
        if arm == REAL: continue
        ratio = measure_variety(own.rename(columns={f"{axis}, features": f"heard_{axis}" for axis in AXES})).loc["ratio"]
        rows.append({"arm": arm, "figure": "variety", "value": ratio.value, "value, low": ratio.low, "value, high": ratio.high, "n": len(own)})
    return pd.DataFrame(rows).round(3)


def main():
    parser = make_parser(__doc__, "bench/form.csv")
    parser.add_argument("--model", help="folder of a model; the packaged one by default")
    parser.add_argument("--only", nargs="*", choices=ARMS, default=list(ARMS), help="and what they are compared with")
    parser.add_argument("--repeats", type=int, default=2, help="pieces at each of 25 points")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    data_folders(parser, "emopia")
    whole, ears, kept = Composer.from_pretrained(args.model), judges(), args.out.with_stem(f"{args.out.stem}_pieces")
    digest, (index, (notes, clips), (real, held_out)) = model_digest(whole)[:12], read_clips()
    deep = bass_by_dials(notes, clips)
    pieces = pd.read_csv(kept, dtype={"song": str}) if kept.exists() else pd.DataFrame(columns=["arm", "model"])
    pieces = pieces[pieces.model == digest]
    def add(arm, table):
        nonlocal pieces
        pieces = pd.concat([pieces, table.assign(arm=arm, model=digest).round(4)], ignore_index=True)
        order = {name: number for number, name in enumerate([REAL, *ARMS])}
        pieces = pieces.sort_values("arm", key=lambda column: column.map(order), kind="stable", ignore_index=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        pieces.to_csv(kept, index=False)
    if REAL not in set(pieces.arm): add(REAL, rows_of(real, [encode(one).ids for one in real], index).assign(song=held_out.song_id.to_numpy()))
    for name in (DEFAULT, *args.only):
        if name in set(pieces.arm): continue
        asked, made, _ = compose_grid(Arm(whole, deep, **ARMS[name]), Grid(5, args.repeats, SECONDS, DEVELOPMENT_SEED), processes=args.processes)
        heard = {f"{axis}, {ear}": table[f"heard_{axis}"] for ear, table in hear_all(asked, made, ears).items() for axis in AXES}
        rows = rows_of([piece.notes for piece in made], [piece.ids for piece in made], index)
        add(name, asked.assign(song=[*map(str, asked.seed)], **heard).join(rows))
        table = summarise(pieces, ears)
        table.to_csv(args.out, index=False)
        print(table[table.arm == name].to_string(), flush=True)


if __name__ == "__main__": run_script(main)
