# SPDX-License-Identifier: Apache-2.0
"""braid plan beside what runs: bytes that a step sends, to the byte, on every layout here."""

import json
import subprocess

import braid_run
import pytest

SMALL = ["model.dialect=llama", "model.layers=3", "model.width=32", "model.heads=4", "model.mlp_width=48", "model.vocabulary=96",
         "model.context=16", "model.attention=sdpa", "train.batch=9", "train.steps=3", "train.layer_metrics_every=0"]  # fmt: skip
RESIDUAL = ["model.residual=residual"]
PAPER = ["model.residual=mhc", "model.connection_form=paper"]
LAYOUTS = {
    "data": (2, "none", 1, 5, False, RESIDUAL),
    "optimizer": (3, "optimizer", 1, 2, False, RESIDUAL),
    "gradients": (2, "gradients", 1, 2, False, [*RESIDUAL, "train.precision=bf16"]),
    "parameters": (2, "parameters", 1, 2, True, [*RESIDUAL, "train.precision=bf16"]),
    "hybrid": (4, "parameters", 1, 2, False, [*RESIDUAL, "parallel.shard_ranks=2"]),
    "tensor": (2, "none", 2, 4, True, RESIDUAL),
    "data_tensor_mhc": (4, "none", 2, 2, False, PAPER),
}


def planned(tmp_path, ranks, group, overrides):
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(f"gpus_per_node = {group or ranks}\nnodes = {ranks // (group or ranks)}\n")
    command = [braid_run.BRAID, "plan", braid_run.ROOT / "configs/mhc/demo_mhc.toml", "--cluster", cluster, "--all", "--json"]
    for setting in overrides:
        command += ["--set", setting]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["layouts"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_step_sends_what_was_planned(tmp_path, name):
    ranks, shard, tensor, micro, recompute, more = LAYOUTS[name]
    overrides, group = [*SMALL, *more], 2 if "parallel.shard_ranks=2" in more else 0
    layout = {"data": ranks // tensor, "tensor": tensor, "shard": shard, "shard_ranks": group, "micro_batch": micro, "recompute": recompute}
    (plan,) = [p for p in planned(tmp_path, ranks, group, overrides) if {key: p[key] for key in layout} == layout]
    run = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "run", *overrides, f"parallel.shard={shard}", f"parallel.tensor={tensor}",
                          f"train.micro_batch={micro}", f"train.recompute={str(recompute).lower()}", ranks=ranks)  # fmt: skip
    sent = run["communicated_bytes"]
    assert sent[1] == plan["sent_bytes"]["total"]
