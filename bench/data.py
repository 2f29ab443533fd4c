"""What making pairs costs, against music21, pretty_midi and MidiTok, and what a large collection is like.

Speed of making pairs, in one run over the same notes; memory at 10,000 and 100,000 pairs, and of preparing 2,000 to 50,000;
keys, equal pairs and shared melodies of 50,000 pairs.
Usage: python bench/data.py [--no-memory] [--collection 0] [--out reports/bench/data.json]     both: speed alone
       python bench/data.py --prepare FOLDER     preparing alone, from a folder of 50,000 pairs; the rest of the report is kept
"""
import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from joblib import Parallel, delayed

from bench.common import make_parser, run_script, write_json
from psychoscore.synthetic import _table, compose_pair, iter_pairs, synthesize
from psychoscore.tokens import encode

BLOCK = 100 # Pairs a task


def ours(folder, start, stop):
    "Compose, tokenise and write pairs start..stop-1."
    pairs = [compose_pair(0, i) for i in range(start, stop)]
    ids = [encode(p.notes, p.profile, "synthetic", p.key).ids for p in pairs]
    np.concatenate(ids).tofile(folder/f"{start}.bin")
    pq.write_table(_table(pairs), folder/f"{start}.parquet", compression="zstd")


def pretty_midi_miditok(folder, tables):
    "The usual loop over notes that are already there: build, write, read back into tokens, write."
    import miditok
    import pretty_midi
    tokenizer = miditok.TSD(miditok.TokenizerConfig(beat_res={(0, 4): 16}, num_velocities=16, use_programs=False))
    for i, notes in enumerate(tables):
        midi, piano = pretty_midi.PrettyMIDI(), pretty_midi.Instrument(0)
        piano.notes = [pretty_midi.Note(int(n["velocity"]), int(n["pitch"]), n["onset_s"], n["onset_s"] + n["duration_s"]) for n in notes]
        midi.instruments.append(piano)
        midi.write(str(folder/f"{i}.mid"))
        np.array(tokenizer(folder/f"{i}.mid")[0].ids, np.uint16).tofile(folder/f"{i}.bin")


def music21_write(folder, tables):
    "The same notes built and written by music21; no tokens."
    import music21
    for i, notes in enumerate(tables):
        stream = music21.stream.Stream()
        for n in notes:
            note = music21.note.Note(int(n["pitch"]), quarterLength=round(2*float(n["duration_s"]), 3))
            note.volume.velocity = int(n["velocity"])
            stream.insert(round(2*float(n["onset_s"]), 3), note)
        stream.write("midi", folder/f"{i}.mid")


def ms_per_pair(run, n):
    "Wall time of run(folder) for each of n pairs."
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run(Path(folder))
        return 1000*(time.perf_counter() - start)/n


def speed(pairs, rounds=3):
    "Median over rounds in which every contender runs once, one after the other."
    pairs = max(BLOCK, pairs//BLOCK*BLOCK)
    tables = [compose_pair(0, i).notes for i in range(pairs)]
    few, fewer = tables[:max(pairs//4, 20)], tables[:max(pairs//40, 5)]
    blocks = list(pairwise(range(0, pairs + 1, BLOCK)))
    contenders = {
        "ours, jobs=1": (lambda folder: [ours(folder, *b) for b in blocks], pairs),
        "ours, jobs=2": (lambda folder: Parallel(n_jobs=2)(delayed(ours)(folder, *b) for b in blocks), pairs),
        "pretty_midi + MidiTok": (lambda folder: pretty_midi_miditok(folder, few), len(few)),
        "music21, no tokens": (lambda folder: music21_write(folder, fewer), len(fewer)),
    }
    for name in ("ours, jobs=1", "ours, jobs=2"): ms_per_pair(contenders[name][0], pairs) # Imports, and two processes started
    for baseline in (pretty_midi_miditok, music21_write): ms_per_pair(lambda folder, run=baseline: run(folder, tables[:2]), 2)
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (run, n) in contenders.items(): times[name].append(ms_per_pair(run, n))
    ms = {name: statistics.median(t) for name, t in times.items()}
    return {"pairs": pairs, "notes_per_pair": round(np.mean([len(t) for t in tables])), "ms_per_pair": {k: round(v, 3) for k, v in ms.items()},
            "times_faster_than_music21": round(ms["music21, no tokens"]/ms["ours, jobs=1"], 1),
            "times_faster_than_miditok_jobs_1": round(ms["pretty_midi + MidiTok"]/ms["ours, jobs=1"], 2),
            "times_faster_than_miditok_jobs_2": round(ms["pretty_midi + MidiTok"]/ms["ours, jobs=2"], 2)}


def memory(sizes=(10_000, 100_000)):
    "Peak resident memory and time of a whole run in a process of its own, jobs=1."
    found = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            code = f"import runpy; runpy.run_path({__file__!r})['measured_run']({folder!r}, {size})"
            said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
        found[str(size)] = json.loads(said)
    return found


def measured_run(folder, size):
    "Make pairs, read them back, and print what it took."
    start = time.perf_counter()
    synthesize(folder, size, jobs=1)
    seconds = time.perf_counter() - start
    read = sum(1 for _ in iter_pairs(folder))
    print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024, "ms_per_pair": round(1000*seconds/size, 3), "read_back": read}))


