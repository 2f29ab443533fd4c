"""What is left of a run after each way to end it: `python tests/test_stops.py` writes reports/bench/stops.csv.

Each run is a process of its own. It is resumed with nothing but its folder, and is to end as one that was never stopped.
"""
import itertools
import json
import multiprocessing
import os
import resource
import signal
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import psychoscore.train
from psychoscore.dataset import DataMix, SourcePiece, prepare
from psychoscore.model import ModelConfig, load_model, make_model, save_model
from psychoscore.notes import make_notes
from psychoscore.profile import PsychometricProfile
from psychoscore.checkpoint import CHECKPOINT
from psychoscore.train import fit
from psychoscore.train_config import ContrastConfig, TrainConfig

CONFIG = TrainConfig(model=ModelConfig(width=32, layers=1, heads=2, mlp_width=64, context=128),
                     mix=DataMix(context=128, batch_tokens=512), contrast=ContrastConfig(rows=0),
                     max_steps=40, warmup_steps=2, log_interval=5, eval_interval=20)
FILES = {"checkpoint.pt", "config.json", "generation_config.json", "log.csv", "model.safetensors", "psychoscore.json",
         "tokenizer.json"}
STOPPED_AT = 27 # After the validation at 20, between two rows of the log

# Processes that are forked from one that has imported everything: real ones, but there at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["psychoscore.train"])


def train_until(how: str, data: Path, out: Path, said: "Path|None" = None):
    "Train, and have something happen at a step; stderr goes to a file."
    torch.set_num_threads(1)
    if said: os.dup2(os.open(said, os.O_WRONLY|os.O_CREAT), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler) # tests in the background would ignore it
    real, real_clock = psychoscore.train.train_step, time.perf_counter
    stop, calls = threading.Event(), itertools.count(1)
    def happen():
        if how.startswith("SIG"): os.kill(os.getpid(), getattr(signal, how))
        if how == "thread": threading.Timer(0, stop.set).start()
        if how in ("thread", "interrupt"): print("now", flush=True); stop.wait(60)
        if how == "minutes": time.perf_counter = lambda: real_clock() + 1e6 # the clock jumps, however fast this machine is
        if how == "disk": resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    def step(*given):
        if next(calls) == STOPPED_AT: happen()
        return real(*given)
    psychoscore.train.train_step = step
    try: fit(data, out, CONFIG, cpu=True, stop=stop, max_minutes=60)
    finally: psychoscore.train.train_step, time.perf_counter = real, real_clock


def random_piece(i: int, source: str, split: str) -> SourcePiece:
    pitch = np.random.default_rng(i).integers(50, 80, 60)
    notes = make_notes(np.arange(60)/4, np.full(60, 0.25), pitch, 64)
    return SourcePiece(f"{i}", f"{i}", source, split, "CC0", notes, PsychometricProfile(i % 2, 0.5))


WAYS = {"steps": "all steps are made", "minutes": "--max-minutes", "SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM",
        "thread": "event set by a thread", "interrupt": "interrupted kernel", "disk": "full disk", "SIGKILL": "SIGKILL"}


def end(how: str, data: Path, out: Path) -> tuple[int, str]: # Exit code and stderr
    "Train in a process of its own until something happens."
    if how == "interrupt": return end_kernel(data, out)
    said = out.with_suffix(".said")
    process = PROCESSES.Process(target=train_until, args=(how, data, out, said))
    process.start(); process.join()
    return process.exitcode, said.read_text()


