# SPDX-License-Identifier: Apache-2.0
"""A model whose depth lies on several ranks trains as it does on one, and its checkpoints go from any layout to any other."""

import functools
import sys

import braid_run
import numpy as np
import pytest
import test_tensor_parallel as cut
from test_tensor_parallel import ADAPTERS, COPY, MODELS, POC, SMALL, WIDE, folder  # noqa: F401

sys.path.insert(0, str(braid_run.ROOT / "tests" / "cli"))
from cli_run import braid, one_line, sets  # noqa: E402

DEEP = [*SMALL, "model.layers=5", "train.micro_batch=1"]  # no number of stages has equal shares
# Ranks, stages, tensor degree, and more.
LAYOUTS = {
    "pp2": (2, 2, 1, []),
    "pp4": (4, 4, 1, []),
    "pp2_gpipe": (2, 2, 1, ["parallel.schedule=gpipe"]),
    "pp2_interleaved": (2, 2, 1, ["parallel.schedule=interleaved"]),
    "dp2_pp2": (4, 2, 1, []),
    "tp2_pp2": (4, 2, 2, []),
    "tp2_pp2_sequence": (4, 2, 2, ["parallel.sequence=true"]),
    "tp2_pp2_interleaved_sequence": (4, 2, 2, ["parallel.sequence=true", "parallel.schedule=interleaved"]),
    "zero2_pp2": (4, 2, 1, ["parallel.shard=gradients"]),
    "pp2_cp2": (4, 2, 1, ["parallel.context=2"]),
}  # fmt: skip


def layout_keys(name):
    _, stages, tensor, more = LAYOUTS[name]
    return [f"parallel.pipeline={stages}", f"parallel.tensor={tensor}", *more]


def train(model, out, layout, *more):
    config, overrides = MODELS[model]
    keys = [*DEEP, *overrides, *more, *(layout_keys(layout) if layout else [])]
    return braid_run.train(config, out, *keys, ranks=LAYOUTS[layout][0] if layout else 1)


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    """On one rank, once for each model: the folder and /train."""
    root = tmp_path_factory.mktemp("control")
    return functools.cache(lambda model: (root / model, train(model, root / model, None)))


@pytest.mark.parametrize("model, layout", [
    ("poc", "pp4"), ("poc_mhc", "pp2"), ("poc_mhc", "pp2_interleaved"), ("llama", "tp2_pp2"), ("llama", "pp2_gpipe"),
    ("llama_mhc_paper", "pp2_interleaved"), ("llama_hc_paper", "dp2_pp2"), ("poc", "zero2_pp2"), ("llama_mhc_paper", "pp2_cp2"),
    ("llama_mhc_paper", "tp2_pp2_sequence"), ("poc_mhc", "tp2_pp2_interleaved_sequence")])  # fmt: skip
def test_every_layout_trains_as_one_rank_does(control, tmp_path, model, layout):
    one, many = cut.every_layout_trains_alike(control, train, tmp_path / "run", model, layout)
    for column in [name for name in one if "gain" in name]:
        assert np.allclose(many[column], one[column], rtol=1e-4, atol=1e-6), column


def test_checkpoints_go_from_layout_to_layout(tmp_path):
    cut.checkpoints_go_through(("pp2", None, "pp2_interleaved", "tp2_pp2_sequence"), train, tmp_path)


def test_adapters_on_weights_in_4_bits_train_in_stages(folder, tmp_path):  # noqa: F811
    """With dropout, whose masks recomputation draws again while other micro-batches are under way."""
    keys = [*SMALL, *WIDE, *ADAPTERS, f"model.path={folder}", "model.quantise=nf4", "train.steps=10", "train.micro_batch=1",
            "lora.dropout=0.2", "train.recompute=true"]  # fmt: skip
    one = braid_run.train(COPY, tmp_path / "one", *keys)
    many = braid_run.train(COPY, tmp_path / "many", *keys, "parallel.pipeline=2", ranks=2)
    expected = cut.weights(tmp_path / "one", 10)
    assert any("lora_B" in name for name in expected)
    cut.trains_alike(one, many, expected, cut.weights(tmp_path / "many", 10), "lora, nf4 | pp2")


@pytest.mark.parametrize(
    "ranks, keys, expected",
    [
        (3, ["parallel.pipeline=2"], ["parallel.pipeline", "expected a multiple of 2 ranks, found 3"]),
        (0, ["parallel.pipeline=3"], ["model.layers: 2 layers are too few for 3 stages"]),
        (0, ["parallel.pipeline=2", "parallel.schedule=interleaved"], ["2 stages of 2 runs of layers"]),
        (0, ["parallel.pipeline=2", "parallel.shard=parameters"], ["parallel.pipeline: expected 1 with parallel.shard"]),
    ],
)
def test_what_cannot_be_cut_is_one_line(tmp_path, ranks, keys, expected):
    line = one_line(braid("train", braid_run.ROOT / POC, "--out", tmp_path / "run", *sets(SMALL + keys), ranks=ranks), 2)
    assert all(part in line for part in expected), line
    assert not (tmp_path / "run").exists()
