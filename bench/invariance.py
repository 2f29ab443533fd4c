"""How far an estimate moves when the music stays the same: microseconds, silence, re-saves, ticks.

A file counts with the dial that moves more. A re-save that holds other notes is named, and is not counted: it is other
music. Rows of other folders stay in the CSV file. By default the ten examples, vgmidi_half/midi in PSYCHOSCORE_DATA and
EMOPIA are read.
Usage: PSYCHOSCORE_DATA=folder python bench/invariance.py [FOLDER ...] [--emopia] [--out reports/bench/invariance.csv]
"""
import io
import warnings
from pathlib import Path

import mido
import numpy as np
import pandas as pd
import pretty_midi
import symusic
from joblib import Parallel, delayed

from bench.common import REPORTS, data_folders, make_parser, run_script
from psychoscore.emopia import find_emopia
from psychoscore.evaluate import estimate_profile
from psychoscore.features import features
from psychoscore.midi import find_midi, read_midi
from psychoscore.profile import CIRCUMPLEX

SMALL, LARGE = 0.005, 0.02 # Of a dial: 95 % must move by less than the first, all by less than the second
TICKS = (96, 384, 960, 15360)
SEEDS = (0, 1, 2)


def jittered(notes, seed, size_s=1e-6):
    "The notes with every beginning and length up to a microsecond off."
    rng, moved = np.random.default_rng(seed), notes.copy()
    for name in ("onset_s", "duration_s"): moved[name] += rng.uniform(-size_s, size_s, len(notes))
    moved["duration_s"] = np.maximum(moved["duration_s"], 0)
    return moved


def later(notes, seconds=0.37):
    "The notes behind some silence."
    moved = notes.copy()
    moved["onset_s"] += seconds
    return moved


def saved_by_pretty_midi(data):
    "The file as pretty_midi writes it."
    saved = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore") # of tempo events on other tracks
        pretty_midi.PrettyMIDI(io.BytesIO(data)).write(saved)
    return saved.getvalue()


def saved_by_mido(data):
    "The file as mido writes it."
    saved = io.BytesIO()
    mido.MidiFile(file=io.BytesIO(data)).save(file=saved)
    return saved.getvalue()


def saved_by_symusic(data):
    "The file as symusic writes it."
    mido.MidiFile(file=io.BytesIO(data)) # symusic ends the process on some of what mido refuses
    return symusic.Score.from_midi(data).dumps_midi()


def with_ticks(data, ticks):
    "The notes rounded to another number of ticks a beat, at 120 beats a minute."
    notes, per_s = read_midi(data).notes, 2*ticks
    score, track = symusic.Score(ticks), symusic.Track("piano", 0, False)
    start, stop = (np.rint(t*per_s).astype("i4") for t in (notes["onset_s"], notes["onset_s"] + notes["duration_s"]))
    track.notes = symusic.Note.from_numpy(start, np.maximum(stop - start, 1), notes["pitch"].astype("i1"), notes["velocity"].astype("i1"))
    score.tracks.append(track)
    score.tempos.append(symusic.Tempo(0, 120))
    return score.dumps_midi()


CHANGES = { # Name -> the bytes of a file to what `features` takes
    **{f"jitter of 1 us, seed {seed}": lambda data, seed=seed: jittered(read_midi(data).notes, seed) for seed in SEEDS},
    "0.37 s of silence in front": lambda data: later(read_midi(data).notes),
    "re-saved by pretty_midi": saved_by_pretty_midi, "re-saved by mido": saved_by_mido, "re-saved by symusic": saved_by_symusic,
    **{f"{ticks} ticks a beat": lambda data, ticks=ticks: with_ticks(data, ticks) for ticks in TICKS}}


def heard(music):
    "Features, and the estimated profile as `heard_...`, without what the reader has to say."
    notes = music if isinstance(music, np.ndarray) else read_midi(music).notes
    return features(notes) | {f"heard_{name}": dial.value for name, dial in estimate_profile(notes)._asdict().items()}


