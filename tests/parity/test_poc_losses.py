# SPDX-License-Identifier: Apache-2.0
"""braid's poc dialect against published values, closed forms and our own PyTorch program, all in fp32 on the CPU."""

import braid_run
import numpy as np
import pytest
import torch
from poc_torch import read_config
from poc_torch import train as train_in_torch

DEMO = "configs/mhc/demo_mhc.toml"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return braid_run.train(DEMO, tmp_path_factory.mktemp("demo") / "run", threads=2)


@pytest.fixture(scope="module")
def demo_in_torch():
    torch.set_num_threads(2)
    return train_in_torch(read_config(braid_run.ROOT / DEMO, []))


def test_first_step_has_the_published_numbers(demo):
    assert demo["loss"][0] == pytest.approx(5.62738, abs=1e-5)
    assert demo["grad_norm"][0] == pytest.approx(0.74705, abs=1e-5)


def test_first_losses_agree_within_1e_4(demo, demo_in_torch):
    for step in range(5):
        assert demo["loss"][step] == pytest.approx(demo_in_torch[step]["loss"], abs=1e-4)
        assert demo["grad_norm"][step] == pytest.approx(demo_in_torch[step]["grad_norm"], abs=1e-4)


def test_all_fifty_losses_agree_within_2e_3_and_end_at_the_published_value(demo, demo_in_torch):
    theirs = np.array([row["loss"] for row in demo_in_torch])
    assert np.abs(demo["loss"] - theirs).max() < 2e-3
    assert demo["loss"][49] == pytest.approx(0.1200, abs=2e-3)


def test_gain_stays_what_the_published_run_shows(demo):
    assert demo["gain_proxy_log10_max_entry"] == pytest.approx(np.full(50, -0.602049), abs=1e-5)
    assert demo["amax_gain_forward"] == pytest.approx(np.ones(50), abs=1e-5)
    assert demo["amax_gain_backward"] == pytest.approx(np.ones(50), abs=1e-5)


def test_sdpa_demo_has_the_published_losses(tmp_path):
    config = "configs/mhc/demo_mhc_sdpa.toml"
    run = braid_run.train(config, tmp_path / "run", "train.steps=12", threads=2)
    theirs = [row["loss"] for row in train_in_torch(read_config(braid_run.ROOT / config, ["train.steps=12"]))]
    assert np.abs(run["loss"] - theirs).max() < 1e-4
    assert run["loss"][0] == pytest.approx(5.67305, abs=1e-5)
    assert run["grad_norm"][0] == pytest.approx(0.77065, abs=1e-5)
    assert run["loss"][11] == pytest.approx(3.5253, abs=1e-4)


@pytest.mark.parametrize(
    "variant, loss, norm, gain",
    [("baseline", 5.701119, 1.574160, 0.0), ("hc", 5.731912, 1.024462, 6.389225), ("mhc", 5.733945, 1.049836, -0.598264)],
)
def test_twelve_layers_first_step_has_the_published_numbers(tmp_path, variant, loss, norm, gain):
    run = braid_run.train(f"configs/mhc/tiny_12l_{variant}.toml", tmp_path / "run", "train.steps=1", threads=2)
    assert run["loss"][0] == pytest.approx(loss, abs=5e-6)
    assert run["grad_norm"][0] == pytest.approx(norm, abs=5e-6)
    # After the first update, in which rounding moves the gain of HC by some 1e-4.
    assert run["gain_proxy_log10_max_entry"][0] == pytest.approx(gain, abs=2e-4 if variant == "hc" else 2e-6)
