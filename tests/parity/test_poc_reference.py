# SPDX-License-Identifier: Apache-2.0
"""Our PyTorch program against the values that softwarewrighter/mHC-poc itself gave (torch 2.11, CPU, fp32)."""

import braid_run
import pytest
import torch
from overflow import OVERFLOW, SMALL, check_overflow
from poc_torch import build, incrementing_batch, read_config, train

DEMO = braid_run.ROOT / "configs/mhc/demo_mhc.toml"


@pytest.fixture(autouse=True)
def two_threads():
    torch.set_num_threads(2)


def test_initial_weights_and_first_batches_are_the_published_programs():
    config = read_config(DEMO, [])
    model, _ = build(config, published=True)
    assert model.embedding.weight[0, :4].tolist() == pytest.approx([1.92691529, 1.48728406, 0.90071720, -2.10552096], abs=1e-8)
    assert model.positions[0, :4].tolist() == pytest.approx([-0.00783782, -0.00356887, -0.01386787, 0.01445687], abs=6e-9)
    first, last = model.blocks[0], model.blocks[23]
    published = [  # float64 sum, sum of absolute values, first element
        (first.attention.inner.in_proj_weight, 18.825253406917682, 2659.96824922614, -0.07769675),
        (first.attention.inner.out_proj.weight, 3.14861033732757, 724.61915132490932, -0.02086366),
        (first.ff1.weight, -3.51931808546942, 2909.7550071133037, -0.0846041),
        (first.ff1.bias, -0.463710936412099, 22.534595425197, 0.0612512),
        (first.ff2.weight, -8.61172979853086, 1448.5688483592082, -0.03718689),
        (last.ff2.bias, -0.152921004599193, 2.84885971536278, -0.02288702),
        (model.head.weight, -1.97666191186896, 1449.9932753103947, 0.04838683),
    ]
    for weight, total, absolute, element in published:
        wide = weight.detach().double()
        assert wide.sum().item() == pytest.approx(total, abs=1e-9)
        assert wide.abs().sum().item() == pytest.approx(absolute, abs=1e-9)
        assert wide.flatten()[0].item() == pytest.approx(element, abs=6e-9)
    starts = [incrementing_batch(config)[0][:12, 0].tolist() for _ in range(3)]
    assert starts[0] == [13, 208, 199, 164, 45, 113, 248, 210, 29, 188, 198, 49]
    assert starts[1] == [202, 144, 188, 150, 43, 212, 36, 55, 146, 249, 249, 103]
    assert starts[2] == [42, 98, 228, 189, 70, 242, 63, 7, 61, 92, 149, 58]


@pytest.mark.parametrize("published", [True, False])
def test_demo_first_step(published):
    row = train(read_config(DEMO, ["train.steps=1"]), published)[0]
    assert row["loss"] == pytest.approx(5.62738, abs=1e-5)
    assert row["grad_norm"] == pytest.approx(0.74705, abs=1e-5)
    assert row["gain"] == pytest.approx(-0.602049, abs=1e-6)


def test_sdpa_demo_first_step():
    row = train(read_config(DEMO, ["train.steps=1", "model.attention=sdpa"]))[0]
    assert row["loss"] == pytest.approx(5.67305, abs=1e-5)
    assert row["grad_norm"] == pytest.approx(0.77065, abs=1e-5)


@pytest.mark.parametrize(
    "residual, loss, norm, gain",
    [("residual", 5.701119, 1.574160, 0.0), ("hc", 5.731912, 1.024462, None), ("mhc", 5.733945, 1.049836, -0.598264)],
)
def test_twelve_layers_first_step(residual, loss, norm, gain):
    config = read_config(braid_run.ROOT / "configs/mhc/tiny_12l_baseline.toml", ["train.steps=1", f"model.residual={residual}"])
    row = train(config)[0]
    assert row["loss"] == pytest.approx(loss, abs=2e-6)
    assert row["grad_norm"] == pytest.approx(norm, abs=2e-6)
    if gain is not None:
        assert row["gain"] == pytest.approx(gain, abs=2e-6)


def test_twelve_layers_of_hc_have_the_published_gain_after_the_first_update():
    """In float64: from layer 6 on the gradients of the mixing logits are below 1e-8, and einsum's backward in fp32 (one sum
    over B T D) adds 2e-8 of rounding to them, of which Adam makes full steps that move the gain by 0.003."""
    config = read_config(braid_run.ROOT / "configs/mhc/tiny_12l_hc.toml", ["train.steps=1"])
    assert train(config, dtype="fp64")[0]["gain"] == pytest.approx(6.389225, abs=1.5e-4)


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("residual, layers, outcome", OVERFLOW)
def test_overflow_depths(residual, layers, outcome, published):
    config = read_config(DEMO, [*SMALL, "train.steps=1", f"model.residual={residual}", f"model.layers={layers}"])
    row = train(config, published)[0]
    check_overflow(outcome, row["loss"], row["nonfinite"])
