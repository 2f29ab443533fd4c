"""How far the figures of the gate vary from seeds to seeds for the shipped model: what its floors are made from.

Composes the grid of CI (four corners, sixteen pieces each, twelve seconds) and the arcs of both dials once for every seed, with
seeds of the development protocol. A row is written as it is measured, and seeds that have a row are not composed again.
Prints the mean, the standard deviation, and the floor: three standard deviations on the worse side of the mean.
Usage: python bench/gate.py [--model packaged] [--seeds 4] [--processes 1] [--out reports/bench/gate.csv]
"""
import pandas as pd

from bench.common import make_parser, run_script
from psychoscore.compose import Composer
from psychoscore.dial import Grid, calibrate
from psychoscore.gate import floors_of, measure_gate
from psychoscore.protocol import DEVELOPMENT_SEED

APART = 1000 # From one seed of a grid to the next


def main():
    parser = make_parser(__doc__, "bench/gate.csv")
    parser.add_argument("--model", help="folder of a model; the packaged one by default")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    composer = Composer.from_pretrained(args.model)
    rows = pd.read_csv(args.out).to_dict("records") if args.out.exists() else []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for number in range(args.seeds):
        seed = DEVELOPMENT_SEED + APART*number
        if any(row["seed"] == seed for row in rows): continue
        dial = calibrate(composer, Grid(2, 16, 12, seed), n_bootstrap=2, processes=args.processes)
        rows.append({"seed": seed, **measure_gate(composer, dial, seed, args.processes, all_of_it=True).figures})
        pd.DataFrame(rows).round(5).to_csv(args.out, index=False)
        print(rows[-1], flush=True)
    print(floors_of(pd.read_csv(args.out)).to_string())


if __name__ == "__main__": run_script(main)
