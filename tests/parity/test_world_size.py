# SPDX-License-Identifier: Apache-2.0
"""The number of ranks, micro-batches and threads changes no loss beyond rounding."""

import braid_run
import numpy as np
import pytest

POC = ["model.layers=4", "model.width=64", "model.mlp_width=128", "train.steps=20", "train.batch=10"]
LLAMA = ["model.dialect=llama", "model.kv_heads=2", "model.attention=sdpa", "model.residual=residual",] + POC


@pytest.mark.parametrize("overrides", [POC, LLAMA], ids=["poc", "llama"])
def test_one_two_three_and_four_ranks_give_the_same_losses(tmp_path, overrides):
    """Ten samples do not divide by three or four."""
    runs = {n: braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / f"n{n}", *overrides, ranks=n) for n in (1, 2, 3, 4)}
    assert len(runs[1]["loss"]) == 20
    assert runs[1]["loss"][0] - runs[1]["loss"][19] > 0.05  # it does train
    for n in (2, 3, 4):
        assert np.abs(runs[n]["loss"] - runs[1]["loss"]).max() < 1e-5
        assert np.abs(runs[n]["grad_norm"] / runs[1]["grad_norm"] - 1).max() < 1e-5


@pytest.mark.parametrize("overrides", [POC, LLAMA], ids=["poc", "llama"])
def test_micro_batches_give_the_same_losses(tmp_path, overrides):
    whole = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "whole", *overrides)
    cut = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "cut", *overrides, "train.micro_batch=3", ranks=2)
    assert np.abs(whole["loss"] - cut["loss"]).max() < 1e-5


def test_the_same_ranks_and_threads_give_the_same_bits(tmp_path):
    first, second = (braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / name, *POC, ranks=2) for name in "ab")
    assert np.array_equal(first["loss"], second["loss"]) and np.array_equal(first["grad_norm"], second["grad_norm"])


def test_bf16_trains_beside_fp32(tmp_path):
    fp32 = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "fp32", *POC)
    bf16 = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "bf16", *POC, "train.precision=bf16", ranks=2)
    assert np.abs(bf16["loss"] - fp32["loss"]).max() < 0.05
    assert np.abs(bf16["loss"] - fp32["loss"]).max() > 0
