# SPDX-License-Identifier: Apache-2.0
"""A model that lies on several ranks trains as it does on one, and its checkpoints go from any layout to any other."""

import functools
import re
import subprocess
import sys

import braid_run
import h5py
import numpy as np
import pytest

sys.path.insert(0, str(braid_run.ROOT / "tests" / "cli"))
from cli_run import braid, one_line, sets  # noqa: E402

STEPS = 20
# 50 tokens are not shared evenly by 4 ranks.
SMALL = ["model.layers=2", "model.width=32", "model.heads=8", "model.mlp_width=64", "model.vocabulary=50", "model.context=16",
         f"train.steps={STEPS}", "train.batch=4", "train.nonfinite=stop"]  # fmt: skip
POC, LLAMA = "configs/mhc/demo_mhc.toml", "configs/lm/copy.toml"
GROUPED = ["model.kv_heads=4", "optim.warmup_steps=5", "train.eval_every=10", "train.eval_samples=6"]
MODELS = {
    "poc": (POC, ["model.residual=residual", "train.micro_batch=1"]),
    "poc_mhc": (POC, ["train.recompute=true"]),
    "llama": (LLAMA, [*GROUPED, "model.tie_embeddings=true", "train.micro_batch=1"]),
    "llama_mhc_paper": (LLAMA, [*GROUPED, "model.residual=mhc", "model.connection_form=paper", "train.recompute=true"]),
    "llama_hc_paper": (LLAMA, [*GROUPED, "model.residual=hc", "model.connection_form=paper"]),
}
WIDE = ["model.width=128", "model.kv_heads=4", "model.mlp_width=128"]
ADAPTERS = ["lora.rank=4", "lora.b_rate=4", "optim.learning_rate=1e-2"]
LAYOUTS = {"tp2": (2, 2), "tp4": (4, 4), "dp2_tp2": (4, 2)}  # ranks, and how many of them hold a model


def train(model, out, layout, *more):
    ranks, tensor = LAYOUTS[layout] if layout else (1, 1)
    config, overrides = MODELS[model]
    return braid_run.train(config, out, *SMALL, *overrides, *more, f"parallel.tensor={tensor}", ranks=ranks)


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    """On one rank, once for each model: the folder and /train."""
    root = tmp_path_factory.mktemp("control")
    return functools.cache(lambda model: (root / model, train(model, root / model, None)))


def weights(run, steps=STEPS):
    """Of the last checkpoint, by the manifest's views of whole tensors."""
    found = {}
    with h5py.File(run / "checkpoints" / f"step-{steps:08d}" / "manifest.h5", "r") as f:
        f["view/model"].visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def evaluations(run):
    with h5py.File(run / "run.h5", "r", locking=False, swmr=True) as f:
        return f["eval"][:]["loss"]


def has_a_gradient(name, values):
    """True but for what a gradient that is zero in truth moves by rounding alone: key biases, the poc form's logits."""
    if re.fullmatch(r"mix\.(pre|post|res)", name):
        return np.zeros_like(values, bool)
    third = len(values) // 3
    keys = np.arange(len(values)) // third == 1 if name.endswith("attn.in.bias") else np.zeros(len(values), bool)
    return np.broadcast_to(~keys.reshape(-1, *[1] * (values.ndim - 1)), values.shape)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("model", MODELS)
def test_every_layout_trains_as_one_rank_does(control, tmp_path, model, layout):
    folder, one = control(model)
    many = train(model, tmp_path / "run", layout)
    assert one["loss"][0] - one["loss"][-1] > 0.05  # it does train
    assert np.abs(many["loss"] - one["loss"]).max() < 1e-5
    assert np.abs(many["grad_norm"] / one["grad_norm"] - 1).max() < (5e-5 if "hc" in model.split("_") else 1e-5)
    if "eval_every" in str(MODELS[model]):
        assert np.abs(evaluations(tmp_path / "run") - evaluations(folder)).max() < 1e-5
    expected, found = weights(folder), weights(tmp_path / "run")
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        assert np.abs(found[name] - values)[has_a_gradient(name, values)].max(initial=0) < 1e-4, name


def test_checkpoints_go_from_layout_to_layout(tmp_path):
    """Five steps on each in turn."""
    for steps, layout in zip((5, 10, 15, 20), ("tp2", "tp4", None, "dp2_tp2")):
        rows = train("llama", tmp_path / "run", layout, f"train.steps={steps}", "optim.schedule=constant")
    plain = train("llama", tmp_path / "one", None, "optim.schedule=constant")
    assert np.abs(rows["loss"] - plain["loss"]).max() < 1e-5
    assert np.abs(rows["grad_norm"] / plain["grad_norm"] - 1).max() < 1e-5


def test_bf16_trains_on_a_cut_model(control, tmp_path):
    _, one = control("llama_mhc_paper")
    many = train("llama_mhc_paper", tmp_path / "run", "tp2", "train.precision=bf16")
    assert 0 < np.abs(many["loss"] - one["loss"]).max() < 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model for adapters: width 128, so that weights in 4 bits can be cut between blocks of 64."""
    root = tmp_path_factory.mktemp("folder")
    braid_run.train(LLAMA, root / "run", *SMALL, *WIDE, "train.steps=3")
    export = [braid_run.BRAID, "checkpoint", "export", root / "run", "--hf", root / "model"]
    subprocess.run(export, check=True, capture_output=True, timeout=60)
    return root / "model"


@pytest.mark.parametrize("layout", ["tp2", "dp2_tp2"])
@pytest.mark.parametrize("form", ["dense", "nf4"])
def test_adapters_train_on_a_cut_model(folder, tmp_path, form, layout):
    keys = [*SMALL, *WIDE, *ADAPTERS, f"model.path={folder}", "train.steps=10"] + (["model.quantise=nf4"] if form == "nf4" else [])
    one = braid_run.train(LLAMA, tmp_path / "one", *keys)
    ranks, tensor = LAYOUTS[layout]
    many = braid_run.train(LLAMA, tmp_path / "many", *keys, f"parallel.tensor={tensor}", ranks=ranks)
    assert np.abs(many["loss"] - one["loss"]).max() < 1e-5
    assert np.abs(many["grad_norm"] / one["grad_norm"] - 1).max() < 1e-5
    expected, found = weights(tmp_path / "one", 10), weights(tmp_path / "many", 10)
    assert expected.keys() == found.keys() and any("lora_B" in name for name in expected)
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() < 1e-4, name


@pytest.mark.parametrize(
    "ranks, keys, expected",
    [
        (3, ["parallel.tensor=2"], ["parallel.tensor", "expected a multiple of 2 ranks, found 3"]),
        (2, ["parallel.tensor=2", "model.heads=1"], ["parallel.tensor", "model.heads: 1 heads"]),
        (2, ["parallel.tensor=2", "optim.kind=adamw8bit"], ["parallel.tensor", "adamw8bit"]),
        (1, ["parallel.tensor=4", "model.dialect=llama", "model.kv_heads=2"], ["model.kv_heads: 2 key and value heads"]),
    ],
)
def test_what_cannot_be_cut_is_one_line(tmp_path, ranks, keys, expected):
    line = one_line(braid("train", POC, "--out", tmp_path / "run", *sets(SMALL + keys), ranks=ranks), 2)
    assert all(part in line for part in expected), line
    assert not (tmp_path / "run").exists()
