"""How fast training is, and what it costs, on the GPU where there is one: against transformers.Trainer, by parts.

throughput  real tokens a second, ours against transformers.Trainer, on the same model, data, precision and batch; share of the matmul peak in that precision
folder      time of a step, and memory, with 10,000 and with 1,000,000 pieces; of a model so small that drawing the batch shows
update      Muon's share of a step: matrices one by one, all of a shape at once, and torch's own
memory      resident memory of a run over its steps, the tiny model, rows that are compared included
optimizers  Muon against AdamW at equal minutes, the tiny model

What was measured is kept in one file, part by part, as each ends; --only replaces the parts that it names. All take a
quarter of an hour. `bench/train_gpu.py` measures what a GPU is for.
Usage: python bench/train.py --data FOLDER [--only throughput ...] [--tiny] [--out reports/bench/train.json]
"""
import itertools
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from bench.common import make_parser, run_script, write_json
from psychoscore.dataset import POOL, DataMix, PreparedDataset, draw_window, make_batch, row_shares, training_batches
from psychoscore.model import ModelConfig, make_model, multiplies_bf16
from psychoscore.tokens import PAD
from psychoscore.train import Muon, contrasts, fit, lr_at, make_accelerator, make_optimizers, make_ready, train_step
from psychoscore.train_config import ContrastConfig, load_config

PARTS = ["throughput", "folder", "update", "memory", "optimizers"]
MICRO = ModelConfig(width=32, layers=1, heads=2, mlp_width=64)
DEVICE = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
WARM_UP = 2 # Steps that are not counted: the first ones allocate


def now():
    "The time, once the device has done what it was asked for."
    if DEVICE.type != "cpu": torch.accelerator.synchronize()
    return time.perf_counter()


rss_mb = lambda: psutil.Process().memory_info().rss/2**20 # noqa: E731


def ours(data, config, steps):
    "Real tokens a second of our loop, and the mean square and mean row length of its batches."
    accelerator, model, made, stream = started(data, replace(config, contrast=ContrastConfig(rows=0)))
    seen = []
    for step in range(WARM_UP + steps):
        if step == WARM_UP: start = now()
        batch, _ = next(stream)
        train_step(model, made, batch, None, lr_at(step, config), config, accelerator)
        if step >= WARM_UP: seen.append((batch.input_ids != PAD).sum(1))
    seconds, lengths = now() - start, torch.cat(seen).double()
    return float(lengths.sum()/seconds), float((lengths**2).sum()/lengths.sum())


class Rows(IterableDataset):
    "The rows that our batches are made of, one by one, as a Trainer takes them."
    def __init__(self, data, mix): self.data, self.mix = data, mix
    def __iter__(self):
        rows, cumulative = row_shares(self.data, self.mix)
        rng = np.random.default_rng(0)
        while True: yield dict(ids=draw_window(self.data.ids(rows[np.searchsorted(cumulative, rng.random(), side="right")]), rng, self.mix))


class Clock(TrainerCallback):
    "Counts from the end of the warm-up."
    start = None
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == WARM_UP: self.start, self.tokens = now(), 0
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps: self.end = now()


def theirs(data, config, steps):
    "Real tokens a second of transformers.Trainer with its usual settings."
    clock = Clock()
    def collate(rows):
        batch = make_batch([row["ids"] for row in rows])
        mask = batch.input_ids != PAD
        if clock.start: clock.tokens += int(mask.sum())
        return dict(input_ids=batch.input_ids, attention_mask=mask.long(), labels=batch.labels)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, per_device_train_batch_size=config.mix.batch_tokens//config.mix.context, max_steps=WARM_UP + steps, bf16=multiplies_bf16(DEVICE),
                                      use_cpu=DEVICE.type == "cpu", learning_rate=config.adamw_lr, report_to=[], save_strategy="no", logging_steps=config.log_interval,
                                      remove_unused_columns=False, disable_tqdm=True)
        trainer = Trainer(make_model(config.model), arguments, train_dataset=Rows(data, config.mix), data_collator=collate, callbacks=[clock])
        trainer.train()
    return clock.tokens/(clock.end - clock.start)


def peak_gflops(n=2048 if DEVICE.type == "cpu" else 8192, repeats=10):
    "The best that a matrix product reaches here, in the precision of the training."
    dtype = torch.bfloat16 if multiplies_bf16(DEVICE) else torch.float32
    a, b = torch.randn(n, n, dtype=dtype, device=DEVICE), torch.randn(n, n, dtype=dtype, device=DEVICE)
    def once():
        start = now(); a @ b
        return 2*n**3/(now() - start)/1e9
    return max(once() for _ in range(repeats))


