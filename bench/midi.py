"""How fast readers of MIDI are on real files: this one, symusic, mido and pretty_midi.

For each folder, milliseconds a file: the least of three rounds in turn, since others use the machine, too. Files are up to
100 drawn from the folder, and its five largest apart, which are read whatever their size. Then how long psychoscore takes
for --files files, drawn again and again from all folders, in one process and in two: seconds, and those that processors
were busy with it. mido only parses; the others make notes in seconds. psychoscore alone hears pedals. By default the
folders are emopia, pop909 and asap in PSYCHOSCORE_DATA.
Usage: PSYCHOSCORE_DATA=folder python bench/midi.py [FOLDER ...] [--files 3000] [--out reports/bench/midi.csv]
"""
import os
import random
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from math import inf
from pathlib import Path

import pandas as pd

from bench.common import data_folders, make_parser, run_script
from bench.fuzz_midi import PARSERS
from psychoscore.midi import Limits, find_midi, read_midi


def readers(): return {"psychoscore": partial(read_midi, limits=Limits(inf, inf, inf))} | {name: PARSERS[name]()[0]
    for name in ("symusic", "mido", "pretty_midi")}


def read_all(read, contents): # -> how many could not be read
    failed = 0
    for data in contents:
        try: read(data)
        except Exception: failed += 1
    return failed


def ms_a_file(contents, rounds=3): # -> {reader: (ms, failed)}
    best = {}
    for _ in range(rounds):
        for name, read in readers().items():
            began = time.process_time()
            failed = read_all(read, contents)
            best[name] = min(best.get(name, (inf,)), (1000*(time.process_time() - began)/len(contents), failed))
    return best


def rows_of(folder): # -> rows of the table
    paths = sorted(find_midi([folder]), key=lambda path: path.stat().st_size)
    sample = random.Random(0).sample(paths, min(100, len(paths)))
    for what, chosen in (("drawn", sample), ("largest", paths[-5:])):
        contents = [path.read_bytes() for path in chosen]
        for name, (ms, failed) in ms_a_file(contents).items():
            yield dict(folder=folder.name, files=what, n=len(contents),
                mean_kb=sum(map(len, contents))/len(contents)/1000, reader=name, version=version(name), ms=ms,
                failed=failed)


def many(paths, processes): # -> (s, s of processors)
    "Read files, as a folder of them."
    began, busy = time.perf_counter(), sum(os.times()[:4])
    if processes == 1: read_all(read_midi, paths)
    else:
        with ProcessPoolExecutor(processes) as pool: sum(pool.map(partial(read_all, read_midi),
            [paths[i::20] for i in range(20)]))
    return time.perf_counter() - began, sum(os.times()[:4]) - busy


def main():
    parse = make_parser(__doc__, "bench/midi.csv")
    parse.add_argument("folders", nargs="*", type=Path)
    parse.add_argument("--files", type=int, default=3000)
    given = parse.parse_args()
    folders = given.folders or data_folders(parse, "emopia", "pop909", "asap")
    rows = [row for folder in folders for row in rows_of(folder)]
    paths = random.Random(0).choices(find_midi(folders), k=given.files)
    for processes in (1, 2):
        seconds, busy_s = min(many(paths, processes) for _ in range(2))
        rows.append(dict(folder="all", files=f"{processes} process{'es'*(processes > 1)}", n=len(paths),
            mean_kb=sum(p.stat().st_size for p in paths)/len(paths)/1000,
                         reader="psychoscore", version=version("psychoscore"), ms=1000*busy_s/len(paths), failed=0,
                         seconds=seconds, busy_s=busy_s))
    table = pd.DataFrame(rows)
    table.to_csv(given.out, index=False, float_format="%.4g")
    print(table.to_string(index=False))


if __name__ == "__main__": run_script(main)
