# SPDX-License-Identifier: Apache-2.0
"""Hash memory in models with hyper-connections (HC, mHC): against a form of its own in PyTorch, and from training on two ranks
through checkpoints to generation."""

import json
import os
import pathlib
import subprocess
import types

import braid_run
import h5py
import numpy as np
import pytest
import torch
from llama_torch import llama_block, llama_head
from memory_torch import Memory
from poc_model import PocModel, sinkhorn
from poc_torch import read_config
from torch.nn import functional as F

PROBE = pathlib.Path(os.path.dirname(braid_run.BRAID)) / "tests" / "model_probe"
CONFIG = braid_run.ROOT / "configs/mhc/demo_mhc.toml"
SMALL = ["model.layers=3", "model.width=24", "model.heads=6", "model.mlp_width=40", "model.vocabulary=19", "model.context=9", "model.attention=sdpa",
         "memory.layers=[0,2]", "memory.table_size=30", "memory.width=12", "memory.heads=3", "memory.trains_model=true"]  # fmt: skip


def poc_parts(model, weights):
    """Embedding, blocks and head of a model in PyTorch with braid's weights, which are leaves."""
    theirs = PocModel(model, published=True).double()
    d = model["width"]
    taken = {"positions": theirs.positions, "embedding.weight": theirs.embedding.weight, "head.weight": theirs.head.weight,
             "ln_f.weight": theirs.final_norm.weight, "ln_f.bias": theirs.final_norm.bias}  # fmt: skip
    leaves, of = {name: weights[name] for name in ("mix.pre", "mix.post", "mix.res")}, theirs.blocks
    separate = []
    for i, block in enumerate(of):
        attention = block.attention
        for name, part in {"ln1": block.ln1, "ln2": block.ln2, "ff1": block.ff1, "ff2": block.ff2, "attn.out": attention.out}.items():
            taken[f"blocks.{i}.{name}.weight"], taken[f"blocks.{i}.{name}.bias"] = part.weight, part.bias
        for kind in ("weight", "bias"):
            parts = [getattr(layer, kind) for layer in (attention.q, attention.k, attention.v)]
            separate.append((f"blocks.{i}.attn.in.{kind}", parts))
            for part, values in zip(parts, weights[f"blocks.{i}.attn.in.{kind}"].split(d), strict=True):
                part.data.copy_(values)
    for name, parameter in taken.items():
        parameter.data.copy_(weights[name])
    embed = lambda ids: theirs.embedding(ids) + theirs.positions[: len(ids)]  # noqa: E731
    gradients = lambda: {n: p.grad for n, p in (taken | leaves).items()} | {n: torch.cat([p.grad for p in parts]) for n, parts in separate}  # noqa: E731
    return types.SimpleNamespace(embed=embed, blocks=[lambda x, b=b: b(x[None])[0] for b in of], gradients=gradients,
                                 head=lambda x: theirs.head(theirs.final_norm(x)))  # fmt: skip


def llama_parts(model, weights):
    blocks = [lambda x, i=i: llama_block(x[None], weights, i, model)[0] for i in range(model["layers"])]
    return types.SimpleNamespace(embed=lambda ids: weights["embedding.weight"][ids], blocks=blocks, head=lambda x: llama_head(x, weights, model),
                                 gradients=lambda: {n: w.grad for n, w in weights.items() if not n.startswith("memory.")})  # fmt: skip


def logits_of(parts, model, weights, memory, ids):
    """[T, V] of one text: the streams of each block are mixed by matrices, and the memory writes to each before."""
    streams = parts.embed(ids)[:, None].expand(-1, memory.streams, -1)
    for layer, block in enumerate(parts.blocks):
        if layer in memory.form["layers"]:
            index = memory.form["layers"].index(layer)
            streams = streams + torch.stack([memory.added(index, ids, streams[:, s], s) for s in range(memory.streams)], 1)
        pre, post, res = (weights[f"mix.{part}"][layer] for part in ("pre", "post", "res"))
        mixing = res.exp() if model["residual"] == "hc" else sinkhorn(res, model["sinkhorn_iterations"])
        written = block((pre.softmax(-1) @ streams).mean(1))
        streams = mixing @ streams + post.softmax(-1).sum(0)[:, None] * written[:, None]
    return parts.head(streams.mean(1))


def memory_of(config, weights, folder):
    form = json.loads((folder / "memory_config.json").read_text())
    memory = Memory(form, config["width"], config["vocabulary"], streams=form["streams"])
    memory.take(weights, folder)
    return memory


