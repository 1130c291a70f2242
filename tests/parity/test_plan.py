# SPDX-License-Identifier: Apache-2.0
"""braid plan beside what runs: bytes that a step sends, to the byte, on every layout here."""

import json
import subprocess
import tomllib

import braid_run
import pytest

SMALL = ["model.dialect=llama", "model.layers=3", "model.width=32", "model.heads=4", "model.mlp_width=48", "model.vocabulary=96",
         "model.context=16", "model.attention=sdpa", "train.batch=9", "train.steps=3", "train.layer_metrics_every=0"]  # fmt: skip
RESIDUAL = ["model.residual=residual"]
PAPER = ["model.residual=mhc", "model.connection_form=paper"]
SEQUENCE = "parallel.sequence=true"
# Ranks, what replicas keep parts of, ranks that share a sample and that hold a model, micro-batch, recomputation.
LAYOUTS = {
    "data": (2, "none", 1, 1, 5, False, RESIDUAL),
    "optimizer": (3, "optimizer", 1, 1, 2, False, RESIDUAL),
    "gradients": (2, "gradients", 1, 1, 2, False, [*RESIDUAL, "train.precision=bf16"]),
    "parameters": (2, "parameters", 1, 1, 2, True, [*RESIDUAL, "train.precision=bf16"]),
    "hybrid": (4, "parameters", 1, 1, 2, False, [*RESIDUAL, "parallel.shard_ranks=2"]),
    "tensor": (2, "none", 1, 2, 4, True, RESIDUAL),
    "data_tensor_mhc": (4, "none", 1, 2, 2, False, PAPER),
    "tensor_sequence": (2, "none", 1, 2, 4, True, [*RESIDUAL, SEQUENCE, "train.precision=bf16"]),
    "data_tensor_sequence_mhc": (4, "optimizer", 1, 2, 2, False, [*PAPER, SEQUENCE]),
    "context_tensor_sequence_hc": (4, "none", 2, 2, 9, False, ["model.residual=hc", "model.dialect=poc", SEQUENCE]),
    "context": (2, "parameters", 2, 1, 4, True, [*RESIDUAL, "train.precision=bf16"]),
    "context_tensor_mhc": (4, "none", 2, 2, 9, False, PAPER),
    "pipeline_tied": (2, "none", 1, 1, 2, False, [*RESIDUAL, "model.tie_embeddings=true"], 2),
    "data_pipeline_mhc": (4, "optimizer", 1, 1, 2, True, PAPER, 2),
    "pipeline_tensor_mhc": (4, "none", 1, 2, 4, False, ["model.residual=mhc"], 2),
    "pipeline_context": (4, "none", 2, 1, 4, False, RESIDUAL, 2),
}


def planned(tmp_path, ranks, overrides, group=0, speeds=""):
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(f"gpus_per_node = {group or ranks}\nnodes = {ranks // (group or ranks)}\n{speeds}")
    command = [braid_run.BRAID, "plan", braid_run.ROOT / "configs/mhc/demo_mhc.toml", "--cluster", cluster, "--all", "--json"]
    for setting in overrides:
        command += ["--set", setting]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["layouts"]


def test_an_automatic_layout_is_the_first_that_is_planned(tmp_path):
    speeds = "fp32 = 0.001\nlink_bandwidth = 1000.0\nlink_latency = 0.1\n"
    (tmp_path / "fast_links.toml").write_text(speeds)
    overrides = [*SMALL, *RESIDUAL, "train.batch=4"]
    first = planned(tmp_path, 2, overrides, speeds=speeds)[0]
    alone = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "alone", *overrides)
    run = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "run", *overrides, "parallel.layout=auto",
                          f"parallel.cluster={tmp_path / 'fast_links.toml'}", ranks=2)  # fmt: skip
    assert run["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    chosen = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert [chosen["parallel"][key] for key in ("shard", "tensor")] == [first[key] for key in ("shard", "tensor")]
    assert [chosen["train"][key] for key in ("micro_batch", "recompute")] == [first[key] for key in ("micro_batch", "recompute")]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_step_sends_what_was_planned(tmp_path, name):
    ranks, shard, context, tensor, micro, recompute, more, *stages = LAYOUTS[name]
    pipeline = stages[0] if stages else 1
    overrides, group = [*SMALL, *more], 2 if "parallel.shard_ranks=2" in more else 0
    layout = {"data": ranks // (pipeline * context * tensor), "pipeline": pipeline, "context": context, "tensor": tensor, "sequence": SEQUENCE in more,
              "shard": shard, "shard_ranks": group, "micro_batch": micro, "recompute": recompute}  # fmt: skip
    (plan,) = [p for p in planned(tmp_path, ranks, overrides, group) if {key: p[key] for key in layout} == layout]
    spread = [f"parallel.shard={shard}", f"parallel.pipeline={pipeline}", f"parallel.context={context}", f"parallel.tensor={tensor}",
              f"train.micro_batch={micro}", f"train.recompute={str(recompute).lower()}"]  # fmt: skip
    run = braid_run.train("configs/mhc/demo_mhc.toml", tmp_path / "run", *overrides, *spread, ranks=ranks)
    sent = run["communicated_bytes"]
    assert sent[1] == plan["sent_bytes"]["total"]
