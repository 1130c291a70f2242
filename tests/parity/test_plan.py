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
    "tensor": (2, "none", 2, 4, True, RESIDUAL),
    "data_tensor_mhc": (4, "none", 2, 2, False, PAPER),
    "pipeline_tied": (2, "none", 1, 2, False, [*RESIDUAL, "model.tie_embeddings=true"], 2),
    "data_pipeline_mhc": (4, "optimizer", 1, 2, True, PAPER, 2),
    "pipeline_tensor_mhc": (4, "none", 2, 4, False, ["model.residual=mhc"], 2),
}


def planned(tmp_path, ranks, overrides):
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(f"gpus_per_node = {ranks}\n")
    command = [braid_run.BRAID, "plan", braid_run.ROOT / "configs/mhc/demo_mhc.toml", "--cluster", cluster, "--all", "--json"]
    for setting in overrides:
        command += ["--set", setting]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["layouts"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_step_sends_what_was_planned(tmp_path, name):
    ranks, shard, tensor, micro, recompute, more, *stages = LAYOUTS[name]
    pipeline = stages[0] if stages else 1
    overrides = [*SMALL, *more]
    layout = {"data": ranks // tensor // pipeline, "pipeline": pipeline, "tensor": tensor, "shard": shard, "micro_batch": micro,
              "recompute": recompute}  # fmt: skip
    (plan,) = [p for p in planned(tmp_path, ranks, overrides) if {key: p[key] for key in layout} == layout]
    spread = [f"parallel.shard={shard}", f"parallel.tensor={tensor}", f"parallel.pipeline={pipeline}", f"train.micro_batch={micro}",
              f"train.recompute={str(recompute).lower()}"]  # fmt: skip
    run = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "run", *overrides, *spread, ranks=ranks)
    sent = run["communicated_bytes"]
    assert sent[1] == plan["sent_bytes"]["total"]
