# SPDX-License-Identifier: Apache-2.0
"""Ranks that share the tokens of samples train as one does, and checkpoints go to other layouts and back."""

import functools

import braid_run
import pytest
import test_tensor_parallel as cut
from test_tensor_parallel import COPY, POC, SMALL, braid, folder, one_line, sets  # noqa: F401

# Ranks, how many of them share a sample and hold a model, and what replicas keep parts of.
LAYOUTS = {"cp2": (2, 2, 1, "none"), "cp4": (4, 4, 1, "none"), "cp2_tp2": (4, 2, 2, "none"), "dp2_cp2": (4, 2, 1, "none"),
           "zero1_cp2": (2, 2, 1, "optimizer"), "zero2_dp2_cp2": (4, 2, 1, "gradients"), "zero3_cp2": (2, 2, 1, "parameters")}  # fmt: skip


def in_layout(config, out, layout, *keys):
    ranks, context, tensor, shard = LAYOUTS[layout] if layout else (1, 1, 1, "none")
    parallel = [f"parallel.context={context}", f"parallel.tensor={tensor}", f"parallel.shard={shard}"]
    return braid_run.train(config, out, *keys, *parallel, ranks=ranks)


def train(model, out, layout, *more):
    config, overrides = cut.MODELS[model]
    return in_layout(config, out, layout, *SMALL, *overrides, *more)


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    """On one rank, once for each model: the folder and /train."""
    root = tmp_path_factory.mktemp("control")
    return functools.cache(lambda model: (root / model, train(model, root / model, None)))


@pytest.mark.parametrize("model, layout", [
    ("poc", "cp2"), ("poc", "dp2_cp2"), ("poc_mhc", "cp4"), ("llama", "cp2_tp2"), ("llama", "zero2_dp2_cp2"),
    ("llama_mhc_paper", "zero3_cp2"), ("llama_hc_paper", "cp2")])  # fmt: skip
def test_every_layout_trains_as_one_rank_does(control, tmp_path, model, layout):
    cut.every_layout_trains_alike(control, train, tmp_path / "run", model, layout)


def test_checkpoints_go_from_layout_to_layout(tmp_path):
    cut.checkpoints_go_through(("cp2", None, "zero1_cp2", "cp2_tp2"), train, tmp_path)


def test_adapters_on_weights_in_four_bits_train_alike(folder, tmp_path):  # noqa: F811
    """With dropout, which draws by an element's place in the whole batch."""
    keys = [*SMALL, *cut.WIDE, *cut.ADAPTERS, f"model.path={folder}", "train.steps=10", "model.quantise=nf4", "lora.dropout=0.2"]
    one, many = (in_layout(COPY, tmp_path / str(layout), layout, *keys) for layout in (None, "cp2"))
    expected, found = (cut.weights(tmp_path / str(layout), 10) for layout in (None, "cp2"))
    cut.trains_alike(one, many, expected, found, "lora, nf4, dropout | cp2")


@pytest.mark.parametrize(
    "ranks, keys, expected",
    [
        (3, ["parallel.context=2"], ["parallel.pipeline, context and tensor", "expected a multiple of 2 ranks, found 3"]),
        (0, ["parallel.context=2", "model.context=14"], ["model.context: 14 tokens", "expected a multiple of 4"]),
        (0, ["parallel.context=2", "model.dialect=llama", "memory.layers=[0]"], ["parallel.context", "memory.layers"]),
    ],
)
def test_what_cannot_be_shared_is_one_line(tmp_path, ranks, keys, expected):
    line = one_line(braid("train", braid_run.ROOT / POC, "--out", tmp_path / "run", *sets(SMALL + keys), ranks=ranks), 2)
    assert all(part in line for part in expected), line
    assert not (tmp_path / "run").exists()
