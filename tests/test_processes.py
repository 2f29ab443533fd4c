"Two processes that share each batch train as one does."
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch


# Dropout is off: its masks differ between processes, as they should.
TINY = dict(model=dict(width=32, layers=2, heads=2, mlp_width=64, context=128), mix=dict(context=128, batch_tokens=512), contrast=dict(weight=1.0, rows=8, tokens=128), dropout=0,
            max_steps=30, warmup_steps=5, log_interval=5, eval_interval=15)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def train(data, out, n_processes, *options):
    # --multi_gpu: without it `accelerate launch` starts a single process where there is no GPU
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", n_processes, "--num_machines", 1, "--mixed_precision", "no",
              "--dynamo_backend", "no", "--main_process_port", free_port()] if n_processes > 1 else []
    config = out.parent/"tiny.json"
    config.write_text(json.dumps(TINY))
    command = [sys.executable, *launch, "-m", "psychoscore", "train", "--data", data, "--out", out, "--config", config, *options]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=1200, env=os.environ | dict(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES=""))
    assert result.returncode == 0, result.stderr
    return result.stderr


def weights(out): return torch.load(out/"checkpoint.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("one")/"out"
    train(data, out, 1)
    return out


def test_two_processes_give_the_curve_of_one(data, one, tmp_path):
    out = tmp_path/"out"
    train(data, out, 2)
    logs = [pd.read_csv(o/"log.csv") for o in (one, out)]
    assert logs[0]["step"].tolist() == logs[1]["step"].tolist() == [5, 10, 15, 20, 25, 30]
    assert logs[0]["tokens"].tolist() == logs[1]["tokens"].tolist() # the same batches
    for column in ("train_loss", "contrastive_loss", "val_loss", "val_nats_per_note"):
        np.testing.assert_allclose(logs[1][column], logs[0][column], rtol=2e-3) # sums in another order, in bf16
    drop = logs[0]["train_loss"].iloc[0] - logs[0]["train_loss"].iloc[-1]
    assert drop > 0.5, drop # it learnt something, so the curves could have differed


def test_two_processes_stop_and_go_on_together(data, one, tmp_path):
    out = tmp_path/"out"
    assert "stopped and saved at step 5 of 30" in train(data, out, 2, "--max-minutes", 0)
    train(data, out, 2, "--resume")
    logs = [pd.read_csv(o/"log.csv") for o in (one, out)]
    np.testing.assert_allclose(logs[1]["train_loss"], logs[0]["train_loss"], rtol=2e-3)
