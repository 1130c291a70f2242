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
POC, COPY = "configs/mhc/demo_mhc.toml", "configs/lm/copy.toml"
LLAMA = ["model.dialect=llama", "model.kv_heads=4", "model.attention=sdpa", "optim.learning_rate=3e-3"]
MODELS = {
    "poc": (POC, ["model.residual=residual", "train.micro_batch=1"]),
    "poc_mhc": (POC, ["train.recompute=true"]),
    "llama": (POC, [*LLAMA, "model.residual=residual", "model.tie_embeddings=true", "train.micro_batch=1"]),
    "llama_mhc_paper": (POC, [*LLAMA, "model.connection_form=paper", "train.recompute=true"]),
    "llama_hc_paper": (POC, [*LLAMA, "model.residual=hc", "model.connection_form=paper"]),
    "copy": (COPY, ["model.kv_heads=4", "optim.schedule=constant", "train.eval_every=5", "train.eval_samples=6"]),
}
WIDE = ["model.width=128", "model.kv_heads=4", "model.mlp_width=128"]
ADAPTERS = ["lora.rank=4", "lora.b_rate=4", "optim.learning_rate=1e-2"]
# Ranks, how many of them hold a model, and what those that share the batch keep parts of.
LAYOUTS = {"tp2": (2, 2, "none"), "tp4": (4, 4, "none"), "dp2_tp2": (4, 2, "none"), "zero1_tp2": (4, 2, "optimizer"),
           "zero2_tp2": (4, 2, "gradients"), "zero3_tp2": (4, 2, "parameters")}  # fmt: skip
SEQUENCE = "_sequence"  # behind a layout: those that hold a model share the tokens between its cut layers


def train(model, out, layout, *more):
    ranks, parallel = keys_of(layout)
    config, overrides = MODELS[model]
    return braid_run.train(config, out, *SMALL, *overrides, *more, *parallel, ranks=ranks)


def keys_of(layout):
    """Of a layout's name: ranks, and what [parallel] says."""
    ranks, tensor, shard = LAYOUTS[layout.removesuffix(SEQUENCE)] if layout else (1, 1, "none")
    shares = [f"parallel.sequence={str(layout.endswith(SEQUENCE)).lower()}"] if layout else []
    return ranks, [f"parallel.tensor={tensor}", f"parallel.shard={shard}", *shares]


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


def differences(one, many, expected, found):
    """The largest of losses, of gradient norms (relative) and of weights whose gradient is not zero in truth."""
    assert expected.keys() == found.keys()
    apart = [np.abs(found[name] - values)[has_a_gradient(name, values)].max(initial=0) for name, values in expected.items()]
    return np.abs(many["loss"] - one["loss"]).max(), np.abs(many["grad_norm"] / one["grad_norm"] - 1).max(), max(apart)


def trains_alike(one, many, expected, found, label, norm_tolerance=1e-5):
    """Prints a row of docs/results.md (with -s)."""
    loss, norm, weight = differences(one, many, expected, found)
    print(f"| {label} | {loss:.1e} | {norm:.1e} | {weight:.1e} |")
    assert loss < 1e-5 and norm < norm_tolerance and weight < 1e-4


def every_layout_trains_alike(control, train, run, model, layout):
    """As on one rank, which `control` gives; /train of both."""
    folder, one = control(model)
    many = train(model, run, layout)
    assert one["loss"][0] - one["loss"][-1] > 0.05  # it does train
    trains_alike(one, many, weights(folder), weights(run), f"{model} | {layout}", 5e-5 if "hc" in model.split("_") else 1e-5)
    return one, many


def checkpoints_go_through(layouts, train, tmp_path):
    """Five steps on each in turn, and evaluations, beside one rank's."""
    for number, layout in enumerate(layouts):
        rows = train("copy", tmp_path / "run", layout, f"train.steps={5 * (number + 1)}")
    plain = train("copy", tmp_path / "one", None)
    assert len(rows["loss"]) == len(plain["loss"])
    assert np.abs(rows["loss"] - plain["loss"]).max() < 1e-5
    assert np.abs(rows["grad_norm"] / plain["grad_norm"] - 1).max() < 1e-5
    assert np.abs(evaluations(tmp_path / "run")[-2:] - evaluations(tmp_path / "one")[-2:]).max() < 1e-5


