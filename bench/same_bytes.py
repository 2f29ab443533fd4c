"""Whether numpy and the kernel write the same bytes, alone and side by side: every way against numpy, a piece at a time.

Piece i of n has seed i and lasts 180^(x^2) seconds, x = i/(n-1): 1 to 180, most of them short. Every third is drawn by
top_p 0.9, every fifth by min_p 0.05, and profiles are drawn from the whole square. They are composed out of order, so
that short ones leave while long ones stay. Every way is a process of its own. A digest is of a piece's MIDI file and
tokens, and of all digests. `referred` counts the tokens that were so close that the referee drew them. Rows of other
processors stay in the CSV file. Ends with 1 where pieces differ.
Usage: python bench/same_bytes.py [--pieces 200] [--longest 180] [--processes 2] [--out reports/bench/same_bytes.csv]
"""
import hashlib
import multiprocessing
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from bench.common import make_parser, run_script
from psychoscore.compose import Composer
from psychoscore.decoding import Sampler
from psychoscore.kernel import ENVIRONMENT, _instruction_sets, why_missing
from psychoscore.notes import midi_bytes
from psychoscore.profile import PsychometricProfile
from psychoscore.request import Request

TOGETHER = (1, 5, 0) # Pieces that are handed over at a time; 0 for all
RIGHT = ("numpy", 1) # What the others are compared with


def requests_of(n, longest):
    "The rule above, (n,)."
    rng, lengths = np.random.default_rng(0), (longest**np.linspace(0, 1, n)**2).round(2)
    made = [Request(PsychometricProfile(*rng.random(2)), seconds, seed, top_p=1 if seed % 3 else 0.9,
                    min_p=0 if seed % 5 else 0.05) for seed, seconds in enumerate(lengths)]
    return [made[i] for i in rng.permutation(n)]


def digest(*parts):
    "In hexadecimal."
    return hashlib.sha256(b"".join(parts)).hexdigest()


def digest_of_all(said):
    "Of what `composed` says, in short."
    return digest(*(of_one.encode() for _, of_one in said[-1]))[:16]


def composed(kernel, together, n, longest):
    "In a process of its own: what decodes, how many tokens were referred, and tokens and digest of every piece."
    os.environ[ENVIRONMENT] = kernel
    composer, requests, referred, at_a_time = Composer.from_pretrained(), requests_of(n, longest), [], together or n
    referee = Sampler._referee
    def counted(*given): referred.append(1); return referee(*given)
    with patch.object(Sampler, "_referee", counted):
        pieces = [piece for at in range(0, n, at_a_time) for piece in composer.compose_batch(requests[at:at + at_a_time])]
    decodes = composer.weights.kernel.name if composer.weights.kernel else "numpy"
    return decodes, len(referred), [(len(p.ids), digest(midi_bytes(p.notes), p.ids.astype("<i4").tobytes())) for p in pieces]


def composed_by_all(n, longest, processes):
    "What `composed` says, of every way."
    said = dict.fromkeys((name, together) for together in TOGETHER for name in ("numpy", *_instruction_sets()))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting = {pool.submit(composed, *way, n, longest): way for way in said}
        for done in as_completed(waiting):
            said[waiting[done]] = done.result()
            print(*waiting[done], digest_of_all(said[waiting[done]]), flush=True)
    return said


def processor():
    "Its name."
    about = Path("/proc/cpuinfo") # Linux; elsewhere Python knows the name
    lines = about.read_text(encoding="utf-8").splitlines() if about.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def compare(said, requests):
    "A row for each way; prints which pieces differ."
    rows, right = [], said[RIGHT][-1]
    for (name, together), (decodes, referred, pieces) in said.items():
        assert decodes == name and len(pieces) == len(right), (name, decodes)
        differing = [request for request, piece, wanted in zip(requests, pieces, right, strict=True) if piece != wanted]
        for r in differing: print(f"{name}, {together or 'all'} together, differs: seed {r.seed}, {r.seconds:g} s")
        rows.append(dict(processor=processor(), decodes=name, together=together or len(pieces), pieces=len(pieces),
                         tokens=sum(n for n, _ in pieces), referred=referred, equal=len(pieces) - len(differing),
                         differing=len(differing), digest=digest_of_all(said[name, together])))
    return pd.DataFrame(rows)


def main():
    parser = make_parser(__doc__, "bench/same_bytes.csv")
    parser.add_argument("--pieces", type=int, default=200)
    parser.add_argument("--longest", type=float, default=180, help="seconds of music")
    parser.add_argument("--processes", type=int, default=2, help="ways that are composed at a time")
    args = parser.parse_args()
    if why := why_missing(): print(f"numpy alone is compared: {why}")
    said = composed_by_all(args.pieces, args.longest, args.processes)
    table = compare(said, requests_of(args.pieces, args.longest))
    print(table.to_string(index=False))
    differing = table["differing"].sum()
    if args.out.exists(): table = pd.concat([(old := pd.read_csv(args.out))[old["processor"] != processor()], table])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False)
    return f"{differing} pieces differ" if differing else None


if __name__ == "__main__": run_script(main)