def holds(data, notes, within_s=0.005):
    "Whether a re-saved file has the notes that it had; where ends are missing or pedals are moved, other libraries write other music."
    read = read_midi(data).notes
    return len(read) == len(notes) and all(np.abs(np.sort(read[name]) - np.sort(notes[name])).max() < within_s for name in ("onset_s", "duration_s", "pitch"))


def measured(data):
    "A file as it is and after every change: name -> row of `heard`, or why there is none."
    notes, rows = read_midi(data).notes, {"": heard(data)}
    for name, change in CHANGES.items():
        try: changed = change(data)
        except Exception as error: # whatever another library raises on an odd file
            if not name.startswith("re-saved"): raise
            rows[name] = f"{type(error).__name__}: {error}"
            continue
        rows[name] = heard(changed) if not name.startswith("re-saved") or holds(changed, notes) else "it writes other notes"
    return rows


def read_measured(path):
    "The same for a path; a sentence when the file is refused."
    try: return measured(Path(path).read_bytes())
    except (ValueError, OSError) as error: return f"{path}: {error}"


def values(rows):
    "Estimates, (N, P)."
    return pd.DataFrame(rows)[[f"heard_{d.name}" for d in CIRCUMPLEX]].to_numpy()


def movements(pieces):
    "How far each piece's estimates move under each change: columns change, piece, moved."
    before = values([rows[""] for rows in pieces])
    tables = []
    for name in CHANGES:
        here = [i for i, rows in enumerate(pieces) if not isinstance(rows[name], str)]
        if not here: continue
        after = values([pieces[i][name] for i in here])
        tables.append(pd.DataFrame({"change": name, "piece": here, "moved": np.abs(after - before[here]).max(1)}))
    return pd.concat(tables)


def summary(moved, music):
    "A row for each change."
    grouped = moved.groupby("change", sort=False)["moved"]
    table = grouped.agg(files="size", below_005=lambda m: round((m < SMALL).mean(), 4), median=lambda m: round(m.median(), 5), largest=lambda m: round(m.max(), 5))
    return table.reset_index().assign(music=music)[["music", "change", "files", "below_005", "median", "largest"]]


def listen_to(music, paths):
    "Measure the files and print what moved most."
    read = Parallel(n_jobs=-1)(delayed(read_measured)(path) for path in paths)
    for problem in (rows for rows in read if isinstance(rows, str)): print("refused", problem)
    good, pieces = zip(*((path, rows) for path, rows in zip(paths, read, strict=True) if not isinstance(rows, str)), strict=True)
    for path, rows in zip(good, pieces, strict=True):
        for change, row in rows.items():
            if isinstance(row, str): print(f"not {change}: {path} ({row})")
    moved = movements(pieces)
    far = moved[moved["moved"] > LARGE].sort_values("moved", ascending=False)
    for row in far.head(20).itertuples(): print(f"moved by {row.moved:.3f} when {row.change}: {good[row.piece]}")
    return summary(moved, music)


def main():
    parser = make_parser(__doc__, "bench/invariance.csv")
    parser.add_argument("folders", nargs="*", type=Path, help="folders of MIDI files")
    parser.add_argument("--emopia", action="store_true", help="also EMOPIA (PSYCHOSCORE_DATA=folder, else a download)")
    args = parser.parse_args()
    if not args.folders and not args.emopia:
        args.folders, args.emopia = [REPORTS/"examples", *data_folders(parser, "vgmidi_half/midi")], True
    asked = {"/".join(folder.resolve().parts[-2:]): find_midi([folder]) for folder in args.folders}
    if args.emopia: asked["EMOPIA"] = sorted((find_emopia()/"midis").glob("*.mid"))
    table = pd.concat([listen_to(music, paths) for music, paths in asked.items()])
    print(table.to_string(index=False))
    if args.out.exists(): table = pd.concat([(old := pd.read_csv(args.out))[~old["music"].isin(table["music"])], table])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False)


if __name__ == "__main__": run_script(main)