def end_kernel(data: Path, out: Path) -> tuple[int, str]:
    "The same in a Jupyter kernel, whose stop button is pressed; it lives on, and can resume."
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3", startup_timeout=300)
    said = []
    def hear(message):
        said.append(message["content"].get("text", ""))
        if said[-1].startswith("now"): kernel.interrupt_kernel()
    def ask(code): return client.execute_interactive(code, output_hook=hear, timeout=600)["content"]
    try:
        ask(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_stops import *")
        reply = ask(f"train_until('interrupt', Path({str(data)!r}), Path({str(out)!r}))")
        step = ask(f"print('step', torch.load(Path({str(out)!r})/CHECKPOINT, weights_only=True)['state']['step'])")
    finally: client.stop_channels(); kernel.shutdown_kernel(now=True)
    assert reply.get("ename") == "KeyboardInterrupt" and step["status"] == "ok", (reply, step, said)
    return 1, "".join(said)


def saved_step(out: Path) -> int: return torch.load(out/CHECKPOINT, weights_only=True)["state"]["step"]


def left_after(how: str, data: Path, out: Path) -> tuple[dict, int, str]: # What is left, the exit code, what was said
    "End a run, and look at its folder as somebody would who wants to use it."
    code, said = end(how, data, out)
    row = dict(ended_by=WAYS[how], at_step=40 if how == "steps" else STOPPED_AT)
    row |= dict(model_of_step=load_model(out)[1]["step"], goes_on_from_step=saved_step(out), told="the model in" in said)
    return row, code, said


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    "Weights of a run that is not stopped."
    out = tmp_path_factory.mktemp("alone")/"out"
    assert end("never", data, out)[0] == 0
    return torch.load(out/CHECKPOINT, weights_only=True)["model"]


EXPECTED = { # Exit code of the process, and step that it goes on from
    "steps": (0, 40), "minutes": (0, 27), "SIGTERM": (0, 27), "thread": (0, 27), "SIGINT": (1, 27), "interrupt": (1, 27),
    "disk": (1, 20), "SIGKILL": (-9, 20)}


@pytest.mark.parametrize("how", EXPECTED)
def test_every_stop_leaves_a_model_and_goes_on(data, alone, tmp_path, how):
    out = tmp_path/"out"
    row, code, said = left_after(how, data, out)
    assert (code, row["goes_on_from_step"]) == EXPECTED[how], said
    assert row["model_of_step"] in (20, row["goes_on_from_step"]), said # the better of the two that were validated
    assert row["told"] == (how not in ("disk", "SIGKILL")), said
    why = "its minutes are over" if how == "minutes" else "it was told to stop"
    assert (f"stopped and saved at step 27 of 40, since {why}" in said) == (row["goes_on_from_step"] == 27)
    if how == "disk": assert "(File too large), the one before it is whole: make room and resume" in said
    if how != "SIGKILL": assert {path.name for path in out.iterdir()} == FILES
    process = PROCESSES.Process(target=resume, args=[out])
    process.start(); process.join()
    weights = torch.load(out/CHECKPOINT, weights_only=True)["model"]
    assert all(torch.equal(weights[name], alone[name]) for name in alone)


def resume(out):
    torch.set_num_threads(1)
    fit(None, out, resume=True, cpu=True, progress=False)


# A folder says what its run is


@pytest.fixture
def stopped(data, tmp_path):
    fit(data, tmp_path/"out", CONFIG, cpu=True, progress=False, max_minutes=0)
    return tmp_path/"out"


def test_resume_needs_the_folder_alone(command, data, stopped, tmp_path):
    result = command("train", "--resume", "--out", stopped, "--max-steps", 8)
    assert result.returncode == 0 and "all 8 steps are made; the model in" in result.stderr, result.stderr
    assert "\r" not in result.stderr # no bar where nobody sees one
    assert pd.read_csv(stopped/"log.csv").step.tolist() == [1, 5, 8] and "val_loss" in result.stdout
    assert command("train", "--resume", "--out", stopped, "--max-steps", 10).returncode == 0 # more steps
    assert torch.load(stopped/CHECKPOINT, weights_only=True)["state"]["step"] == 10


def test_data_that_has_moved_is_given_again(command, data, stopped, tmp_path):
    saved = torch.load(stopped/CHECKPOINT, weights_only=True)
    torch.save(saved | dict(run=saved["run"] | dict(data=str(tmp_path/"gone"))), stopped/CHECKPOINT)
    result = command("train", "--resume", "--out", stopped)
    assert result.returncode == 2
    assert f"no longer where it was ({tmp_path}/gone): say where it is (--data)" in result.stderr
    assert command("train", "--resume", "--out", stopped, "--data", data, "--max-steps", 3).returncode == 0
    assert command("train", "--resume", "--out", stopped, "--max-steps", 4).returncode == 0 # known from now on
    other = tmp_path/"other"
    prepare([random_piece(i, "own", "validation" if i else "train") for i in range(2)], other, copies=1)
    result = command("train", "--resume", "--out", stopped, "--data", other)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert f"{other} does not hold the data that it was trained on" in result.stderr and "sha256" not in result.stderr and f"--init {stopped} and another --out" in result.stderr


def test_what_makes_another_run_is_refused_with_the_way_out(command, stopped):
    result = command("train", "--resume", "--out", stopped, "--seed", 5)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "config.seed was 0, is 5" in result.stderr and f"--init {stopped} and another --out" in result.stderr
    assert torch.load(stopped/CHECKPOINT, weights_only=True)["state"]["step"] == 1


def test_a_folder_of_something_else_is_refused(command, data, tmp_path):
    names = ("a.mid", "b.mid", "config.json", "notes.txt")
    for name in names: (tmp_path/name).write_bytes(b"mine")
    for options in ([], ["--resume"]):
        result = command("train", "--data", data, "--out", tmp_path, *options)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert "files that `psychoscore train` has not written, a.mid, b.mid, config.json and 1 more: choose another folder" in result.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(names, b"mine")


@pytest.mark.parametrize("there", [False, True])
def test_a_start_that_fails_leaves_no_trace(data, tmp_path, monkeypatch, there):
    out = tmp_path/"runs"/"out"
    if there: out.mkdir(parents=True); (out/".keep").touch()
    def fails(*given): raise RuntimeError("not enough memory: you tried to allocate memory")
    monkeypatch.setattr(psychoscore.train, "train_step", fails)
    with pytest.raises(MemoryError): fit(data, out, CONFIG, cpu=True, progress=False)
    assert [path.name for path in tmp_path.rglob("*")] == (["runs", "out", ".keep"] if there else [])


def test_a_run_that_diverges_keeps_the_checkpoint_before(data, tmp_path, monkeypatch):
    fit(data, tmp_path/"out", CONFIG, cpu=True, progress=False, max_minutes=0)
    monkeypatch.setattr(psychoscore.train, "train_step", lambda *given: torch.tensor([float("nan")]*2))
    with pytest.raises(FloatingPointError): fit(None, tmp_path/"out", resume=True, cpu=True, progress=False)
    assert torch.load(tmp_path/"out"/CHECKPOINT, weights_only=True)["state"]["step"] == 1


# From weights that are there


@pytest.fixture
def start(tmp_path):
    "A model to go on from."
    save_model(make_model(CONFIG.model), tmp_path/"start", dict(key_relative=True))
    return tmp_path/"start"


def finetune(data, start, out, **changes):
    config = replace(CONFIG, init=str(start), validate_start=True, patience=2, eval_interval=5, **changes)
    return fit(data, out, config, cpu=True)


def test_a_run_that_never_gets_better_keeps_the_start(data, start, tmp_path, capsys, monkeypatch):
    scores = psychoscore.train.evaluate
    steps = iter(range(100)) # the second time it is called, and ever after, the model has become worse
    def worse(model, data, **options):
        found = scores(model, data, **options)
        return found if options else found.assign(note_nats=found.note_nats + 100*found.notes*next(steps))
    monkeypatch.setattr(psychoscore.train, "evaluate", worse)
    log = finetune(data, start, tmp_path/"out", max_steps=100)
    assert log.step.tolist() == [0, 5, 10] and log.val_nats_per_note.is_monotonic_increasing
    model, about = load_model(tmp_path/"out")
    assert about["step"] == 0
    before = load_model(start)[0].state_dict()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    said = capsys.readouterr().err
    assert "2 evaluations in a row were no better; the model in" in said
    assert "No step was better than the weights it began with, so they are the model" in said
    assert fit(None, tmp_path/"out", resume=True, cpu=True, progress=False).step.max() == 10 # it is over


def test_a_run_that_gets_better_says_by_how_much(data, start, tmp_path, capsys):
    log = finetune(data, start, tmp_path/"out", max_steps=10, muon_lr=0.01, adamw_lr=0.01)
    assert load_model(tmp_path/"out")[1]["step"] == 10
    low, high = log.val_nats_per_note.iloc[-1], log.val_nats_per_note.iloc[0]
    said = capsys.readouterr().err
    assert f"{low:.3f} nats per note on 4 validation songs, {low - high:+.3f} to the start (95 % interval over songs" in said


def test_few_songs_are_told(data, start, tmp_path):
    with pytest.warns(UserWarning, match="4 songs validate: with fewer than 10, .*prepare --fold 1/5"):
        finetune(data, start, tmp_path/"out", max_steps=1)


def test_a_wrong_configuration_says_what_there_is(command, data, tmp_path):
    for wrong, says in (
            ({"max_step": 3}, "max_step is no field of TrainConfig (did you mean max_steps?): its fields are model, mix, contrast"),
            ({"dropout": "much"}, "dropout must be a number in [0, 1], got 'much'"),
            ({"mix": {"null_rate": 2}}, "mix.null_rate must be a number in [0, 1], got 2"),
            ({"optimizer": "sgd"}, "optimizer must be one of muon, adamw, got 'sgd'"),
            ({"model": 5}, "model must be an object with the fields (width, layers, ")):
        (tmp_path/"own.json").write_text(json.dumps(wrong))
        result = command("train", "--data", data, "--config", tmp_path/"own.json", "--out", tmp_path/"out")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert f"own.json: {says}" in result.stderr
    result = command("train", "--data", data, "--config", "finetun", "--out", tmp_path/"out")
    assert "no configuration finetun (did you mean finetune?)" in result.stderr and not (tmp_path/"out").exists()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        prepare([random_piece(i, "emopia", "validation" if i > 20 else "train") for i in range(24)], f"{folder}/data", copies=1)
        rows = [left_after(how, Path(folder)/"data", Path(folder)/how)[0] for how in WAYS]
    pd.DataFrame(rows).to_csv(Path(__file__).parent.parent/"reports"/"bench"/"stops.csv", index=False)
    print(pd.DataFrame(rows).to_string(index=False))