@pytest.mark.parametrize("model, layout", [
    ("poc", "tp2"), ("poc", "tp4"), ("poc", "dp2_tp2"), ("poc_mhc", "tp4"), ("llama", "tp2"), ("llama", "tp4"),
    ("llama", "dp2_tp2"), ("llama_mhc_paper", "tp4"), ("llama_hc_paper", "dp2_tp2"), ("poc", "zero2_tp2"),
    ("poc_mhc", "zero3_tp2"), ("llama", "zero1_tp2"), ("llama_mhc_paper", "zero3_tp2"), ("poc", "tp2_sequence"),
    ("poc_mhc", "tp4_sequence"), ("llama", "dp2_tp2_sequence"), ("llama_hc_paper", "tp2_sequence"), ("llama_mhc_paper", "zero3_tp2_sequence")])  # fmt: skip
def test_every_layout_trains_as_one_rank_does(control, tmp_path, model, layout):
    every_layout_trains_alike(control, train, tmp_path / "run", model, layout)


def test_checkpoints_go_from_layout_to_layout(tmp_path):
    checkpoints_go_through(("tp4", "zero3_tp2", "dp2_tp2_sequence", None), train, tmp_path)


def test_bf16_trains_on_a_cut_model(control, tmp_path):
    _, one = control("llama")
    many = train("llama", tmp_path / "run", "tp2", "train.precision=bf16")
    assert 0 < np.abs(many["loss"] - one["loss"]).max() < 0.05


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model for adapters: width 128, so that weights in 4 bits can be cut between blocks of 64."""
    root = tmp_path_factory.mktemp("folder")
    braid_run.train(COPY, root / "run", *SMALL, *WIDE, "train.steps=3")
    export = [braid_run.BRAID, "checkpoint", "export", root / "run", "--hf", root / "model"]
    subprocess.run(export, check=True, capture_output=True, timeout=60)
    return root / "model"


@pytest.mark.parametrize("form, layout", [("dense", "dp2_tp2"), ("nf4", "tp2"), ("nf4", "tp2_sequence")])
def test_adapters_train_on_a_cut_model(folder, tmp_path, form, layout):
    keys = [*SMALL, *WIDE, *ADAPTERS, f"model.path={folder}", "train.steps=10"] + (["model.quantise=nf4"] if form == "nf4" else [])
    one = braid_run.train(COPY, tmp_path / "one", *keys)
    ranks, parallel = keys_of(layout)
    many = braid_run.train(COPY, tmp_path / "many", *keys, *parallel, ranks=ranks)
    expected = weights(tmp_path / "one", 10)
    assert any("lora_B" in name for name in expected)
    trains_alike(one, many, expected, weights(tmp_path / "many", 10), f"lora, {form} | {layout}")


@pytest.mark.parametrize(
    "ranks, keys, expected",
    [
        (3, ["parallel.tensor=2"], ["parallel.tensor", "expected a multiple of 2 ranks, found 3"]),
        (0, ["parallel.tensor=2", "model.heads=1"], ["parallel.tensor", "model.heads: 1 heads"]),
        (0, ["parallel.tensor=2", "optim.kind=adamw8bit"], ["parallel.tensor", "adamw8bit"]),
        (0, ["parallel.tensor=2", "parallel.sequence=true", "model.context=15"], ["parallel.sequence", "model.context: 15 tokens"]),
        (0, ["parallel.tensor=4", "model.dialect=llama", "model.kv_heads=2"], ["model.kv_heads: 2 key and value heads"]),
    ],
)
def test_what_cannot_be_cut_is_one_line(tmp_path, ranks, keys, expected):
    line = one_line(braid("train", braid_run.ROOT / POC, "--out", tmp_path / "run", *sets(SMALL + keys), ranks=ranks), 2)
    assert all(part in line for part in expected), line
    assert not (tmp_path / "run").exists()
