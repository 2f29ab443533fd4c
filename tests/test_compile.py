"A run that is compiled, as it is on a GPU, compiles once and learns the same; no kernels are made here."
from dataclasses import replace

import pytest
import torch
from torch._dynamo.utils import counters

import psychoscore.train
from psychoscore.dataset import DataMix
from psychoscore.model import ModelConfig
from psychoscore.train import fit
from psychoscore.train_config import ContrastConfig, TrainConfig

SMALL = TrainConfig(model=ModelConfig(width=32, layers=2, heads=2, mlp_width=64, context=512), mix=DataMix(context=512, batch_tokens=2048), contrast=ContrastConfig(rows=8, tokens=128),
                    dropout=0.1, max_steps=30, warmup_steps=5, log_interval=1, eval_interval=10)


@pytest.fixture
def graphs(monkeypatch):
    "What is compiled: (graph, whether it is for training), in the order in which it is; what embeds may have a graph of its own."
    kept, real = [], torch.nn.Module.compile
    def keep(module, inputs):
        kept.append((module.graph, torch.is_grad_enabled()))
        return module.forward
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **how: real(module, backend=keep, **how))
    monkeypatch.setattr(psychoscore.train, "is_compiled", lambda device, config: True)
    counters.clear()
    yield kept
    torch.compiler.reset()


@pytest.fixture
def shapes(monkeypatch):
    "Of the batches that are read, compared rows included."
    seen, real = set(), psychoscore.train.hidden_states
    def hidden_states(model, ids):
        if model.training: seen.add(tuple(ids.shape))
        return real(model, ids)
    monkeypatch.setattr(psychoscore.train, "hidden_states", hidden_states)
    monkeypatch.setattr(psychoscore.train, "multiplies_bf16", lambda device: False) # or a CPU with bf16 takes another attention
    return seen


@pytest.fixture
def made(monkeypatch, graphs):
    "How many graphs for training there are after each step."
    counted, real = [], psychoscore.train.train_step
    def train_step(*given):
        losses = real(*given)
        counted.append(sum(is_training for _, is_training in graphs))
        return losses
    monkeypatch.setattr(psychoscore.train, "train_step", train_step)
    return counted


def attention(graphs):
    "The calls of torch's attention in what is compiled for training."
    return [node for graph, is_training in graphs if is_training for node in graph.nodes if "scaled_dot_product_attention" in str(node.target)]


def test_one_graph_takes_all_shapes(data, tmp_path, graphs, shapes, made, monkeypatch):
    compiled = fit(data, tmp_path/"compiled", SMALL, cpu=True, progress=False)
    assert len(shapes) >= 4 and set(made) == {made[0]} and made[0] >= 1 and not counters["graph_break"], (shapes, made)
    assert sum(not is_training for _, is_training in graphs) <= 2*made[0] # a batch of a single row is a case of its own
    calls = attention(graphs)
    assert len(calls) == SMALL.model.layers # of which a second graph would have more
    assert all(call.kwargs.get("is_causal") is True and call.kwargs.get("attn_mask") is None and len(call.args) == 3 for call in calls)
    monkeypatch.setattr(psychoscore.train, "is_compiled", lambda device, config: False)
    plain = fit(data, tmp_path/"plain", SMALL, cpu=True, progress=False)
    assert compiled.train_loss.tolist() == pytest.approx(plain.train_loss.tolist(), rel=1e-5)
    assert plain.train_loss.iloc[0] - plain.train_loss.iloc[-1] > 0.5 # it learnt something, so the losses could have differed


def test_what_transformers_does_by_itself_would_be_slow(data, tmp_path, graphs, shapes, monkeypatch):
    "Why attention is not torch's by way of transformers: once it is compiled, there is a mask."
    real = psychoscore.model.LlamaForCausalLM.set_attn_implementation
    monkeypatch.setattr(psychoscore.model.LlamaForCausalLM, "set_attn_implementation", lambda model, name: real(model, "sdpa"))
    fit(data, tmp_path, replace(SMALL, max_steps=1), cpu=True, progress=False)
    calls = attention(graphs)
    assert calls and all(call.kwargs["attn_mask"] is not None for call in calls)
