# SPDX-License-Identifier: Apache-2.0
"""Models out of a folder, spread over ranks: each reads its part, keeps a part of what is frozen too, and trains as one does."""

import functools
import subprocess

import braid_run
import pytest
import test_tensor_parallel as cut
from test_tensor_parallel import ADAPTERS, COPY, SMALL, WIDE, folder  # noqa: F401

STEPS = 10
# A whole model; adapters on dense weights, and on weights in 4 bits.
FORMS = {
    "whole": ["optim.learning_rate=1e-3"],
    "lora": ADAPTERS,
    "qlora": [*ADAPTERS, "model.quantise=nf4", "train.recompute=true", "train.micro_batch=1"],
}


def train(form, folder, out, *more, ranks=1):  # noqa: F811
    keys = [*SMALL, *WIDE, *FORMS[form], f"model.path={folder}", f"train.steps={STEPS}", *more]
    return braid_run.train(COPY, out, *keys, ranks=ranks)


@pytest.fixture(scope="module")
def control(folder, tmp_path_factory):  # noqa: F811
    """On one rank, once for each form: the folder and /train."""
    root = tmp_path_factory.mktemp("control")
    return functools.cache(lambda form: (root / form, train(form, folder, root / form)))


@pytest.mark.parametrize("form, ranks, keys", [
    ("whole", 3, ["parallel.shard=parameters"]),
    ("whole", 2, ["parallel.shard=gradients", "optim.offload=true"]),
    ("qlora", 3, ["parallel.shard=parameters"]),
    ("lora", 4, ["parallel.shard=parameters", "parallel.tensor=2"])])  # fmt: skip
def test_every_layout_trains_as_one_rank_does(control, folder, tmp_path, form, ranks, keys):  # noqa: F811
    alone, one = control(form)
    many = train(form, folder, tmp_path / "run", *keys, ranks=ranks)
    label = " ".join([form, f"{ranks} ranks", *(key.partition(".")[2] for key in keys)])
    cut.trains_alike(one, many, cut.weights(alone, STEPS), cut.weights(tmp_path / "run", STEPS), label)


def test_checkpoints_of_adapters_go_from_layout_to_layout(control, folder, tmp_path):  # noqa: F811
    _, one = control("qlora")
    layouts = [(2, ["parallel.shard=parameters"]), (4, ["parallel.shard=parameters", "parallel.tensor=2"]),
               (2, ["parallel.pipeline=2", "optim.offload=true"])]  # fmt: skip
    for number, (ranks, keys) in enumerate(layouts):
        rows = train("qlora", folder, tmp_path / "run", *keys, f"train.steps={3 * (number + 1)}", ranks=ranks)
    assert len(rows["loss"]) == 9
    assert abs(rows["loss"] - one["loss"][:9]).max() < 1e-5


def test_an_adapter_to_begin_with_is_read_in_parts(control, folder, tmp_path):  # noqa: F811
    trained, _ = control("lora")
    export = [braid_run.BRAID, "checkpoint", "export", trained, "--peft", tmp_path / "adapter"]
    subprocess.run(export, check=True, capture_output=True, timeout=60)
    more = [f"lora.path={tmp_path / 'adapter'}", "train.steps=4"]
    one = train("lora", folder, tmp_path / "one", *more)
    layout = ["parallel.tensor=2", "parallel.pipeline=2", "train.micro_batch=2"]
    many = train("lora", folder, tmp_path / "many", *more, *layout, ranks=4)
    cut.trains_alike(one, many, cut.weights(tmp_path / "one", 4), cut.weights(tmp_path / "many", 4), "lora.path | tp2_pp2")
