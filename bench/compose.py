"""What the settings of composing do to the music: guidance, temperature, repetition, arcs, seams, and a thousand pieces.

Profiles are those of clips of EMOPIA's validation split, ten a quadrant; every setting gets the same profiles and seeds.
What the temperature acts on (`schedule`) and the constants of sampling (`sampling`) are compared over the whole square,
by the listener, since something is chosen. They run when they are asked for, need no data, and add to the tables that are there.
Usage: PSYCHOSCORE_DATA=folder python bench/compose.py [--only guidance] [--size 10] [--out reports/bench/compose]
       python bench/compose.py --only schedule [--settings "plan, pitches" ...] [--processes 2]
"""
import json
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr, wasserstein_distance

from bench.common import make_parser, run_script, write_json
from psychoscore import decoding
from psychoscore.tokens import IS_END, IS_PITCH, IS_WAIT
from psychoscore.compose import Composer
from psychoscore.draft import Draft
from psychoscore.request import Request
from psychoscore.scores import song_interval
from psychoscore.dataset import scoring_windows
from psychoscore.tokens import NULLED
from psychoscore.decoding import Sampler
from psychoscore.dial import AXES, HEARD, Grid, compose_grid, dial_figures, hear
from psychoscore.dial import distance as distance_of
from psychoscore.emopia import PROXIES, RISES, load_emopia
from psychoscore.features import measure_notes
from psychoscore.estimators import STATISTICS as FEATURES, packaged_judge, reference as real_music
from psychoscore.features import excerpt, features_table
from psychoscore.midi import read_midi
from psychoscore.notes import end_s, midi_bytes
from psychoscore.profile import DIMENSIONS, PsychometricProfile
from psychoscore.tokens import FIRST, IS_NOTE, IS_PREDICTED, MAX_DURATION, MAX_HELD, NULL, PROFILE_FIRST, STEP_S, encode

SECONDS = 20
STATISTICS = ["density", "velocity", "velocity_sd", "mode", "consonance", "pitch", "pitch_sd", "pitch_class_entropy", "rhythm_entropy", "duration", "polyphony"]
GUIDANCE = (1, 1.5, 2, 3, 4, 5)
ARC_S, HELD_S, ARC_ENDS = 40, 12, (0.2, 0.8) # An arc stays where it begins for HELD_S, and as long where it ends
TEMPERATURES = (0.4, 0.6, 0.8, 1.0, 1.2, 1.5)


def entropy_bits(values):
    "Of the distribution of whole numbers."
    share = np.bincount(values)/len(values)
    return float(-(share[share > 0]*np.log2(share[share > 0])).sum())


def repeated(values, n):
    "Share of the n-grams that have been heard before in the piece."
    grams = np.lib.stride_tricks.sliding_window_view(values, n) if len(values) >= n else np.empty((0, n))
    return 1 - len(np.unique(grams, axis=0))/len(grams) if len(grams) else 0.0


def features(notes):
    "Simple statistics of a piece."
    steps = np.rint(notes["onset_s"]/STEP_S).astype(int)
    waits = np.diff(np.unique(steps)).clip(0, 128)
    return measure_notes(notes) | dict(
        notes=len(notes), velocity_sd=notes["velocity"].std(), pitch=notes["pitch"].mean(), pitch_sd=notes["pitch"].std(),
        pitch_class_entropy=entropy_bits(notes["pitch"] % 12), rhythm_entropy=entropy_bits(waits) if len(waits) else 0.0,
        duration=notes["duration_s"].mean(), polyphony=notes["duration_s"].sum()/end_s(notes),
        distinct_4=1 - repeated(notes["pitch"], 4), **{f"repeated_{n}": repeated(notes["pitch"], n) for n in (6, 8, 12)})


@torch.inference_mode()
def nats_per_note(model, ids):
    "Under the model as it is, profile given."
    ids, total = ids.astype(int), 0.0
    for window, start in scoring_windows(ids, model.config.max_position_embeddings):
        window = torch.tensor(np.asarray(window, dtype=int))
        losses = torch.nn.functional.cross_entropy(model(window[None, :-1]).logits[0], window[1:], reduction="none").numpy()
        total += losses[start - 1:][IS_PREDICTED[window[start:].numpy()]].sum()
    return total/(ids >= FIRST["DURATION"]).sum()


