"Training that is killed and resumed ends where it would have ended."
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import pytest
import torch

import psychoscore.checkpoint
import psychoscore.train
from psychoscore.dataset import DataMix
from psychoscore.model import ModelConfig
from psychoscore.checkpoint import find_commit
from psychoscore.train import due, fit
from psychoscore.train_config import ContrastConfig, TrainConfig

TINY = TrainConfig(dropout=0.1, model=ModelConfig(width=32, layers=2, heads=2, mlp_width=64, context=128), mix=DataMix(context=128, batch_tokens=512), contrast=ContrastConfig(rows=8, tokens=128),
                   max_steps=100, warmup_steps=5, log_interval=7, eval_interval=25)
# Processes that are forked from one that has imported everything: real ones, but there at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["psychoscore.train"])


def train(data, out, max_bytes=None, ctrl_c_at=None, in_thread=False, **options):
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler) # a shell that starts the tests in the background has them ignore Ctrl-C
    if max_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes)) # a disk that is full in the middle of a file
    if ctrl_c_at: press_ctrl_c(ctrl_c_at)
    if not in_thread: fit(data, out, TINY, resume=True, cpu=True, progress=False, **options)
    else: fit_in_thread(data, out, **options)


def press_ctrl_c(at):
    "Get a SIGINT during a step, as from the terminal."
    real, calls = psychoscore.train.train_step, itertools.count(1)
    def step(*given):
        call = next(calls)
        if call == at: os.kill(os.getpid(), signal.SIGINT)
        if call > at + 5: time.sleep(0.1) # in a thread, the run hears of it when the main thread has been awake
        return real(*given)
    psychoscore.train.train_step = step


def fit_in_thread(data, out, **options):
    "As a program with a window does: Ctrl-C reaches the main thread, which asks the other one to stop."
    stop = threading.Event()
    with ThreadPoolExecutor() as threads:
        run = threads.submit(fit, data, out, TINY, resume=True, cpu=True, progress=False, stop=stop, **options)
        try: run.result()
        except KeyboardInterrupt: stop.set()
        run.result()


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


def is_due(step): return due(step, TINY)[0]
def saved(out): return torch.load(out/"checkpoint.pt", weights_only=True)
def tensors(tree):
    if isinstance(tree, torch.Tensor): return [tree]
    return [t for v in (tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []) for t in tensors(v)]


def assert_same_run(a, b):
    logs = [pd.read_csv(out/"log.csv").drop(columns="seconds") for out in (a, b)]
    logs = [log[log["step"].map(is_due)].reset_index(drop=True) for log in logs] # where a run was stopped it was validated, too
    pd.testing.assert_frame_equal(*logs, check_exact=True)
    assert logs[0]["step"].iloc[-1] == TINY.max_steps
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in saved(out)["state"]["log"] if is_due(row["step"])] for out in (a, b)]
    assert rows[0] == rows[1] # every digit, which the CSV has not
    mine, theirs = ([*tensors(saved(out)["model"]), *tensors(saved(out)["optimizers"])] for out in (a, b))
    assert len(mine) > 40 and all(torch.equal(x, y) for x, y in zip(mine, theirs, strict=True))
    assert (a/"model.safetensors").read_bytes() == (b/"model.safetensors").read_bytes()
    assert sorted(p.name for p in a.iterdir()) == sorted(p.name for p in b.iterdir())


