"""How fast to learn from little music of one's own: the packaged model on 30 and on 300 clips, at several learning rates.

Clips are about 30 s long, and songs are whole works. A tenth of those given validates and chooses the best step, as for a
user; other songs, the same for all runs, are the test. Every run that ends adds a row to finetune.csv and its curve to
finetune_curves.csv. Rows that are there are not made again, so a bench that was killed goes on.

asap    performances in PSYCHOSCORE_DATA/asap, labelled by the listener: the rates are chosen here, with the first seed
emopia  clips of EMOPIA's validation and test splits, which the packaged model was not trained on, with their own labels, as
        somebody's own: a check (there are fewer than 300 of them: all that are not in the test)

Usage: PSYCHOSCORE_DATA=folder python bench/finetune.py [--data asap] [--rates B] [--clips 30] [--seeds 3] [--out reports/bench]
"""
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

import psychoscore.train
from bench.common import data_folders, make_parser, run_script
from psychoscore.dataset import SPLITS, SourcePiece, check_playable, deal_songs, emopia_pieces, join_versions, prepare
from psychoscore.evaluate import estimate_profile
from psychoscore.midi import read_midi
from psychoscore.notes import end_s
from psychoscore.profile import PsychometricProfile
from psychoscore.train import evaluate, fit, is_over, nats_per_note
from psychoscore.train_config import load_config, load_start

RATES = {"A": (1e-4, 3e-5), "B": (3e-4, 1e-4), "C": (1e-3, 3e-4)} # Of Muon and AdamW
CLIP_S, TEST_SONGS = 30.0, 40
CHOSEN = "B" # The other rates are tried with the first seed alone
SHARES = 0.0, 0.25 # Of EMOPIA in training, with --rehearsal
CUT_SHORT = "stopped in the middle of a run, which is begun anew the next time"


def cut(notes: np.ndarray, start: float) -> np.ndarray:
    "The clip that begins there."
    clip = notes[(notes["onset_s"] >= start) & (notes["onset_s"] < start + CLIP_S)].copy()
    clip["onset_s"] -= clip["onset_s"].min()
    clip["duration_s"] = np.minimum(clip["duration_s"], CLIP_S - clip["onset_s"])
    return clip


def heard(clip: np.ndarray) -> PsychometricProfile:
    "What the listener hears, as a label."
    return PsychometricProfile(**{name: estimate.value for name, estimate in estimate_profile(clip)._asdict().items()})


def asap_clips(root: Path) -> list[SourcePiece]:
    "Two clips of a performance of each work, from its beginning and from its middle."
    def work(path): return re.sub(r"(_no(_first|_\d)?)?_repeat$", "", str(path.parent.relative_to(root)))
    works = {work(path): path for path in sorted(root.rglob("*.mid"), reverse=True)}
    clips = []
    for name, path in sorted(works.items()):
        notes = read_midi(path).notes
        for number, start in enumerate((0.0, end_s(notes)/2)):
            if start + CLIP_S > end_s(notes): continue
            clip = check_playable(cut(notes, start))
            clips.append(SourcePiece(f"{name}-{number}", name, "own", "", "unknown", clip, heard(clip)))
    return clips


def emopia_clips() -> list[SourcePiece]:
    "What the packaged model was not trained on, as somebody's own."
    from psychoscore.emopia import load_emopia
    with warnings.catch_warnings(action="ignore"): pieces = list(emopia_pieces(load_emopia()))
    return [p._replace(source="own", song_id=f"own-{p.song_id}") for p in pieces if p.split != "train"]


def choose(clips: list[SourcePiece], n: int, seed: int) -> list[SourcePiece]: # With their splits
    "Clips of songs in an order of their own, and the songs that test; these are the same for all n and seeds."
    songs = sorted({clip.song_id for clip in clips})
    songs = [songs[i] for i in np.random.default_rng(0).permutation(len(songs))]
    test, rest = set(songs[:TEST_SONGS]), songs[TEST_SONGS:]
    place = {song: i for i, song in enumerate(np.random.default_rng([1, seed]).permutation(rest))}
    def order(clip): return clip.piece_id[-1] if n <= len(rest) else "", place[clip.song_id] # few clips, many songs
    given = sorted((clip for clip in clips if clip.song_id in place), key=order)[:n]
    dealt = [clip for clip in deal_songs(given) if clip.split != "test"]
    first = {clip.song_id: clip._replace(split="test") for clip in reversed(clips) if clip.song_id in test}
    return dealt + list(first.values())


def gain(before: pd.DataFrame, after: pd.DataFrame) -> dict: # Both from `evaluate`
    "What changed, song by song."
    low_high = nats_per_note(after.assign(note_nats=after.note_nats - before.note_nats))
    return dict(zip(("test_gain", "test_low", "test_high"), low_high, strict=True))


