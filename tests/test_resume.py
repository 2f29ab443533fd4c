"Training that is killed and resumed ends where it would have ended."
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

from psychoscore.dataset import DataMix
from psychoscore.model import ModelConfig
from psychoscore.train import ContrastConfig, TrainConfig, fit

TINY = TrainConfig(dropout=0.1, model=ModelConfig(width=32, layers=2, heads=2, mlp_width=64, context=128), mix=DataMix(context=128, batch_tokens=512), contrast=ContrastConfig(rows=8, tokens=128),
                   max_steps=100, warmup_steps=5, log_interval=7, eval_interval=25)
# Processes that are forked from one that has imported everything: real ones, but there at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["psychoscore.train"])


def train(data, out, max_bytes=None, **options):
    torch.set_num_threads(1)
    if max_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes)) # a disk that is full in the middle of a file
    fit(data, out, TINY, resume=True, cpu=True, progress=False, **options)


def start(*args, **options):
    process = PROCESSES.Process(target=train, args=args, kwargs=options)
    process.start()
    return process


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted")
    process = start(data, out)
    process.join()
    assert process.exitcode == 0
    return out


def saved(out): return torch.load(out/"checkpoint.pt", weights_only=True)
def tensors(tree):
    if isinstance(tree, torch.Tensor): return [tree]
    return [t for v in (tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []) for t in tensors(v)]


def assert_same_run(a, b):
    logs = [pd.read_csv(out/"log.csv").drop(columns="seconds") for out in (a, b)]
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    assert logs[0]["step"].iloc[-1] == TINY.max_steps
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in saved(out)["state"]["log"]] for out in (a, b)]
    assert rows[0] == rows[1] # every digit, which the CSV has not
    mine, theirs = ([*tensors(saved(out)["model"]), *tensors(saved(out)["optimizers"])] for out in (a, b))
    assert len(mine) > 40 and all(torch.equal(x, y) for x, y in zip(mine, theirs, strict=True))
    assert (a/"model.safetensors").read_bytes() == (b/"model.safetensors").read_bytes()
    assert sorted(p.name for p in a.iterdir()) == sorted(p.name for p in b.iterdir())


def test_tensorboard_has_the_curve(uninterrupted):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = event_accumulator.EventAccumulator(str(uninterrupted/"tensorboard")).Reload()
    log = pd.read_csv(uninterrupted/"log.csv")
    for column in ("train_loss", "val_nats_per_note"):
        rows, shown = log.dropna(subset=column), events.Scalars(column)
        assert [e.step for e in shown] == rows.step.tolist() and [e.value for e in shown] == pytest.approx(rows[column].tolist(), rel=1e-4)


def wait_for_checkpoints(process, path, n):
    "Return when the file has been replaced n times, or the process is gone; counted in steps, so that a busy machine changes nothing."
    seen = before = path.stat().st_ino if path.exists() else None
    while n and process.is_alive():
        time.sleep(0.002)
        seen = path.stat().st_ino if path.exists() else None
        if seen != before: n, before = n - 1, seen


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(data, uninterrupted, tmp_path, seed):
    rng, reached = random.Random(seed), []
    while True:
        process = start(data, tmp_path, checkpoint_minutes=0) # it saves after every step, so that some kills hit a file being written
        wait_for_checkpoints(process, tmp_path/"checkpoint.pt", rng.randint(1, 25))
        process.join(rng.uniform(0, 0.05))
        if process.exitcode == 0: break
        assert process.exitcode is None, "it failed by itself"
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        reached.append(saved(tmp_path)["state"]["step"])
    assert len(reached) >= 4 and reached[0] < reached[-1], reached
    for name in tmp_path.glob("*.partial"): name.unlink() # SIGKILL leaves the file that it hit
    if (tmp_path/"saving").exists(): (tmp_path/"saving").rmdir()
    assert_same_run(uninterrupted, tmp_path)


def test_full_disk_leaves_the_last_checkpoint(data, uninterrupted, tmp_path):
    process = start(data, tmp_path, max_minutes=0)
    process.join()
    before = (tmp_path/"checkpoint.pt").read_bytes()
    assert saved(tmp_path)["state"]["step"] == 1
    process = start(data, tmp_path, max_bytes=len(before)//2, checkpoint_minutes=0)
    process.join()
    assert process.exitcode == 1
    assert (tmp_path/"checkpoint.pt").read_bytes() == before and not list(tmp_path.glob("*.partial"))
    process = start(data, tmp_path)
    process.join()
    assert_same_run(uninterrupted, tmp_path)


def test_sigterm_saves_and_returns(data, tmp_path):
    config = tmp_path/"tiny.json"
    config.write_text(json.dumps(dict(model=dict(width=32, layers=2, heads=2, mlp_width=64), contrast=dict(rows=8), max_steps=100_000, log_interval=1)))
    command = [sys.executable, "-m", "psychoscore.train", "--data", data, "--out", tmp_path/"out", "--config", config]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=os.environ | dict(OMP_NUM_THREADS="1"))
    log = tmp_path/"out"/"log.csv"
    while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 2): time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 0, stderr
    step = saved(tmp_path/"out")["state"]["step"]
    assert step >= 2 and f"stopped and saved at step {step} of 100000: resume to go on" in stderr


def refusal(data, out):
    with pytest.raises(ValueError) as caught: fit(data, out, TINY, resume=True, cpu=True, progress=False)
    return str(caught.value)


def test_another_vocabulary_or_a_damaged_file_is_refused(data, uninterrupted, tmp_path):
    content = saved(uninterrupted)
    content["run"]["vocabulary"] = content["run"]["vocabulary"][:-1]
    torch.save(content, tmp_path/"checkpoint.pt")
    assert "another vocabulary" in refusal(data, tmp_path)
    (tmp_path/"checkpoint.pt").write_bytes((uninterrupted/"checkpoint.pt").read_bytes()[:-1000])
    assert "damaged: delete it" in refusal(data, tmp_path)
