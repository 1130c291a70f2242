# SPDX-License-Identifier: Apache-2.0
"""HC and mHC in the form of their papers: logits, loss and every gradient against PyTorch in double, and training on any
number of ranks, in micro-batches, recomputed and in bf16."""

import braid_run
import numpy as np
import paper_torch
import pytest
from poc_torch import read_config
from test_gradients import CONFIG, SMALL, compare, probe

PAPER = ["model.connection_form=paper", "model.attention=sdpa"]
LLAMA = ["model.dialect=llama", "model.kv_heads=2"]
VARIANTS = {
    "mhc": ["model.residual=mhc", "model.sinkhorn_iterations=7"],
    "mhc of 8": ["model.residual=mhc", "model.streams=8", "model.stream_exit=learned"],
    "mhc, llama": ["model.residual=mhc", "model.streams=2", "model.stream_exit=mean", *LLAMA],
    "permutations": ["model.residual=mhc", "model.manifold=permutations"],
    "permutations, llama": ["model.residual=mhc", "model.manifold=permutations", "model.streams=3", *LLAMA],
    "hc": ["model.residual=hc"],
    "hc, llama": ["model.residual=hc", "model.streams=2", "model.stream_exit=learned", *LLAMA],
}


@pytest.mark.parametrize("dtype, tolerance, relative", [("float64", 1e-10, 1e-9), ("float32", 3e-5, 1e-3)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_loss_and_every_gradient_are_those_of_pytorch(tmp_path, variant, dtype, tolerance, relative):
    overrides = SMALL + PAPER + VARIANTS[variant]
    ours = probe(tmp_path / "probe.h5", overrides, dtype)
    weights = {name: value.double().requires_grad_() for name, value in ours["weights"].items()}
    logits = paper_torch.logits(weights, ours["tokens"].long(), read_config(CONFIG, overrides)["model"])
    compare(ours, logits, weights, tolerance, relative)


TRAINED = ["model.layers=3", "model.width=32", "model.mlp_width=64", "train.steps=20", "train.batch=10", *PAPER]


def train(folder, *overrides, ranks=1):
    return braid_run.train("configs/mhc/demo_mhc.toml", folder, *TRAINED, *overrides, ranks=ranks)


@pytest.mark.parametrize("variant", [[], ["model.residual=hc"], ["model.manifold=permutations", "model.stream_exit=learned"]],
                         ids=["mhc", "hc", "permutations"])  # fmt: skip
def test_ranks_micro_batches_and_recomputation_give_the_same_losses(tmp_path, variant):
    one = train(tmp_path / "one", *variant)
    others = {"two": ([], 2), "four": (["train.micro_batch=2", "train.recompute=true"], 4)}
    assert len(one["loss"]) == 20 and one["loss"][0] - one["loss"][19] > 0.05  # it does train
    for name, (more, ranks) in others.items():
        other = train(tmp_path / name, *variant, *more, ranks=ranks)
        assert np.abs(other["loss"] - one["loss"]).max() < 1e-5
        assert np.abs(other["grad_norm"] / one["grad_norm"] - 1).max() < 1e-5


def test_bf16_trains_beside_fp32_and_gains_stay_those_of_the_manifold(tmp_path):
    fp32, bf16 = train(tmp_path / "fp32"), train(tmp_path / "bf16", "train.precision=bf16")
    assert 0 < np.abs(bf16["loss"] - fp32["loss"]).max() < 0.05
    for run in (fp32, bf16):
        assert np.abs(run["amax_gain_forward"] - 1).max() < 1e-5  # rows are normalised last, also beside bf16 products
        assert 0 < np.abs(run["amax_gain_backward"] - 1).max() < 1e-2