def test_tensorboard_has_the_curve_when_asked_for(data, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for asked in (False, True):
        fit(data, tmp_path/str(asked), replace(TINY, max_steps=4, log_interval=2, eval_interval=4), cpu=True, progress=False, tensorboard=asked)
        assert (tmp_path/str(asked)/"tensorboard").exists() == asked
    events = event_accumulator.EventAccumulator(str(tmp_path/"True"/"tensorboard")).Reload()
    log = pd.read_csv(tmp_path/"True"/"log.csv")
    for column in ("train_loss", "val_nats_per_note"):
        rows, shown = log.dropna(subset=column), events.Scalars(column)
        assert [e.step for e in shown] == rows.step.tolist() and [e.value for e in shown] == pytest.approx(rows[column].tolist(), rel=1e-4)


def test_tensorboard_that_is_not_there_is_told(data, tmp_path, monkeypatch):
    monkeypatch.setattr(psychoscore.train, "is_tensorboard_available", lambda: False)
    with pytest.raises(ValueError, match="pip install tensorboard"): fit(data, tmp_path/"out", TINY, cpu=True, tensorboard=True)
    assert not (tmp_path/"out").exists()


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
    shutil.rmtree(tmp_path/"saving", ignore_errors=True)
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


@pytest.fixture
def command(data, tmp_path):
    "A command that trains for hours, into `out`."
    config = dict(model=dict(width=32, layers=2, heads=2, mlp_width=64), contrast=dict(rows=8), max_steps=100_000, log_interval=1)
    (tmp_path/"tiny.json").write_text(json.dumps(config))
    options = {"--data": data, "--out": tmp_path/"out", "--config": tmp_path/"tiny.json"}
    return [sys.executable, "-m", "psychoscore", "train", *map(str, itertools.chain(*options.items()))]


def end(command, out, number):
    "Start a command, send it a signal once it has logged steps, and return exit code, stdout and stderr."
    def hear_ctrl_c(): signal.signal(signal.SIGINT, signal.SIG_DFL) # which tests in the background would ignore
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, **pipes, env=os.environ | dict(OMP_NUM_THREADS="1"), preexec_fn=hear_ctrl_c)
    log = out/"log.csv"
    while process.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 2): time.sleep(0.05)
    process.send_signal(number)
    return (*process.communicate(timeout=60), process.returncode)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_the_command(command, tmp_path, number, code):
    stdout, stderr, returned = end(command, tmp_path/"out", number)
    assert returned == code, stderr
    step = saved(tmp_path/"out")["state"]["step"]
    assert step >= 2 and f"stopped and saved at step {step} of 100000, since it was told to stop; the model in {tmp_path}/out is that of step" in stderr
    assert f"To go on: psychoscore train --resume --out {tmp_path}/out\n" in stderr
    assert "Traceback" not in stderr and stderr.count("stopped and saved") == 1
    assert ("train_loss" in stdout) == (number == signal.SIGTERM) # a person who has pressed Ctrl-C wants no table


@pytest.mark.parametrize("in_thread", [False, True])
def test_ctrl_c_loses_nothing(data, uninterrupted, tmp_path, in_thread):
    process = start(data, tmp_path, ctrl_c_at=10, in_thread=in_thread)
    process.join()
    step = saved(tmp_path)["state"]["step"]
    if in_thread: assert process.exitcode == 0 and 10 <= step < TINY.max_steps # it hears of it a little later
    else: assert (process.exitcode, step) == (1, 10)
    process = start(data, tmp_path)
    process.join()
    assert_same_run(uninterrupted, tmp_path)


def refusal(data, out):
    with pytest.raises(ValueError) as caught: fit(data, out, TINY, resume=True, cpu=True, progress=False)
    return str(caught.value)


def test_another_vocabulary_is_refused(data, uninterrupted, tmp_path):
    content = saved(uninterrupted)
    content["run"]["vocabulary"] = content["run"]["vocabulary"][:-1]
    torch.save(content, tmp_path/"checkpoint.pt")
    assert "another vocabulary" in refusal(data, tmp_path)


def lacking(*path):
    "Damage: the checkpoint without one of its entries."
    def damage(file):
        content = torch.load(file, weights_only=True)
        place = content
        for name in path[:-1]: place = place[name]
        del place[path[-1]]
        torch.save(content, file)
    return damage


@pytest.mark.parametrize("damage", [
    lambda file: file.write_bytes(file.read_bytes()[:-1000]), lambda file: file.write_bytes(file.read_bytes()[:1000]),
    lambda file: file.write_bytes(b""), lambda file: file.write_text("text"), lambda file: torch.save([1], file),
    *(lacking(name) for name in ("run", "state", "model", "optimizers")),
    lacking("run", "vocabulary"), lacking("model", "model.norm.weight"), lacking("optimizers", 1),
    lambda file: torch.save(torch.load(file, weights_only=True) | dict(state=dict(steps=3)), file)])
def test_a_damaged_file_is_refused_in_one_line(data, uninterrupted, tmp_path, damage):
    shutil.copy(uninterrupted/"checkpoint.pt", tmp_path)
    damage(tmp_path/"checkpoint.pt")
    assert refusal(data, tmp_path) == f"{tmp_path}/checkpoint.pt is damaged: delete it and start again"


def git(folder, *arguments):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize("place", ["psychoscore", ".venv/lib/site-packages/psychoscore"])
def test_another_repository_lends_no_commit(tmp_path, monkeypatch, place):
    "Neither where one works, nor where the package was copied to and even committed."
    package = tmp_path/place
    package.mkdir(parents=True)
    (package/"__init__.py").touch()
    git(tmp_path, "init"); git(tmp_path, "add", "--force", "."); git(tmp_path, "commit", "-m", "theirs")
    own = find_commit()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path/".git")) # as in their hooks
    assert find_commit() == own
    monkeypatch.setattr(psychoscore.checkpoint, "files", lambda name: package)
    assert find_commit() is None
    (tmp_path/"nbs").mkdir(); (tmp_path/"nbs"/"03_train.ipynb").touch()
    git(tmp_path, "add", "."); git(tmp_path, "commit", "-m", "a clone, as it looks to us")
    assert (find_commit() is not None) == (place == "psychoscore")