@cache
def clips(split):
    "Clips of EMOPIA's published split, their first seconds."
    table = load_emopia().query("split == @split")
    notes = [read_midi(path).notes for path in table["path"]]
    return table.reset_index(drop=True), [n[n["onset_s"] < n["onset_s"].min() + SECONDS] for n in notes]


def real(split, model=None):
    "Features of real clips, a row each."
    table, notes = clips(split)
    rows = [dict(trauma=c.trauma, entropy=c.entropy, quadrant=c.quadrant, **features(n)) for c, n in zip(table.itertuples(), notes)]
    if model is not None:
        for row, c, n in zip(rows, table.itertuples(), notes): row["nats"] = nats_per_note(model, encode(n, PsychometricProfile(c.trauma, c.entropy)).ids)
    return pd.DataFrame(rows)


def asked_profiles(a_quadrant):
    "Profiles of validation clips, one a song while songs last."
    table = clips("validation")[0].sample(frac=1, random_state=0)
    table = table.assign(turn=table.groupby(["quadrant", "song_id"]).cumcount()).sort_values("turn", kind="stable")
    return [PsychometricProfile(c.trauma, c.entropy) for c in table.groupby("quadrant").head(a_quadrant).itertuples()]


def composed(composer, profiles, label, **options):
    "Features of pieces that are composed for the profiles, a row each."
    start = time.process_time()
    pieces = composer.compose_batch([Request(p, SECONDS, seed=i, **options) for i, p in enumerate(profiles)])
    print(f"{label}: {len(pieces)} pieces, {time.process_time() - start:.0f} s of computing", flush=True)
    return pd.DataFrame([dict(setting=label, seed=p.seed, trauma=a.trauma, entropy=a.entropy, nats=nats_per_note(composer.model, p.ids), **features(p.notes)) for p, a in zip(pieces, profiles)])


def control(rows):
    "Rank correlation of what was asked for and the sum of ranks of what is measured, for each dial."
    measured = {dial: rows[list(cues)].rank().sum(axis=1)*(1 if RISES[dial] else -1) for dial, cues in PROXIES.items()}
    return {f"control_{dial}": spearmanr(rows[dial], values).statistic for dial, values in measured.items()}


def distance(rows, reference):
    "Mean over statistics of the Wasserstein distance to real clips, in their standard deviations."
    return np.mean([wasserstein_distance(rows[s], reference[s])/reference[s].std() for s in STATISTICS])


def summary(rows, reference):
    "What a setting is judged by."
    means = {name: rows[name].mean() for name in ("nats", "pitch_class_entropy", "rhythm_entropy", "distinct_4", "repeated_6", "repeated_8", "repeated_12")}
    return control(rows) | dict(distance=distance(rows, reference)) | means


def with_intervals(tables, reference, draws=200):
    "Summary of each setting with 95 % intervals over pieces, and of its difference from the first, paired by profile and seed."
    rng, out = np.random.default_rng(0), {}
    n = min(map(len, tables.values()))
    samples, first = [rng.integers(0, n, n) for _ in range(draws)], None
    for name, table in tables.items():
        value, resampled = summary(table, reference), pd.DataFrame([summary(table.iloc[s], reference) for s in samples])
        first = resampled if first is None else first
        low, high = resampled.quantile(0.025), resampled.quantile(0.975)
        dlow, dhigh = (resampled - first).quantile(0.025), (resampled - first).quantile(0.975)
        out[name] = {k: v for m in value for k, v in ((m, value[m]), (f"{m}_low", low[m]), (f"{m}_high", high[m]), (f"{m}_minus_first_low", dlow[m]), (f"{m}_minus_first_high", dhigh[m]))} | dict(pieces=len(table))
    return pd.DataFrame(out).T.rename_axis("setting")


def hide_only(dial):
    "Null map that hides one dial: guidance then acts on it alone."
    first = PROFILE_FIRST[[d.name for d in DIMENSIONS].index(dial)]
    null = np.arange(len(NULLED))
    null[first:first + NULL + 1] = first + NULL
    return null


def measure_guidance(composer, size, out):
    "Control against quality over the scale, and with one dial guided alone."
    profiles, reference = asked_profiles(size), real("validation", composer.model)
    settings = [(f"{g:g}", g, None) for g in GUIDANCE] + [(f"{dial} alone {g:g}", g, dial) for dial in ("trauma", "entropy") for g in (1.5, 3)]
    tables = {}
    for label, g, dial in settings:
        decoding.NULLED = NULLED if dial is None else hide_only(dial)
        tables[label] = composed(composer, profiles, label, guidance=g)
    decoding.NULLED = NULLED
    finish(tables, reference, out/"guidance")


