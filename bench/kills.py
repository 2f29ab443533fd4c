"""What is lost when a quick pipeline, a training or `index` is killed with SIGKILL at random moments: it should be nothing.

After every kill, what had been finished before must be there still, whole. A run lives for a random share of half the
time that it takes alone; what is killed goes on in the same folder, and what has come to its end is compared with a run
that was left alone and begun in a new folder, until there have been enough kills.
Usage: python bench/kills.py [--only pipeline train index] [--moments 100] [--seed 0] [--out reports/bench/kills.csv]
"""
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from bench.common import make_parser, run_script
import psychoscore.pipeline as pipeline
import psychoscore.report
import psychoscore.search as search
import psychoscore.checkpoint
import psychoscore.train
from psychoscore.dataset import DataMix, SourcePiece, prepare
from psychoscore.emopia import published_split
from psychoscore.model import ModelConfig
from psychoscore.notes import make_notes, midi_bytes
from psychoscore.profile import PsychometricProfile
from psychoscore.train import fit
from psychoscore.train_config import ContrastConfig, TrainConfig

PROCESSES = multiprocessing.get_context("forkserver") # forked from one that has imported everything, so that they are at work at once
PROCESSES.set_forkserver_preload(["psychoscore.pipeline", "psychoscore.train", "psychoscore.report", "psychoscore.search", "psychoscore.synthetic"])
TINY = TrainConfig(dropout=0.1, model=ModelConfig(width=32, layers=2, heads=2, mlp_width=64, context=128), mix=DataMix(context=128, batch_tokens=512),
                   contrast=ContrastConfig(rows=8, tokens=128), max_steps=60, warmup_steps=5, log_interval=7, eval_interval=25)
BRIEF = dict(max_steps=5, warmup_steps=2)


def random_music(rng, n=60): return make_notes(np.arange(n)*0.25, np.full(n, 0.25), rng.integers(40, 90, n), rng.integers(30, 100, n))


def sha256(path): return hashlib.sha256(path.read_bytes()).hexdigest()


# A subject: what is run, what must survive a kill, and what must be the same at the end. Each function gets the inputs and the folder to write.

