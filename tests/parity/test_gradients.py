# SPDX-License-Identifier: Apache-2.0
"""One forward and backward pass of braid in float64, repeated in PyTorch from the same weights: logits, loss and the
gradient of every parameter."""

import os
import subprocess

import braid_run
import h5py
import pytest
import torch
from llama_torch import llama_logits
from poc_model import PocModel
from poc_torch import read_config
from torch.nn import functional as F

PROBE = os.path.join(os.path.dirname(braid_run.BRAID), "tests", "model_probe")
CONFIG = braid_run.ROOT / "configs/mhc/demo_mhc.toml"
SMALL = ["model.layers=3", "model.width=24", "model.heads=6", "model.mlp_width=40", "model.vocabulary=19", "model.context=9"]


def probe(out, overrides, dtype="float64"):
    command = [PROBE, "--config", str(CONFIG), "--out", str(out), "--dtype", dtype, "--perturb", "0.2"]
    for assignment in overrides:
        command += ["--set", assignment]
    assert os.access(PROBE, os.X_OK), f"{PROBE} is missing: build target model_probe, set BRAID_BUILD to the build folder"
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with h5py.File(out, "r") as f:
        grab = lambda group: {k: torch.from_numpy(v[()]) for k, v in f[group].items()}  # noqa: E731
        return {k: torch.from_numpy(f[k][()]) if f[k].shape else float(f[k][()]) for k in ("tokens", "targets", "logits", "loss")} | {
            "weights": grab("weights"), "grads": grab("grads")}  # fmt: skip


def compare(ours, logits, theirs, tolerance=1e-10, relative=1e-9):
    """PyTorch's half is always float64. `relative`: of a gradient's largest entry."""
    loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ours["targets"].long().reshape(-1))
    loss.backward()
    assert (ours["logits"] - logits).abs().max() < tolerance
    assert ours["loss"] == pytest.approx(loss.item(), abs=tolerance)
    assert set(theirs) == set(ours["grads"])
    for name, parameter in theirs.items():
        largest = parameter.grad.abs().max()
        assert largest > 1e-6, name  # a gradient that is alive
        assert (parameter.grad - ours["grads"][name]).abs().max() < relative * largest, name


@pytest.mark.parametrize("attention", ["standard", "sdpa"])
@pytest.mark.parametrize("kv_heads, tied, theta, eps", [(6, False, 1e4, 1e-5), (2, False, 5e5, 1e-2), (3, True, 1e3, 1e-6)])
def test_llama_dialect(tmp_path, attention, kv_heads, tied, theta, eps):
    overrides = SMALL + ["model.dialect=llama", "model.residual=residual", f"model.attention={attention}",
                         f"model.kv_heads={kv_heads}", f"model.tie_embeddings={str(tied).lower()}",
                         f"model.rope_theta={theta}", f"model.norm_epsilon={eps}"]  # fmt: skip
    ours = probe(tmp_path / "probe.h5", overrides)
    weights = {k: v.clone().requires_grad_() for k, v in ours["weights"].items()}
    logits = llama_logits(weights, ours["tokens"].long(), read_config(CONFIG, overrides)["model"])
    compare(ours, logits, weights)


def poc_parameters(model):
    """braid's names for the parameters of our PyTorch model with standard attention."""
    names = {"positions": model.positions, "embedding.weight": model.embedding.weight, "ln_f.weight": model.final_norm.weight,
             "ln_f.bias": model.final_norm.bias, "head.weight": model.head.weight}  # fmt: skip
    for i, block in enumerate(model.blocks):
        attention = block.attention.inner
        parts = {"ln1": block.ln1, "ln2": block.ln2, "ff1": block.ff1, "ff2": block.ff2, "attn.out": attention.out_proj}
        for name, module in parts.items():
            names[f"blocks.{i}.{name}.weight"], names[f"blocks.{i}.{name}.bias"] = module.weight, module.bias
        names[f"blocks.{i}.attn.in.weight"], names[f"blocks.{i}.attn.in.bias"] = attention.in_proj_weight, attention.in_proj_bias
    if model.residual != "residual":
        names |= {"mix.pre": model.pre, "mix.post": model.post, "mix.res": model.res}
    return names


@pytest.mark.parametrize("published", [False, True], ids=["vectors", "matrices"])
@pytest.mark.parametrize("residual", ["residual", "hc", "mhc"])
def test_poc_dialect(tmp_path, residual, published):
    compare(*both_poc(tmp_path, residual, published, "float64"))


@pytest.mark.parametrize("residual", ["residual", "hc", "mhc"])
def test_poc_dialect_in_fp32(tmp_path, residual):
    """float64 runs on the lowest instruction set alone; this passes through the kernels' AVX code."""
    compare(*both_poc(tmp_path, residual, False, "float32"), tolerance=1e-5, relative=5e-4)


def both_poc(tmp_path, residual, published, dtype):
    overrides = SMALL + [f"model.residual={residual}"]
    ours = probe(tmp_path / "probe.h5", overrides, dtype)
    model = PocModel(read_config(CONFIG, overrides)["model"], published).double()
    theirs = poc_parameters(model)
    with torch.no_grad():
        for name, parameter in theirs.items():
            parameter.copy_(ours["weights"][name])
    return ours, model(ours["tokens"].long()), theirs
