# SPDX-License-Identifier: Apache-2.0
"""Metrics along depth: the same on any number of ranks, and against NumPy on the weights that a run saved."""

import braid_run
import h5py
import numpy as np
import pytest

SMALL = ["model.layers=4", "model.width=32", "model.mlp_width=48", "model.context=16", "model.attention=sdpa", "train.batch=10"]


def layers_of(folder, *overrides, ranks=1):
    """Name → [step, place] of a run."""
    braid_run.train("configs/mhc/demo_mhc.toml", folder, *SMALL, *overrides, ranks=ranks)
    with h5py.File(folder / "run.h5", "r") as f:
        return {name: dataset[:] for name, dataset in f["layers"].items()}


@pytest.mark.parametrize("variant", [["model.connection_form=paper"], ["model.residual=residual"]], ids=["paper", "residual"])
def test_one_two_and_four_ranks_give_the_same_values(tmp_path, variant):
    """Ten samples do not divide by four; in micro-batches, too."""
    run = [*variant, "train.steps=4", "train.layer_metrics_every=3"]
    one = layers_of(tmp_path / "one", *run)
    assert list(one["step"]) == [0, 3] and len(one) == (14 if "paper" in variant[0] else 4)
    for ranks, more in ((2, ["train.micro_batch=2"]), (4, [])):
        other = layers_of(tmp_path / f"n{ranks}", *run, *more, ranks=ranks)
        for name, values in one.items():
            assert values == pytest.approx(other[name], rel=2e-5, abs=2e-6), name


def sinkhorn(logits, iterations):
    """The public program's order: rows, then columns."""
    H = np.exp(logits)
    for _ in range(iterations):
        H = H / H.sum(-1, keepdims=True)
        H = H / H.sum(-2, keepdims=True)
    return H


def saved(folder, name):
    (manifest,) = folder.glob("checkpoints/step-*/manifest.h5")
    with h5py.File(manifest, "r") as f:
        return f["view/model"][name][()].astype(float)


@pytest.mark.parametrize("residual", ["hc", "mhc"])
def test_gains_of_trained_matrices_are_those_of_numpy(tmp_path, residual):
    """A large rate, so that the matrices are no longer alike; the last row is of the weights that are saved."""
    found = layers_of(tmp_path / "run", f"model.residual={residual}", "train.steps=4", "train.layer_metrics_every=3",
                      "optim.learning_rate=0.1")  # fmt: skip
    logits = saved(tmp_path / "run", "mix.res")
    H = np.exp(logits) if residual == "hc" else sinkhorn(logits, 20)
    L = len(H)
    up_to = [np.linalg.multi_dot([np.eye(4), *H[: i + 1][::-1], np.eye(4)]) for i in range(L)]
    behind = [np.linalg.multi_dot([np.eye(4), *H[i:][::-1], np.eye(4)]) for i in range(L)]
    assert np.abs(H - H[0]).max() > 1e-3
    expected = {"amax_gain_forward": [np.abs(P.sum(1)).max() for P in up_to], "amax_gain_backward": [np.abs(P.sum(0)).max() for P in behind],
                "log_column_sum": [np.abs(np.log(np.abs(P.sum(0)))).max() for P in up_to],
                "amax_gain_forward_single": np.abs(H.sum(2)).max(1), "amax_gain_backward_single": np.abs(H.sum(1)).max(1),
                "second_eigenvalue": [np.sort(np.abs(np.linalg.eigvals(one)))[-2] for one in H]}  # fmt: skip
    for name, values in expected.items():
        assert found[name][-1] == pytest.approx(np.array(values), rel=1e-5, abs=1e-6), name