def make_emopia(folder):
    "Inputs: a folder laid out like EMOPIA, with 36 of its clip ids and random music, and a configuration of 5 steps."
    rng, split = np.random.default_rng(0), published_split()
    ids = [clip_id for name, n in (("train", 24), ("validation", 8), ("test", 4)) for clip_id in split.index[split == name][::len(split[split == name])//n][:n]]
    (folder/"midis").mkdir(parents=True)
    for clip_id in ids: (folder/"midis"/f"{clip_id}.mid").write_bytes(midi_bytes(random_music(rng, 120)))
    (folder/"brief.json").write_text(json.dumps(BRIEF))


def run_pipeline(inputs, out):
    config = pipeline.PipelineConfig(emopia=inputs, num_clips=36, num_synthetic=60, contrastive_weight=0, config=str(inputs/"brief.json"), quick=True)
    pipeline.run_pipeline(config, out/"work", lambda line: None)


def phases_done(out):
    "Every phase that is recorded as done, with its files; asserts that they are as recorded, where the record says that they are."
    if not (out/"work"/"pipeline.json").exists(): return {}
    work = pipeline.Workdir(out/"work", json.loads((out/"work"/"pipeline.json").read_text()))
    done = {}
    for name in work.state["phases"]:
        record, folder = work.latest(name)
        if record is None: continue
        assert pipeline.record_files(folder, record["made"]) == record["made"], name
        done |= {f"{name}/{file}": about["sha256"] for file, about in record["made"].items()}
    return done


def without_seconds(out):
    "All that is declared, but for how long it took; TensorBoard has a file a sitting."
    found = {}
    for name in pipeline.PHASES:
        for file in json.loads((out/"work"/"pipeline.json").read_text())["phases"][name]["done"]["made"]:
            path = out/"work"/name/file
            if file.startswith("tensorboard/") or file == "composed.joblib": continue # the latter is the pieces of pieces.csv, pickled
            found[f"{name}/{file}"] = comparable(path, out)
    return found


def comparable(path, out):
    "The contents of a file, without seconds and without the folder, which a report's commands name."
    if path.name == "log.csv": return pd.read_csv(path).drop(columns="seconds").to_csv()
    if path.name == "psychoscore.json": return {name: value for name, value in json.loads(path.read_text()).items() if name != "seconds"}
    if path.name != "checkpoint.pt": return hashlib.sha256(path.read_bytes().replace(str(out).encode(), b"")).hexdigest()
    saved = torch.load(path, weights_only=True)
    state = [{k: v for k, v in row.items() if k != "seconds"} for row in saved["state"]["log"]]
    return json.dumps([state, saved["state"]["step"]]), [hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in tensors([saved["model"], saved["optimizers"]])]


def tensors(tree):
    if isinstance(tree, torch.Tensor): return [tree.contiguous()]
    return [t for value in (tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []) for t in tensors(value)]


def make_data(folder):
    "Inputs: a prepared folder of 24 random pieces."
    rng = np.random.default_rng(0)
    prepare([SourcePiece(f"p{i}", f"p{i}", "emopia", "train" if i < 20 else "validation", "CC0", random_music(rng), PsychometricProfile(i % 2, rng.uniform(0.45, 0.55))) for i in range(24)], folder, copies=1)


def run_train(inputs, out): fit(inputs, out, TINY, resume=True, cpu=True, progress=False, checkpoint_minutes=0)


def steps_done(out):
    "The step of the checkpoint, which must be whole, and the model's name, once there is one."
    if not (out/"checkpoint.pt").exists(): return {}
    step = torch.load(out/"checkpoint.pt", weights_only=True)["state"]["step"]
    return dict(step=step, model=True) if (out/"model.safetensors").exists() else dict(step=step)


def train_end(out): return {name: comparable(out/name, out) for name in ("log.csv", "psychoscore.json", "checkpoint.pt", "model.safetensors", "config.json", "tokenizer.json")}


def make_music(folder):
    "Inputs: 96 MIDI files."
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(96): (folder/f"{i:03}.mid").write_bytes(midi_bytes(random_music(rng)))


def run_index(inputs, out):
    search.BATCH, search.SAVE_INTERVAL_S = 8, 0 # saved every 8 files, not every minute
    out.mkdir(exist_ok=True)
    search.index_folder(inputs, out/"pieces.parquet")


def files_known(out):
    "What an index holds, which must be whole."
    if not (out/"pieces.parquet").exists(): return {}
    return dict(zip((index := search.read_index(out/"pieces.parquet")).names, index.sha256, strict=True))


def index_end(out): return {"pieces.parquet": sha256(out/"pieces.parquet")}


class Subject(NamedTuple):
    make: object
    run: object
    done: object
    end: object


SUBJECTS = {"pipeline": Subject(make_emopia, run_pipeline, phases_done, without_seconds), "train": Subject(make_data, run_train, steps_done, train_end),
            "index": Subject(make_music, run_index, files_known, index_end)}


def work(name, inputs, out):
    torch.set_num_threads(1)
    psychoscore.checkpoint.find_commit = psychoscore.report.find_commit = lambda: None # a commit that is made meanwhile is no loss
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2) # bars
    SUBJECTS[name].run(inputs, out)


def start(*given):
    process = PROCESSES.Process(target=work, args=given)
    process.start()
    return process


def lost(before, after):
    "What was there, and is not there or less now."
    return [name for name, value in before.items() if name not in after or (after[name] < value if isinstance(value, int) else after[name] != value)]


def where(out):
    "What a kill has hit."
    if (state := out/"work"/"pipeline.json").exists():
        return next((name for name, entry in json.loads(state.read_text())["phases"].items() if "next" in entry), "between phases")
    return "before the first" if not list(out.rglob("*")) else "at work"


def kill_one(name, top, moments, rng):
    "Kill a subject so often; a row for the table."
    subject, inputs = SUBJECTS[name], top/"inputs"
    subject.make(inputs)
    starts = [time.perf_counter()]
    for alone in ("first", "alone"): # the first time also warms caches
        (top/alone).mkdir(); (process := start(name, inputs, top/alone)).join()
        assert process.exitcode == 0
        starts.append(time.perf_counter())
    seconds, expected = starts[2] - starts[1], subject.end(top/"alone")
    first = subject.end(top/"first")
    assert first == expected, f"two runs that are left alone differ: {', '.join(what for what in first | expected if first.get(what) != expected.get(what))}"
    kills, ends, failures, hit, before = 0, 0, [], Counter(), {}
    def fail(said): failures.append(said); print(f"\n{said}", flush=True)
    (out := top/"0").mkdir()
    while kills < moments or before:
        process = start(name, inputs, out)
        process.join(rng.uniform(0, seconds/2) if kills < moments else None)
        if process.exitcode is None:
            process.kill(); process.join()
            kills += process.exitcode == -signal.SIGKILL
            hit[where(out)] += 1
            after = subject.done(out)
            for what in lost(before, after): fail(f"{name}, kill {kills}: lost {what}: {before[what]}, {after.get(what)}")
            before = after
        if process.exitcode == 0:
            ends += 1
            end = subject.end(out)
            for what in expected:
                if end.get(what) != expected[what]: fail(f"{name}, end {ends}: {what} differs: {expected[what]}, {end.get(what)}")
            shutil.rmtree(out); before = {}
            (out := top/f"{ends}").mkdir()
        elif process.exitcode != -signal.SIGKILL: raise RuntimeError(f"{name} failed by itself in {out}: exit code {process.exitcode}")
        print(f"\r{name}: {kills} kills, {ends} ends, {len(failures)} failures", end="", flush=True)
    print()
    return dict(subject=name, seconds_alone=round(seconds, 1), kills=kills, came_to_their_end=ends, compared=len(expected), failures=len(failures),
                hit="; ".join(f"{place} {n}" for place, n in hit.most_common())), failures


def main():
    parser = make_parser(__doc__, "bench/kills.csv")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows, failures = [], []
    for name in options.only:
        with tempfile.TemporaryDirectory() as top:
            row, failed = kill_one(name, Path(top), options.moments, random.Random(options.seed))
        rows.append(row); failures += failed
    table = pd.DataFrame(rows)
    table.to_csv(options.out, index=False)
    print(table.to_string(index=False))
    raise SystemExit(bool(failures))


if __name__ == "__main__": run_script(main)