def prepared_run(pairs, size):
    "Prepare the first pairs of a folder, and print what it took."
    from psychoscore.dataset import prepare, synthetic_pieces
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        data = prepare(islice(synthetic_pieces(pairs), size), folder)
        print(json.dumps({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024, "cpu_ms_per_pair": round(1000*(time.process_time() - start)/size, 3),
                          "tokens": data.meta["tokens"], "hours": round(float(data.pieces.seconds.sum()/3600), 2)}))


def preparing(pairs, sizes=(2_000, 10_000, 50_000)):
    "Peak resident memory and CPU time of `prepare`, each size in a process of its own."
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['prepared_run'](sys.argv[2], int(sys.argv[3]))"
    run = lambda size: subprocess.run([sys.executable, "-c", code, __file__, str(pairs), str(size)], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {str(size): json.loads(run(size)) for size in sizes}


def melody_grams(pair, n=8):
    "The distinct runs of n melody notes, relative to the tonic: a transposed copy is a copy."
    melody = pair.notes["pitch"][pair.part == 0].astype(np.int64) - pair.key.tonic
    if len(melody) < n: return np.empty(0, np.int64)
    return np.unique(np.lib.stride_tricks.sliding_window_view(melody, n) @ 131**np.arange(n))


def collection(size):
    "Keys, equal pairs and shared melodies among `size` pairs."
    from scipy import sparse
    with tempfile.TemporaryDirectory() as folder:
        synthesize(folder, size)
        keys, seen, grams = Counter(), set(), []
        for pair in iter_pairs(folder):
            keys[pair.key.tonic] += 1
            seen.add(hashlib.blake2b(pair.notes.tobytes(), digest_size=16).digest())
            grams.append(melody_grams(pair))
    counts = np.array([len(g) for g in grams])
    gram = np.unique(np.concatenate(grams), return_inverse=True)[1]
    has = sparse.csr_matrix((np.ones(len(gram), np.float32), gram, np.concatenate([[0], counts.cumsum()])))
    shared, columns = np.zeros(size), has.T.tocsr()
    for k in range(0, size, 1000):
        overlap = (has[k:k + 1000] @ columns).tocoo()
        other = overlap.row + k != overlap.col
        np.maximum.at(shared, overlap.row[other] + k, overlap.data[other])
    return {"pairs": size, "largest_key_deviation": max(abs(12*n/size - 1) for n in keys.values()), "keys": len(keys), "equal_pairs": size - len(seen),
            "with_8_notes": int((counts > 0).sum()), "share_more_than_half": round(float((shared > counts/2)[counts > 0].mean()), 5)}


def main():
    parser = make_parser(__doc__, "bench/data.json")
    parser.add_argument("--pairs", type=int, default=800, help="sample for the speeds")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="also make 10,000 and 100,000 pairs")
    parser.add_argument("--collection", type=int, default=50_000, help="also look through so many pairs")
    parser.add_argument("--prepare", type=Path, help="only measure preparing the pairs of this folder, at least 50,000")
    args = parser.parse_args()
    report = json.loads(args.out.read_text()) if args.prepare and args.out.exists() else {}
    if args.prepare: report["prepare"] = preparing(args.prepare)
    else: report["speed"] = speed(args.pairs)
    if args.memory and not args.prepare:
        report["memory"] = memory()
        with tempfile.TemporaryDirectory() as folder:
            synthesize(folder, 50_000)
            report["prepare"] = preparing(folder)
    if args.collection and not args.prepare: report["collection"] = collection(args.collection)
    print(json.dumps(report, indent=1))
    write_json(report, args.out)


if __name__ == "__main__": run_script(main)
