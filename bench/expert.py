"""A round of expert iteration: what a model chooses by segment, given to it to learn from beside the data it had.

Pieces are composed over the square with candidates, their headers say what a listener hears of them, and they stand
among EMOPIA's training clips in a new prepared folder, so that one take may come to do what several candidates did.
A leg of training on that folder is compared with a leg of as many steps on the folder it was made from, both by
bench/control.py:

    psychoscore train --data EXPERT/data --config plans --init FOLDER --max-steps 500 --out WITH
    psychoscore train --data PREPARED --config plans --init FOLDER --max-steps 500 --out WITHOUT

Usage: python bench/expert.py --data PREPARED [--model FOLDER] [--pieces 300] [--candidates 8] [--out runs/expert]
"""
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench.common import make_parser, run_script
from psychoscore.compose import Composer
from psychoscore.dataset import PreparedDataset, SourcePiece, emopia_pieces, prepare
from psychoscore.emopia import load_emopia
from psychoscore.profile import PsychometricProfile
from psychoscore.relabel import learn_relabelling, relabelled
from psychoscore.request import Request

SECONDS, AT_ONCE = 30, 8
SEED = 900_000 # Apart from the seeds of the protocols


def composed(composer, n, candidates, shown=50):
    "Pieces over the square, as many of every place; each a song of its own."
    rng = np.random.default_rng(SEED)
    asked = [PsychometricProfile(*map(float, dials)) for dials in rng.random((n, 2)).round(3)]
    for start in range(0, n, AT_ONCE):
        requests = [Request(asked[k], SECONDS, SEED + k, candidates=candidates) for k in range(start, min(start + AT_ONCE, n))]
        for piece in composer.compose_batch(requests):
            name = f"expert-{piece.seed - SEED}"
            yield SourcePiece(name, name, "emopia", "train", "composed", piece.notes, piece.trajectory.at(0), piece.key)
        if start % (shown//AT_ONCE*AT_ONCE) == 0: print(f"{start} of {n} pieces, {time.process_time():.0f} s", flush=True)


def join(data, more, out):
    "Write a prepared folder that holds the pieces of two."
    out.mkdir(parents=True, exist_ok=True)
    rows = more.pieces.assign(offset=more.pieces.offset + len(data.tokens))
    pd.concat([data.pieces, rows], ignore_index=True).to_parquet(out/"pieces.parquet")
    (out/"tokens.bin").write_bytes(data.tokens.tobytes() + more.tokens.tobytes())
    both = f"{data.meta['content_sha256']}+{more.meta['content_sha256']}"
    about = dict(tokens=len(data.tokens) + len(more.tokens), pieces=data.meta["pieces"] + more.meta["pieces"], content_sha256=both)
    (out/"meta.json").write_text(json.dumps(data.meta | about, indent=1) + "\n")


def main():
    parser = make_parser(__doc__, "runs/expert")
    parser.add_argument("--model", help="folder of a model; the packaged one by default")
    parser.add_argument("--data", type=Path, required=True, help="prepared folder to add to")
    parser.add_argument("--pieces", type=int, default=300)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--copies", type=int, default=16, help="of each piece, as of EMOPIA's clips in the folder")
    args = parser.parse_args()
    clips = load_emopia()
    relabelling = learn_relabelling(emopia_pieces(clips[clips.split != "unlisted"]))
    experts = relabelled(composed(Composer.from_pretrained(args.model), args.pieces, args.candidates), relabelling)
    more = prepare(experts, args.out/"experts", args.copies)
    if args.data.is_dir(): join(PreparedDataset(args.data), more, args.out/"data")
    print(more.summary().to_string())


if __name__ == "__main__": run_script(main)
