# SPDX-License-Identifier: Apache-2.0
"""braid plan beside what runs: bytes that a step sends, to the byte, on every layout here."""

import json
import subprocess
import tomllib

import braid_run
import pytest
import test_tensor_parallel as cut
from test_tensor_parallel import folder  # noqa: F401

CONFIG = "configs/mhc/demo_mhc.toml"
SMALL = ["model.dialect=llama", "model.layers=3", "model.width=32", "model.heads=4", "model.mlp_width=48", "model.vocabulary=96",
         "model.context=16", "model.attention=sdpa", "train.batch=9", "train.steps=3", "train.layer_metrics_every=0"]  # fmt: skip
RESIDUAL = ["model.residual=residual"]
PAPER = ["model.residual=mhc", "model.connection_form=paper"]
SEQUENCE = "parallel.sequence=true"
# So few rows that every step names all of them, which makes what is expected exact.
MEMORY = ["memory.layers=[1]", "memory.table_size=2", "memory.width=8", "memory.heads=2", "memory.trains_model=true"]
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
    "data_pipeline_mhc": (4, "optimizer", 1, 1, 2, True, [*PAPER, "train.precision=bf16", "train.stream_precision=bf16"], 2),
    "pipeline_tensor_mhc": (4, "none", 1, 2, 4, False, ["model.residual=mhc"], 2),
    "pipeline_tensor_sequence_mhc": (4, "none", 1, 2, 2, True, [*PAPER, SEQUENCE, "train.precision=bf16"], 2),
    "pipeline_tensor_sequence_poc": (4, "none", 1, 2, 4, False, ["model.residual=mhc", "model.dialect=poc", SEQUENCE], 2),
    "pipeline_context": (4, "none", 2, 1, 4, False, RESIDUAL, 2),
    "attention_again": (2, "none", 1, 2, 4, "attention", RESIDUAL),
    "offload": (2, "gradients", 1, 1, 2, False, [*RESIDUAL, "optim.offload=true"]),
    "memory": (2, "none", 1, 1, 5, False, [*RESIDUAL, *MEMORY]),
    "parameters_memory_mhc": (3, "parameters", 1, 1, 2, True, [*PAPER, *MEMORY, "train.precision=bf16"]),
}
# The same of adapters on a model in 4 bits.
ADAPTED = {
    "parameters": (2, "parameters", 1, 1, 2, True, []),
    "hybrid_bf16": (4, "parameters", 1, 1, 2, False, ["parallel.shard_ranks=2", "train.precision=bf16"]),
    "tensor_parameters": (4, "parameters", 1, 2, 2, False, ["model.quantise=none"]),
    "pipeline": (2, "none", 1, 1, 2, False, [], 2),
}


def planned(tmp_path, ranks, overrides, group=0, speeds="", config=CONFIG):
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(f"gpus_per_node = {group or ranks}\nnodes = {ranks // (group or ranks)}\n{speeds}")
    command = [braid_run.BRAID, "plan", braid_run.ROOT / config, "--cluster", cluster, "--all", "--json"]
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


def sends_what_was_planned(tmp_path, row, keys, config=CONFIG):
    ranks, shard, context, tensor, micro, again, more, *stages = row
    pipeline, recompute = stages[0] if stages else 1, bool(again)
    overrides, group = [*keys, *more], 2 if "parallel.shard_ranks=2" in more else 0
    part = again if again == "attention" else "block"
    layout = {"data": ranks // (pipeline * context * tensor), "pipeline": pipeline, "context": context, "tensor": tensor, "sequence": SEQUENCE in more,
              "shard": shard, "shard_ranks": group, "micro_batch": micro, "recompute": recompute, "recompute_part": part}  # fmt: skip
    (plan,) = [p for p in planned(tmp_path, ranks, overrides, group, config=config) if {key: p[key] for key in layout} == layout]
    spread = [f"parallel.shard={shard}", f"parallel.pipeline={pipeline}", f"parallel.context={context}", f"parallel.tensor={tensor}",
              f"train.micro_batch={micro}", f"train.recompute={str(recompute).lower()}",
              f"train.recompute_part={part}"]  # fmt: skip
    run = braid_run.train(config, tmp_path / "run", *overrides, *spread, ranks=ranks)
    assert run["communicated_bytes"][1] == plan["sent_bytes"]["total"]


# Compressing runs: ranks, what they keep parts of, micro-batch, recomputation. Contexts of three segments, then of one, read raw.
GIST = "configs/gist/passkey_quick.toml"
GISTS = ["model.width=32", "model.layers=3", "model.mlp_width=48", "model.context=64", "gist.eval_length=40", "train.eval_every=0",
         "checkpoint.at_end=false"]  # fmt: skip
COMPRESSED = {
    "samples": (2, "none", 2, False, []),
    "segments": (3, "none", 4, True, ["gist.shard_segments=true", "train.precision=bf16"]),
    "gradients": (2, "gradients", 2, False, ["gist.reconstruction=0.5"]),
    "parameters": (3, "parameters", 2, True, ["gist.shard_segments=true", "train.precision=bf16"]),
    "optimizer_reconstructing": (2, "optimizer", 4, False, ["gist.shard_segments=true", "gist.reconstruction=0.5"]),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_each_kind_of_step_of_gists_sends_what_was_planned(tmp_path, name):
    ranks, shard, micro, again, more = COMPRESSED[name]
    phases = ["segments=16 counts=3 tokens=160 steps=3", "segments=16 tokens=112 steps=3 raw=1"]
    keys = [*GISTS, f"gist.phases={json.dumps(phases)}", *more]
    layout = {"data": ranks, "shard": shard, "micro_batch": micro, "recompute": again}
    plans = planned(tmp_path, ranks, keys, config=GIST)
    (plan,) = [p for p in plans if {key: p[key] for key in layout} == layout]
    run = braid_run.train(GIST, tmp_path / "run", *keys, f"parallel.shard={shard}", f"train.micro_batch={micro}",
                          f"train.recompute={str(again).lower()}", ranks=ranks)  # fmt: skip
    first, second = plan["steps"]
    assert (first["segments"], first["raw"], second["segments"], second["raw"]) == (3, False, 1, True)
    assert run["communicated_bytes"][[1, 2, 4, 5]].tolist() == [first["sent_bytes"]] * 2 + [second["sent_bytes"]] * 2
    assert plan["sent_bytes"]["total"] == pytest.approx((first["sent_bytes"] + second["sent_bytes"]) / 2, abs=4)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_step_sends_what_was_planned(tmp_path, name):
    sends_what_was_planned(tmp_path, LAYOUTS[name], SMALL)


@pytest.mark.parametrize("name", ADAPTED)
def test_a_step_of_adapters_sends_what_was_planned(folder, tmp_path, name):  # noqa: F811
    keys = [*cut.SMALL, *cut.WIDE, f"model.path={folder}", "lora.rank=4", "model.quantise=nf4", "train.batch=9", "train.steps=3",
            "train.layer_metrics_every=0", "train.eval_every=0"]  # fmt: skip
    sends_what_was_planned(tmp_path, ADAPTED[name], keys, "configs/lm/copy.toml")