def fine_tune(clips: list[SourcePiece], name: dict, changes: dict) -> tuple[dict, pd.DataFrame]: # The row, and its curve
    "Fine-tune once."
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(choose(clips, name["clips"], name["seed"]), f"{folder}/data", copies=24)
        muon_lr, adamw_lr = RATES[name["rates"]]
        config = load_config(init="packaged", seed=name["seed"], muon_lr=muon_lr, adamw_lr=adamw_lr, **changes)
        log = fit(data, f"{folder}/run", config, cpu=True, progress=False)
        if not is_over(f"{folder}/run"): raise SystemExit(CUT_SHORT)
        start, best = (evaluate(load_start(init)[0], data, "test") for init in ("packaged", f"{folder}/run"))
        curve = log.dropna(subset="val_nats_per_note")[["step", "tokens", "seconds", "val_nats_per_note"]]
        by_split = data.pieces.query("copy == 0").groupby("split")
        counts = by_split.agg(clips=("piece_id", "size"), songs=("song_id", "nunique"))
        row = name | {f"{split}_{what}": int(counts.loc[split, what]) for split in SPLITS for what in counts}
        nats = curve.val_nats_per_note
        row |= dict(steps=int(log.step.max()), best_step=int(curve.step[nats.idxmin()]), seconds=log.seconds.max())
        row |= dict(val_start=nats.iloc[0], val_best=nats.min(), val_last=nats.iloc[-1])
        row |= dict(test_start=nats_per_note(start)[0], test_best=nats_per_note(best)[0]) | gain(start, best)
    return row, curve.assign(**name)


def rehearse(clips: list[SourcePiece], name: dict, changes: dict) -> dict: # The row
    "Fine-tune on 30 clips with EMOPIA in the folder, and see what becomes of EMOPIA's validation clips."
    from psychoscore.emopia import load_emopia
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        data = prepare([*choose(clips, 30, name["seed"]), *emopia_pieces(load_emopia())], f"{folder}/data", copies=4)
        muon_lr, adamw_lr = RATES[CHOSEN]
        config = load_config(init="packaged", seed=name["seed"], muon_lr=muon_lr, adamw_lr=adamw_lr, **changes)
        config = replace(config, mix=replace(config.mix, rehearsal=name["rehearsal"]))
        log = fit(data, f"{folder}/run", config, cpu=True, progress=False)
        if not is_over(f"{folder}/run"): raise SystemExit(CUT_SHORT)
        row = name | dict(steps=int(log.step.max()), best_step=int(log.step[log.val_nats_per_note.idxmin()]))
        row["seconds"] = log.seconds.max()
        models = [load_start(init)[0] for init in ("packaged", f"{folder}/run")]
        row |= gain(*(evaluate(model, data, "test", "own") for model in models))
        emopia = gain(*(evaluate(model, data, "validation", "emopia") for model in models))
        return row | {f"emopia{name.removeprefix('test')}": value for name, value in emopia.items()}


def arms(sources: list[str], seeds: int, sizes: list[int], rates: "list[str]|None") -> Iterator[dict]: # What names a row
    "What is run; without rates, all where they are chosen, then the chosen one."
    for source, seed, n, name in product(sources, range(seeds), sizes, rates or RATES):
        if rates or name == CHOSEN or (source == "asap" and seed == 0): yield dict(data=source, clips=n, rates=name, seed=seed)


def is_done(path: Path, name: dict) -> bool: # What names a row
    "Whether a table holds that row."
    return path.exists() and bool((pd.read_csv(path)[list(name)] == pd.Series(name)).all(axis=1).any())


def append(path: Path, rows: pd.DataFrame):
    rows.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.5g")


def main():
    parser = make_parser(__doc__, "bench")
    parser.add_argument("--data", nargs="+", choices=("asap", "emopia"), default=["asap", "emopia"])
    parser.add_argument("--rates", nargs="+", choices=RATES, help="each with all seeds; by default those of the report")
    parser.add_argument("--clips", nargs="+", type=int, default=[30, 300])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--rehearsal", action="store_true", help="compare, instead, training with a share of EMOPIA and without")
    args = parser.parse_args()
    asap, = data_folders(parser, "asap")
    psychoscore.train.N_WATCHED = 2 # What is only watched takes time
    clips, table, changes = {}, args.out/"finetune.csv", {} if args.max_steps is None else dict(max_steps=args.max_steps)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.rehearsal:
        own, table = asap_clips(asap), args.out/"finetune_rehearsal.csv"
        for seed, share in product(range(args.seeds), SHARES):
            name = dict(rehearsal=share, seed=seed)
            if not is_done(table, name): append(table, pd.DataFrame([rehearse(own, name, changes)]))
        return
    for name in arms(args.data, args.seeds, args.clips, args.rates):
        if is_done(table, name): continue
        if (source := name["data"]) not in clips: clips[source] = join_versions(asap_clips(asap) if source == "asap" else emopia_clips())
        row, curve = fine_tune(clips[source], name, changes)
        append(args.out/"finetune_curves.csv", curve); append(table, pd.DataFrame([row]))
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__": run_script(main)
