# SPDX-License-Identifier: Apache-2.0
"""braid's poc dialect at any depth: the gain at the start in closed form, and where fp32 ends."""

import math

import braid_run
import pytest
from overflow import OVERFLOW, SMALL, check_overflow

DEMO = "configs/mhc/demo_mhc.toml"


def closed_form_gain(residual, layers, streams=4):
    """Largest entry of H^L for H = a I + b J at the start (logits 2 I - 1)."""
    diagonal, off = (math.e, 1 / math.e) if residual == "hc" else (0.7112346, 0.0962551)
    a, row = diagonal - off, diagonal + (streams - 1) * off
    if residual == "mhc":
        row = 1.0
    return math.log10((row**layers + (streams - 1) * a**layers) / streams)


@pytest.mark.parametrize("layers", [12, 24, 48])
@pytest.mark.parametrize("residual", ["hc", "mhc"])
def test_gain_at_the_start_is_the_closed_form(tmp_path, residual, layers):
    # A learning rate of 0 leaves the first weights in place (the gain is measured after the update); 48 layers of HC
    # overflow, and a skipped update keeps the NaN gradient out of them.
    run = braid_run.train(DEMO, tmp_path / "run", *SMALL, "train.steps=1", "optim.learning_rate=0.0", "train.nonfinite=skip",
                          f"model.residual={residual}", f"model.layers={layers}")  # fmt: skip
    assert run["gain_proxy_log10_max_entry"][0] == pytest.approx(closed_form_gain(residual, layers), abs=1e-6)


@pytest.mark.parametrize("residual, layers, outcome", OVERFLOW)
def test_overflow_comes_at_the_depths_where_fp32_ends(tmp_path, residual, layers, outcome):
    run = braid_run.train(DEMO, tmp_path / "run", *SMALL, "train.steps=1", f"model.residual={residual}", f"model.layers={layers}")
    check_overflow(outcome, run["loss"][0], run["nonfinite"][0])
    assert run["nonfinite_total"][0] == run["nonfinite"][0]