def flops_per_token(config, mean_context):
    "Forward and backward: 6 a weight of a matrix product, and 6 x width a layer for every token that causal attention looks at."
    model = make_model(config.model)
    return 6*(model.num_parameters() + config.model.layers*config.model.width*mean_context)


def throughput(data, config, rounds, steps):
    pairs, peaks = [], []
    for _ in range(rounds): # in turn, so that what else the machine does falls on both
        peaks.append(peak_gflops())
        speed, mean_context = ours(data, config, steps)
        pairs.append((speed, theirs(data, config, steps)))
    mine, other = zip(*pairs, strict=True)
    achieved = statistics.median(mine)*flops_per_token(config, mean_context)/1e9
    return dict(tokens_per_s=statistics.median(mine), trainer_tokens_per_s=statistics.median(other), ratio=statistics.median(m/t for m, t in pairs),
                ratios=[m/t for m, t in pairs], peak_gflops=statistics.median(peaks), gflops=achieved, share_of_peak=achieved/statistics.median(peaks), threads=torch.get_num_threads(), products="bf16" if multiplies_bf16(DEVICE) else "float32", processor=torch.cuda.get_device_name() if DEVICE.type == "cuda" else torch.cpu.get_capabilities()["cpu_name"])


def simulated(data, n_pieces, folder):
    "A folder of n pieces: the training pieces of another, over and over, each copy with tokens of its own on the disk."
    rows = np.random.default_rng(0).permutation(np.flatnonzero(data.pieces.split == "train")) # EMOPIA comes sorted by quadrant
    train = data.pieces.iloc[rows].reset_index(drop=True)
    pieces = train.iloc[np.arange(n_pieces) % len(train)].reset_index(drop=True)
    pieces["offset"] = np.concatenate([[0], pieces.length.cumsum().values[:-1]])
    with open(folder/"tokens.bin", "wb") as file:
        once = b"".join(data.ids(row).tobytes() for row in rows)
        for _ in range(n_pieces//len(train)): file.write(once)
        file.write(once[:2*int(pieces.length.iloc[n_pieces//len(train)*len(train):].sum())])
    pieces.to_parquet(folder/"pieces.parquet", index=False)
    (folder/"meta.json").write_text(json.dumps(data.meta | dict(tokens=int(pieces.length.sum()), pieces=n_pieces)))


def started(data, config):
    "A model in training, its optimisers, and what steps are made of."
    accelerator = make_accelerator(Path(tempfile.gettempdir()))
    model = make_model(config.model)
    make_ready(model, config, accelerator.device)
    return accelerator, model, make_optimizers(model, config), zip(training_batches(data, config.mix), contrasts(data, config), strict=False)


def folder_size(data, config, sizes, pools):
    "Whole steps, a pool of batches at a time, since a pool is drawn at once."
    config, result = replace(config, model=MICRO), {}
    for n in sizes:
        with tempfile.TemporaryDirectory(dir=Path.cwd()/"out") as folder:
            simulated(data, n, Path(folder))
            start = time.perf_counter(); big = PreparedDataset(folder); opened = time.perf_counter() - start
            accelerator, model, made, stream = started(big, config)
            draws, steps = [], []
            for pool in range(pools + 1):
                start = now(); drawn = list(itertools.islice(stream, POOL)); middle = now()
                for pair in drawn: train_step(model, made, *pair, 1.0, config, accelerator)
                if pool: draws.append((middle - start)/POOL); steps.append((now() - start)/POOL) # the first opens the sampler
            result[n] = dict(open_s=opened, draw_ms=1e3*statistics.median(draws), step_ms=1e3*statistics.median(steps), steps_ms=[1e3*s for s in steps], rss_mb=rss_mb())
            del big, stream, drawn
    return result


def kinds_of_muon(matrices, config):
    "Ways to make the same update."
    settings, dtype = dict(lr=config.muon_lr, weight_decay=config.weight_decay), torch.bfloat16 if multiplies_bf16(DEVICE) else torch.float32
    return {"one by one": Muon(matrices, dtype, False, **settings), "together": Muon(matrices, dtype, True, **settings),
            "torch.optim.Muon": torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **settings)}


def update(data, config, steps):
    "The usual time of each kind of Muon, step by step in turn; what is the quicker here is the one that trains."
    accelerator, model, made, stream = started(data, replace(config, contrast=ContrastConfig(rows=0)))
    kinds, marks = kinds_of_muon(made[0].param_groups[0]["params"], config), []
    for optimizer in kinds.values():
        for group in optimizer.param_groups: group["full_lr"] = group["lr"]
        optimizer.register_step_pre_hook(lambda *_: marks.append(now()))
        optimizer.register_step_post_hook(lambda *_: marks.append(now()))
    rows = []
    for step in range(len(kinds)*(WARM_UP + steps)):
        name, batch = list(kinds)[step % len(kinds)], next(stream)
        marks.clear(); start = now()
        train_step(model, [kinds[name], made[1]], *batch, lr_at(step, config), config, accelerator)
        rows.append((name, now() - start, marks[1] - marks[0]))
    rows = rows[WARM_UP*len(kinds):]
    rest = statistics.median(step - muon for _, step, muon in rows)
    usual = {name: statistics.median(muon for kind, _, muon in rows if kind == name) for name in kinds}
    return dict(rest_ms=1e3*rest, kinds={name: dict(muon_ms=1e3*muon, share=muon/(muon + rest)) for name, muon in usual.items()}, products="bf16" if multiplies_bf16(DEVICE) else "float32")


def memory(data, config, steps, every):
    accelerator, model, made, stream = started(data, config)
    rows = []
    for step in range(steps):
        train_step(model, made, *next(stream), lr_at(step, replace(config, max_steps=steps)), config, accelerator)
        if (step + 1) % every == 0: rows.append(dict(step=step + 1, rss_mb=round(rss_mb(), 1)))
    later = rows[len(rows)//2:] # once the first steps have allocated what they need
    growth = np.polyfit([row["step"] for row in later], [row["rss_mb"] for row in later], 1)[0]
    return dict(rows=rows, growth_mb_per_100_steps=100*float(growth))


def step_seconds(data, config, steps):
    "The usual time of a step, drawing its batch included."
    accelerator, model, made, stream = started(data, config)
    def once(step):
        start = now(); train_step(model, made, *next(stream), lr_at(step, config), config, accelerator)
        return now() - start
    return statistics.median([once(step) for step in range(WARM_UP + steps)][WARM_UP:])


def optimizers(data, config, minutes, steps):
    "Each gets as many steps as fit its minutes, with a schedule that ends with them; each at both rates for what Muon leaves to AdamW."
    config, result = replace(config, contrast=ContrastConfig(rows=0)), {}
    for optimizer, rate in itertools.product(("muon", "adamw"), (config.adamw_lr, config.muon_lr)):
        arm = replace(config, optimizer=optimizer, adamw_lr=rate)
        arm = replace(arm, max_steps=max(int(60*minutes/step_seconds(data, arm, steps)), 20), eval_interval=10**9)
        with tempfile.TemporaryDirectory() as folder: last = fit(data, folder, arm, progress=False).iloc[-1]
        result[f"{optimizer}, {rate:g}"] = dict(muon_lr=arm.muon_lr if optimizer == "muon" else None, adamw_lr=rate, steps=int(last.step), tokens=int(last.tokens), seconds=last.seconds,
                                                train_loss=last.train_loss, val_nats_per_note=last.val_nats_per_note)
    return result


def main():
    parser = make_parser(__doc__, "bench/train.json")
    parser.add_argument("--data", required=True, help="folder written by `psychoscore prepare`, with EMOPIA")
    parser.add_argument("--config", default="small")
    parser.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--minutes", type=float, default=2.5, help="of each arm of `optimizers`")
    parser.add_argument("--tiny", action="store_true", help="only try whether it runs; needs an --out of its own")
    args = parser.parse_args()
    if args.tiny and args.out == parser.get_default("out"): parser.error("--tiny would overwrite what was measured: give another --out")
    data, config, tiny, smaller = PreparedDataset(args.data), load_config(args.config), args.tiny, load_config("tiny")
    if tiny: config = smaller = replace(config, warmup_steps=5, model=MICRO, mix=DataMix(context=128, batch_tokens=512), contrast=ContrastConfig(tokens=64))
    (Path.cwd()/"out").mkdir(exist_ok=True)
    measured = json.loads(args.out.read_text()) if args.out.exists() else {}
    for name in args.only:
        conditions = dict(config="tiny" if name in ("memory", "optimizers") else args.config, threads=torch.get_num_threads(), load=os.getloadavg()[0])
        measured[name] = conditions | dict(
            throughput=lambda: throughput(data, config, *((2, 3) if tiny else (5, 12))),
            folder=lambda: dict(pieces=folder_size(data, config, (1000, 3000) if tiny else (10_000, 1_000_000), 2 if tiny else 5)),
            update=lambda: update(data, config, 2 if tiny else 20),
            memory=lambda: memory(data, smaller, *((20, 5) if tiny else (500, 10))),
            optimizers=lambda: dict(arms=optimizers(data, smaller, 0.02 if tiny else args.minutes, 3 if tiny else 30)))[name]()
        write_json(measured, args.out)
        print(name, json.dumps(measured[name], indent=1), flush=True)


if __name__ == "__main__": run_script(main)
