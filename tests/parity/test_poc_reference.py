# SPDX-License-Identifier: Apache-2.0
"""Our PyTorch program against the values that softwarewrighter/mHC-poc itself gave (torch 2.11, CPU, fp32)."""

import braid_run  # noqa: F401  (puts tests/bench on the path)
import pytest
import torch
from poc_torch import build, incrementing_batch, read_config, train

DEMO = braid_run.ROOT / "configs/mhc/demo_mhc.toml"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(2)


def test_initial_weights_and_first_batches_are_the_published_programs():
    config = read_config(DEMO, [])
    model, _ = build(config, published=True)
    assert model.embedding.weight[0, :4].tolist() == pytest.approx([1.92691529, 1.48728406, 0.90071720, -2.10552096], abs=1e-8)
    qkv = model.blocks[0].attention.inner.in_proj_weight.double()
    assert qkv.sum().item() == pytest.approx(18.825253406917682, abs=1e-9)
    assert model.blocks[23].ff2.bias.double().sum().item() == pytest.approx(-0.152921004599193, abs=1e-9)
    assert model.head.weight.double().abs().sum().item() == pytest.approx(1449.9932753103947, abs=1e-9)
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
    [("residual", 5.701119, 1.574160, 0.0), ("hc", 5.731912, 1.024462, 6.389225), ("mhc", 5.733945, 1.049836, -0.598264)],
)
def test_twelve_layers_first_step(residual, loss, norm, gain):
    config = read_config(braid_run.ROOT / "configs/mhc/tiny_12l_baseline.toml", ["train.steps=1", f"model.residual={residual}"])
    row = train(config)[0]
    assert row["loss"] == pytest.approx(loss, abs=2e-6)
    assert row["grad_norm"] == pytest.approx(norm, abs=2e-6)
    # Measured after Adam's first update, which makes full steps of gradients that are mostly rounding in the deep layers
    # of HC: each of the 12 logit matrices may shift its log10 by 0.00087 either way.
    assert row["gain"] == pytest.approx(gain, abs=12 * 0.00087 if residual == "hc" else 2e-6)
