# SPDX-License-Identifier: Apache-2.0
"""The depths at which the poc's streams leave fp32, for a small model: what braid and the PyTorch program must both show."""

import math

SMALL = ["model.width=32", "model.vocabulary=64", "model.mlp_width=64", "model.context=16", "train.batch=4"]

# LayerNorm squares: past 2^64 the variance is infinite and the logits are exactly zero ("uniform"); deeper it is NaN.
OVERFLOW = [
    ("hc", 24, "finite"), ("hc", 28, "uniform"), ("hc", 32, "nan"),
    ("mhc", 58, "finite"), ("mhc", 62, "uniform"), ("mhc", 63, "uniform"), ("mhc", 72, "nan"),
    ("residual", 72, "finite"),
]  # fmt: skip


def check_overflow(outcome, loss, nonfinite):
    assert bool(nonfinite) == (outcome == "nan")
    if outcome == "nan":
        assert math.isnan(loss)
    elif outcome == "uniform":
        assert abs(loss - math.log(64)) < 1e-6
    else:
        assert math.isfinite(loss) and abs(loss - math.log(64)) > 1e-2
