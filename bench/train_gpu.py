"""How fast training is on a GPU: the share of the matmul peak, and the ratio to transformers.Trainer, compiled and not.

It needs one GPU that multiplies bf16, triton, a C compiler, Python's headers, and a folder that `psychoscore
prepare` wrote; EMOPIA alone will do, for sources are drawn by their length. So far it has been tried on a CPU only,
with --tiny; memory and minutes are not known, and most minutes will go into compiling. Each size has batches of
32,768 tokens. A round is Trainer, the loop as it is for long runs (compiled), and the loop as it is for short runs
(not compiled), one after the other; the first round warms up. What was measured replaces the sizes that are named,
each as it ends. `share_of_peak` and `ratio` are of the compiled loop.
Usage: python bench/train_gpu.py --data FOLDER [--sizes base small] [--tiny] [--out reports/bench/train_gpu.json]
"""
import itertools
import json
import os
import statistics
import time
from dataclasses import replace

import torch

from bench.common import make_parser, run_script, write_json
from bench.train import DEVICE, MICRO, flops_per_token, now, ours, peak_gflops, theirs, update
from psychoscore.dataset import POOL, DataMix, PreparedDataset, training_batches
from psychoscore.model import multiplies_bf16
from psychoscore.train import MIN_COMPILED
from psychoscore.train_config import ContrastConfig, load_config

SIZES = ["small", "base"]


def draw_ms(data, mix, batches):
    "The mean time that the processor takes to draw a batch."
    start = time.perf_counter()
    for _ in itertools.islice(training_batches(data, mix), batches): pass
    return 1e3*(time.perf_counter() - start)/batches


def one_round(data, config, steps):
    "Speeds of one round, tokens a second: Trainer's, compiled, not compiled; and the peak, GFLOP/s."
    peak, trainer = peak_gflops(), theirs(data, config, steps)
    start = now(); compiled, mean_context = ours(data, replace(config, max_steps=MIN_COMPILED), steps)
    seconds = now() - start
    plain, _ = ours(data, replace(config, max_steps=MIN_COMPILED - 1), steps)
    return dict(peak=peak, trainer=trainer, compiled=compiled, plain=plain, context=mean_context, seconds=seconds)


def measure(data, config, rounds, steps):
    "The medians of a size; as in `train.json`, of the loop that is compiled."
    seen = [one_round(data, config, steps) for _ in range(rounds)]
    usual = {name: statistics.median(row[name] for row in seen) for name in seen[0]}
    ratios = [row["compiled"]/row["trainer"] for row in seen]
    gflops = usual["compiled"]*flops_per_token(config, usual["context"])/1e9
    return dict(tokens_per_s=usual["compiled"], plain_tokens_per_s=usual["plain"], trainer_tokens_per_s=usual["trainer"],
                ratio=statistics.median(ratios), ratios=ratios, plain_ratio=statistics.median(row["plain"]/row["trainer"] for row in seen),
                peak_gflops=usual["peak"], gflops=gflops, share_of_peak=gflops/usual["peak"], first_round_s=seen[0]["seconds"], draw_ms=draw_ms(data, config.mix, 2*POOL),
                update=update(data, config, steps), products="bf16" if multiplies_bf16(DEVICE) else "float32",
                processor=torch.cuda.get_device_name() if DEVICE.type == "cuda" else torch.cpu.get_capabilities()["cpu_name"])


def main():
    parser = make_parser(__doc__, "bench/train_gpu.json")
    parser.add_argument("--data", required=True, help="folder written by `psychoscore prepare`")
    parser.add_argument("--sizes", nargs="+", default=SIZES, choices=SIZES)
    parser.add_argument("--tiny", action="store_true", help="only try whether it runs; needs an --out of its own")
    args = parser.parse_args()
    if args.tiny and args.out == parser.get_default("out"): parser.error("--tiny would overwrite what was measured: give another --out")
    data = PreparedDataset(args.data)
    if not args.tiny and DEVICE.type != "cuda": parser.error("there is no GPU here: --tiny tries the script on a CPU")
    measured = json.loads(args.out.read_text()) if args.out.exists() else {}
    for size in args.sizes:
        mix = DataMix(context=128, batch_tokens=512) if args.tiny else DataMix(batch_tokens=32768)
        config = replace(load_config(size), mix=mix, contrast=ContrastConfig(rows=0))
        if args.tiny: config = replace(config, model=MICRO, warmup_steps=5)
        conditions = dict(config=size, batch_tokens=mix.batch_tokens, threads=torch.get_num_threads(), load=os.getloadavg()[0])
        measured[size] = conditions | measure(data, config, *((2, 3) if args.tiny else (6, 2*POOL)))
        write_json(measured, args.out)
        print(size, json.dumps(measured[size], indent=1), flush=True)


if __name__ == "__main__": run_script(main)