def measure_temperature(composer, size, out):
    "Statistics of pitch and rhythm against temperature, the profile held still."
    still, reference = [PsychometricProfile(0.5, 0.5)]*(3*size), real("validation")
    finish({f"{t:g}": composed(composer, still, f"{t:g}", temperature=t) for t in TEMPERATURES}, reference, out/"temperature")


def tempered(logits, tokens, groups, temperature):
    "Temperature among some tokens, each group of which stays as likely as it was."
    warm = logits.copy()
    for group in np.unique(groups):
        among = tokens[groups == group]
        divided = logits[among]/temperature
        warm[among] = divided - np.logaddexp.reduce(divided) + np.logaddexp.reduce(logits[among])
    return warm


def tempered_classes(logits, tokens, temperature):
    "Temperature among pitch classes; the octaves of each stay as likely among themselves."
    classes = tokens % 12
    sums = np.array([np.logaddexp.reduce(logits[tokens[classes == c]]) if (classes == c).any() else -np.inf for c in range(12)])
    moved = tempered(sums, np.flatnonzero(sums > -np.inf), np.zeros((sums > -np.inf).sum()), temperature)
    warm = logits.copy()
    warm[tokens] += (moved - np.where(sums > -np.inf, sums, 0))[classes]
    return warm


class Trial(Draft):
    "A draft whose temperature acts on some family of tokens."
    on = ()

    def scaled(self, logits, allowed):
        temperature, self.temperature = self.temperature, 1.0
        try: scaled, last = super().scaled(logits, allowed), self.grammar.last
        finally: self.temperature = temperature
        if last in ("PITCH", "VELOCITY"): return scaled/temperature if {"PITCH": "velocities", "VELOCITY": "durations"}[last] in self.on else scaled
        pitches, moves = np.flatnonzero(allowed & IS_PITCH), np.flatnonzero(allowed & (IS_WAIT | IS_END))
        if len(moves) and "waits" in self.on: scaled = tempered(scaled, moves, np.zeros(len(moves)), temperature)
        if len(pitches):
            lowest = self.grammar.pitch < 0
            if "pitches" in self.on or ("lowest" if lowest else "upper") in self.on: scaled = tempered(scaled, pitches, np.zeros(len(pitches)), temperature)
            if "octaves" in self.on: scaled = tempered(scaled, pitches, pitches % 12, temperature)
            if "classes" in self.on: scaled = tempered_classes(scaled, pitches, temperature)
        return scaled

    @property
    def magnifies(self): return 3/min(self.temperature, 1) + 1


class Trials(Composer):
    "A composer of such drafts."
    def __init__(self, composer, on, **sampling):
        super().__init__(composer.model, composer.about | {"sampling": asdict(composer.sampling) | sampling})
        self.on, self.weights = tuple(on), composer.weights

    def draft(self, request):
        draft = Trial(request, self.manner)
        draft.on = self.on
        return draft


# Name -> what the temperature acts on, and the schedule; the first is what the others are compared to
SCHEDULED = {"calibrated, pitches": (["pitches"], "calibrated"), "constant 1": ([], "constant")} | {
    f"plan, {' and '.join(on)}": (on, "plan") for on in (
        ["pitches"], ["velocities"], ["octaves"], ["classes"], ["lowest"], ["upper"], ["durations"], ["waits"],
        ["octaves", "velocities"], ["pitches", "velocities"])}


def measure_schedule(composer, size, out, square, settings=None, processes=1):
    "What the temperature acts on, over the square."
    def heard_by(name):
        on, schedule = SCHEDULED[name]
        return hear(*compose_grid(Trials(composer, on), square, processes=processes, schedule=schedule)[:2], "listener")
    compare_over_square(list(SCHEDULED) if settings is None else settings, heard_by, next(iter(SCHEDULED)), out/"schedule")


# Haste, touch and the durations' temperature around what the packaged weights are sampled with
SAMPLED = {"as packaged": {}} | {
    f"{name} {value:g}": {name: value} for name, values in dict(
        haste=(0.0, 0.011, 0.033), touch=(0.0, 0.25, 1.0), duration_temperature=(1.0, 1.05, 1.13), guidance=(1.0, 1.5, 2.5)).items() for value in values}


