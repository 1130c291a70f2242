# SPDX-License-Identifier: Apache-2.0
"""HC and mHC in the form of their papers: logits, loss and every gradient against PyTorch in double, and training on any
number of ranks, in micro-batches, recomputed and in bf16."""

import braid_run
import numpy as np
import paper_torch
import pytest
from poc_torch import read_config
from test_gradients import CONFIG, SMALL, compare, probe
from torch.nn import functional as F

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


NARROW = ["train.precision=bf16", "train.stream_precision=bf16"]


@pytest.mark.parametrize("variant", ["mhc", "mhc of 8", "permutations", "hc, llama"])
def test_streams_in_bf16_are_those_of_pytorch_rounded_at_every_read_and_write(tmp_path, variant):
    """All but the streams in fp32, so that nothing else is rounded as much; a number beside the middle of two of bf16 may go the other
    way, seldom enough to be far below what rounding changes."""
    overrides = SMALL + PAPER + VARIANTS[variant]
    ours = probe(tmp_path / "probe.h5", overrides + NARROW, "float32")
    model = read_config(CONFIG, overrides)["model"]
    errors, slopes = [], []
    for narrow in (True, False):
        weights = {name: value.double().requires_grad_() for name, value in ours["weights"].items()}
        logits = paper_torch.logits(weights, ours["tokens"].long(), model, narrow)
        F.cross_entropy(logits.flatten(0, 1), ours["targets"].long().flatten()).backward()
        errors.append((ours["logits"] - logits).norm() / logits.norm())
        slopes.append(max((ours["grads"][name] - w.grad).norm() / w.grad.norm() for name, w in weights.items() if w.grad.norm() > 1e-8))
    assert errors[0] < 1e-4 and errors[1] > 1e-3  # rounding is seen
    assert slopes[0] < 5e-3


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


def test_ranks_share_streams_in_bf16_as_they_share_others(tmp_path):
    """The first step is the same but for the order of sums; then weights part by roundings of their bf16 copies."""
    one, four = (train(tmp_path / str(ranks), *NARROW, *more, ranks=ranks)
                 for ranks, more in ((1, []), (4, ["train.micro_batch=2", "train.recompute=true"])))  # fmt: skip
    assert abs(four["loss"][0] - one["loss"][0]) < 1e-6 and abs(four["grad_norm"][0] / one["grad_norm"][0] - 1) < 1e-5
    assert np.abs(four["loss"] - one["loss"]).max() < 2e-3


def test_bf16_trains_beside_fp32_and_gains_stay_those_of_the_manifold(tmp_path):
    fp32, bf16 = train(tmp_path / "fp32"), train(tmp_path / "bf16", "train.precision=bf16")
    narrow = train(tmp_path / "narrow", *NARROW)
    assert 0 < np.abs(bf16["loss"] - fp32["loss"]).max() < 0.05
    assert 0 < np.abs(narrow["loss"] - bf16["loss"]).max() < 0.05
    for run in (fp32, bf16, narrow):
        assert np.abs(run["amax_gain_forward"] - 1).max() < 1e-5  # rows are normalised last, also beside bf16 products
        assert 0 < np.abs(run["amax_gain_backward"] - 1).max() < 1e-2