VARIANTS = {"hc": ["model.residual=hc", "memory.gate=plain"], "one stream": ["model.streams=1", "memory.max_order=2"],
            "llama": ["model.dialect=llama", "model.kv_heads=2", "model.streams=3", "memory.layers=[1]"]}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_loss_and_every_gradient_are_those_of_pytorch(tmp_path, variant):
    words = [word for assignment in SMALL + VARIANTS[variant] for word in ("--set", assignment)]
    command = [PROBE, "--config", CONFIG, "--out", tmp_path / "probe.h5", "--perturb", "0.3", "--packed", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "probe.h5", "r") as f:
        read = lambda name: torch.from_numpy(f[name][()])  # noqa: E731
        tokens, targets, segments = (read(name).long() for name in ("tokens", "targets", "segments"))
        found, loss = read("logits"), float(f["loss"][()])
        weights, gradients = ({name: read(f"{group}/{name}") for name in f[group]} for group in ("weights", "grads"))
    weights = {name: w.requires_grad_() for name, w in weights.items()}
    model = read_config(CONFIG, SMALL + VARIANTS[variant])["model"]
    memory = memory_of(model, weights, tmp_path / "probe.h5.memory")
    parts = (llama_parts if model["dialect"] == "llama" else poc_parts)(model, weights)
    rows = []
    for row, texts in zip(tokens, segments, strict=True):  # each text by itself
        pieces = row.split(torch.unique_consecutive(texts, return_counts=True)[1].tolist())
        assert len(pieces) == 2
        rows.append(torch.cat([logits_of(parts, model, weights, memory, piece) for piece in pieces]))
    logits = torch.stack(rows)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    expected.backward()
    assert (found - logits).abs().max() < 1e-9 and loss == pytest.approx(expected.item(), abs=1e-10)
    theirs = parts.gradients() | memory.named(lambda p: p.grad)
    assert theirs.keys() == gradients.keys()
    for name, gradient in theirs.items():
        error = (gradients[name] - gradient).abs().max()
        assert error < 1e-8 * gradient.abs().max() + 1e-14, name
        alone = name == "mix.pre" or name == "mix.post" or name == "mix.res"
        assert gradient.abs().max() > 1e-7 or (alone and memory.streams == 1), name


RUN = ["model.dialect=llama", "model.layers=2", "model.width=32", "model.mlp_width=48", "model.heads=4", "model.context=16", "model.vocabulary=64",
       "data.kind=copy", "train.batch=4", "train.steps=6", "optim.schedule=constant", "train.log_every=100", "checkpoint.every=3",
       "memory.layers=[0,1]", "memory.table_size=50", "memory.width=16", "memory.heads=2", "memory.trains_model=true"]  # fmt: skip


def braid(*words):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    done = subprocess.run([braid_run.BRAID, *map(str, words)], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stored(run):
    with h5py.File(run / "checkpoints/step-00000006/manifest.h5", "r") as f:
        model, names = f["view/model"], []
        model.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        return {name: torch.from_numpy(model[name][()]).double() for name in names}


def test_a_run_goes_from_two_ranks_through_checkpoints_to_generation(tmp_path):
    one = braid_run.train(CONFIG, tmp_path / "one", *RUN)
    braid_run.train(CONFIG, tmp_path / "two", *RUN, "train.steps=3", ranks=2)
    two = braid_run.train(CONFIG, tmp_path / "two", *RUN, ranks=1)
    assert len(two["loss"]) == 6 and np.abs(two["loss"] / one["loss"] - 1).max() < 1e-5
    assert np.abs(two["grad_norm"] / one["grad_norm"] - 1).max() < 1e-4

    weights = stored(tmp_path / "one")
    plan = braid("train", CONFIG, "--out", tmp_path / "no", "--dry-run", *[word for s in RUN for word in ("--set", s)])
    assert f"parameters   {sum(w.numel() for w in weights.values())}\n" in plan

    braid("checkpoint", "export", tmp_path / "one", "--memory", tmp_path / "memory")
    model = read_config(CONFIG, RUN)["model"]
    memory = memory_of(model, weights, tmp_path / "memory")
    ids, parts = [3, 1, 4, 1, 5], llama_parts(model, weights)
    for name, values in memory.named().items():
        assert values.abs().max() > 0, name  # it has learned something of every kind
    with torch.no_grad():
        for _ in range(6):
            ids.append(int(logits_of(parts, model, weights, memory, torch.tensor(ids))[-1].argmax()))
    shown = braid("generate", "--run", tmp_path / "one", "--ids", "3,1,4,1,5", "--max-new-tokens", 6, "--device", "cpu")
    assert [int(word) for word in shown.split(",")] == ids[5:]