def measure_sampling(composer, size, out, square, settings=None, processes=1):
    "The constants of sampling, one at a time, over the square."
    def heard_by(name):
        varied = Composer(composer.model, composer.about | {"sampling": asdict(composer.sampling) | SAMPLED[name]})
        return hear(*compose_grid(varied, square, processes=processes)[:2], "listener")
    compare_over_square(list(SAMPLED) if settings is None else settings, heard_by, next(iter(SAMPLED)), out/"sampling")


def square_figures():
    "What a setting is judged by over the square: the dial's figures, and the distances to EMOPIA's training clips."
    real = real_music()["train"]
    def far(rows, feature): return distance_of(rows[feature].to_numpy(), real[feature].to_numpy())
    figures = dial_figures() | {f"distance, {name}": lambda rows, feature=feature: far(rows, feature) for name, feature in FEATURES.items()}
    return figures | {"distance, mean": lambda rows: np.mean([far(rows, feature) for feature in FEATURES.values()])}


def compare_over_square(settings, heard_by, first, path, draws=300):
    "Compose what is asked for, keep the rows of other seeds and settings, and write the pieces and the summary, paired with the first."
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = pd.read_csv(f"{path}_pieces.csv") if Path(f"{path}_pieces.csv").exists() else None
    for name in settings:
        start = time.perf_counter()
        rows = heard_by(name)[[*AXES, "seed", *HEARD, *FEATURES.values()]].round(4)
        print(f"{name}: {len(rows)} pieces, {time.perf_counter() - start:.0f} s", flush=True)
        rows.insert(0, "setting", name)
        kept = rows if kept is None else pd.concat([kept[(kept.setting != name) | ~kept.seed.isin(rows.seed)], rows])
        kept.to_csv(f"{path}_pieces.csv", index=False)
    tables = {name: rows.set_index("seed", drop=False).sort_index() for name, rows in kept.groupby("setting", sort=False)}
    table = pd.DataFrame([line for name, rows in tables.items() for line in compared(name, rows, tables[first], draws)])
    table.round(4).to_csv(f"{path}.csv", index=False)
    print(table.pivot(index="figure", columns="setting", values="value").round(3).to_string(), flush=True)


def compared(name, rows, first, draws):
    "Each figure of a setting, and its difference from the first over the seeds that both have; 95 % intervals over pieces."
    shared = rows.index.intersection(first.index)
    assert rows.loc[shared, AXES].equals(first.loc[shared, AXES]), f"{name} and the first are not the same requests"
    rng = np.random.default_rng(0)
    samples = [rng.choice(shared, len(shared)) for _ in range(draws)]
    for figure, of in square_figures().items():
        drawn = np.array([[of(rows.loc[s]), of(first.loc[s])] for s in samples])
        low, high = np.quantile(drawn[:, 0], [0.025, 0.975])
        difference_low, difference_high = np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])
        yield dict(setting=name, figure=figure, value=of(rows.loc[shared]), low=low, high=high, difference=of(rows.loc[shared]) - of(first.loc[shared]),
                   difference_low=difference_low, difference_high=difference_high, pieces=len(shared))


def finish(tables, reference, path):
    "Write the rows and the summary."
    rows, others = pd.concat(tables.values()), clips("train")[0].groupby("quadrant").head(10).index
    table = with_intervals(tables, reference)
    table.loc["real, validation"] = pd.Series(dict(summary(reference.assign(nats=reference.get("nats", np.nan)), reference), pieces=len(reference)))
    train = real("train").loc[others].assign(nats=np.nan)
    table.loc["real, train"] = pd.Series(dict(summary(train, reference), pieces=len(train)))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.round(4).to_csv(f"{path}_pieces.csv", index=False)
    table.round(4).to_csv(f"{path}.csv")
    print(table[[c for c in table if not c.endswith(("low", "high"))]].round(3).to_string(), flush=True)


def composed_long(composer, seconds, n):
    "Long pieces, and for each the times at which the window was slid, s."
    drafts = [composer.draft(Request(p, seconds, seed=i)) for i, p in enumerate(asked_profiles(-(-n//4))[:n])]
    sampler, slid = Sampler(composer.weights), [[] for _ in drafts]
    sampler.add(drafts)
    seen = [len(d.view) for d in drafts]
    while sampler.rows:
        sampler.step()
        for i, d in enumerate(drafts):
            if len(d.view) < seen[i]: slid[i].append((len(d.starts) - 1)*4 + d.grammar.position*STEP_S)
            seen[i] = len(d.view)
    return [d.piece() for d in drafts], slid


def change(notes, at_s, span_s=8):
    "How much the music changes at a moment, between the seconds before and after."
    before, after = (notes[(notes["onset_s"] >= a) & (notes["onset_s"] < a + span_s)] for a in (at_s - span_s, at_s))
    if not (len(before) and len(after)): return None
    classes = [np.bincount(part["pitch"] % 12, part["duration_s"], 12)/part["duration_s"].sum() for part in (before, after)]
    return dict(density=abs(np.log(len(after)/len(before))), velocity=abs(float(after["velocity"].mean()) - float(before["velocity"].mean())),
                pitch=abs(float(after["pitch"].mean()) - float(before["pitch"].mean())), pitch_classes=np.abs(classes[0] - classes[1]).sum()/2)


def heard_move(start_pieces, end_pieces, dial):
    "By how much the judge hears a dial move from the first HELD_S seconds of some pieces to the last of others, a row each; NaN where too little is played."
    heard = []
    for pieces, start_s in ((start_pieces, 0), (end_pieces, ARC_S - HELD_S)):
        parts = [excerpt(p.notes, start_s, HELD_S) for p in pieces]
        values = np.full(len(parts), np.nan)
        enough = np.array([len(part) > 10 for part in parts])
        values[enough] = packaged_judge()(features_table([part for part in parts if len(part) > 10]))[:, dial]
        heard.append(values)
    return heard[1] - heard[0]


def measure_arcs(composer, size, out):
    "Each dial led up and down through a piece, against pieces that never were elsewhere: does the music go all the way?"
    levels = {(d.name, v): PsychometricProfile(**{other.name: 0.5 for other in DIMENSIONS} | {d.name: v}) for d in DIMENSIONS for v in ARC_ENDS}
    def composed_for(profile): return composer.compose_batch([Request(profile, ARC_S, seed=i) for i in range(2*size)])
    steady, rows = {level: composed_for(p) for level, p in levels.items()}, {}
    for number, d in enumerate(DIMENSIONS):
        for a, b in (ARC_ENDS, ARC_ENDS[::-1]):
            arc = composed_for([(HELD_S, levels[d.name, a]), (ARC_S - HELD_S, levels[d.name, b])])
            row = dict(pieces=2*size)
            for name, moves in (("arc", heard_move(arc, arc, number)), ("steady", heard_move(steady[d.name, a], steady[d.name, b], number))):
                moves = moves[~np.isnan(moves)]
                value, low, high = song_interval(lambda r, moves=moves: moves[r].mean(), np.arange(len(moves)))
                row |= {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_heard": len(moves)}
            rows[f"{d.name} from {a:g} to {b:g}"] = row
    table = pd.DataFrame(rows).T.rename_axis("dial")
    out.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(out/"arcs.csv")
    print(table.round(3).to_string(), flush=True)


def measure_seams(composer, size, out, seconds=180):
    "Change at the moments where the window slides, against change elsewhere; and repetition in long pieces."
    pieces, slid = composed_long(composer, seconds, size)
    at, elsewhere = [], []
    for piece, times in zip(pieces, slid):
        at += [c for t in times if (c := change(piece.notes, t))]
        elsewhere += [c for t in np.arange(8, seconds - 8, 4) if all(abs(t - s) > 8 for s in times) and (c := change(piece.notes, t))]
    at, elsewhere = pd.DataFrame(at), pd.DataFrame(elsewhere)
    rng = np.random.default_rng(0)
    resampled = pd.DataFrame([at.sample(frac=1, replace=True, random_state=rng).mean() - elsewhere.sample(frac=1, replace=True, random_state=rng).mean() for _ in range(1000)])
    table = pd.DataFrame(dict(at_seams=at.mean(), elsewhere=elsewhere.mean(), difference_low=resampled.quantile(0.025), difference_high=resampled.quantile(0.975), seams=len(at), moments=len(elsewhere)))
    errors = {s: [abs(end_s(p.notes) - s) for p in composer.compose_batch([Request(PsychometricProfile(0.4, 0.6), s, seed=i) for i in range(8)])] for s in (10, 30, 60)} | {seconds: [abs(end_s(p.notes) - seconds) for p in pieces]}
    early, late = ([repeated(p.notes["pitch"][(p.notes["onset_s"] >= a) & (p.notes["onset_s"] < a + SECONDS)], 8) for p in pieces] for a in (0, seconds - 2*SECONDS))
    report = dict(pieces=len(pieces), seconds=seconds, seams=table.round(4).to_dict("index"), length_error_s={s: max(e) for s, e in errors.items()}, pieces_per_length={s: len(e) for s, e in errors.items()},
                  repeated_8=dict(early=np.mean(early), late=np.mean(late), real=real("validation")["repeated_8"].mean()))
    write(out/"seams.json", report)


def measure_pieces(composer, size, out):
    "Many short pieces over the square: is each valid, sounding, released and as long as asked?"
    rng, n = np.random.default_rng(0), 100*size
    asked = [Request(PsychometricProfile(*rng.random(2)), float(rng.choice([4, 6.5, 8, 12])), seed=i) for i in range(n)]
    start = time.process_time()
    pieces = [p for i in range(0, n, 100) for p in composer.compose_batch(asked[i:i + 100])]
    faults, rests, silent_notes_s = dict(invalid=0, silent=0, stuck=0, wrong_length=0), [], []
    for piece, request in zip(pieces, asked):
        back = read_midi(midi_bytes(piece.notes)).notes
        sounding = np.zeros(round(request.seconds/STEP_S) + 1, bool)
        for n_on, n_long in zip(back["onset_s"], back["duration_s"]): sounding[round(n_on/STEP_S):round((n_on + n_long)/STEP_S)] = True
        faults["invalid"] += len(back) != len(piece.notes) or piece.ids[-1] != decoding.EOS
        if sounding[:-1].mean() < 0.5: faults["silent"] += 1; silent_notes_s.append(float(np.median(back["duration_s"])))
        rests.append(max((back["onset_s"][1:] - np.maximum.accumulate(back["onset_s"] + back["duration_s"])[:-1]).max(initial=0), 0))
        faults["stuck"] += bool((back["duration_s"] > (MAX_DURATION + MAX_HELD + 1)*STEP_S).any())
        faults["wrong_length"] += abs(end_s(back) - request.seconds) > STEP_S
    notes = np.array([IS_NOTE[p.ids].sum() for p in pieces])
    write(out/"pieces.json", dict(pieces=n, **{k: int(v) for k, v in faults.items()}, tokens=int(sum(len(p.ids) for p in pieces)), fewest_note_tokens=int(notes.min()),
                                  longest_held_s=max(p.held_s for p in pieces), longest_rest_s=float(max(rests)), over_2_s_of_rest=int((np.array(rests) > 2).sum()), silent_median_note_s=silent_notes_s, least_notes=min(len(p.notes) for p in pieces), computing_s=round(time.process_time() - start)))


def write(path, report):
    "Write and show a report."
    write_json(report, path, default=float)
    print(json.dumps(report, indent=1, default=float), flush=True)


MEASURES = dict(guidance=measure_guidance, temperature=measure_temperature, schedule=measure_schedule, sampling=measure_sampling, arcs=measure_arcs, seams=measure_seams, pieces=measure_pieces)

SEARCHES = ("schedule", "sampling") # Asked for by name: a setting takes minutes, and each has a dozen


def main():
    parser = make_parser(__doc__, "bench/compose")
    parser.add_argument("--only", nargs="*", choices=MEASURES, default=[name for name in MEASURES if name not in SEARCHES], help="all but schedule and sampling by default")
    parser.add_argument("--size", type=int, default=10, help="pieces a quadrant")
    parser.add_argument("--settings", nargs="*", choices=[*SCHEDULED, *SAMPLED], help="of schedule or sampling; all by default, and without any the tables are made again")
    parser.add_argument("--processes", type=int, default=1, help="of schedule and sampling")
    parser.add_argument("--repeats", type=int, default=8, help="pieces at each of 25 points, of schedule and sampling")
    parser.add_argument("--seed", type=int, default=10_000, help="of the first piece of schedule and sampling; the report's have 0 to 199")
    parser.add_argument("--model", help="checkpoint folder; the packaged model by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    composer = Composer.from_pretrained(args.model)
    for name in args.only:
        more = dict(square=Grid(5, args.repeats, SECONDS, args.seed), settings=args.settings, processes=args.processes) if name in SEARCHES else {}
        MEASURES[name](composer, args.size, args.out, **more)


if __name__ == "__main__": run_script(main)
